"""Forked and spawned processes: members of their own, with nothing of their parent's link."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from circuitry import CircuitOpenError

from .fleet_scenes import Child, admits, fail, until

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

COMMON = """
    import multiprocessing, os, sys, threading, time
    from circuitry import CircuitOpenError, circuit, circuit_of, registry
    from circuitry.redis import RedisStore

    URL, PREFIX = sys.argv[1:]
    store = RedisStore(URL, prefix=PREFIX)
    registry.configure(store=store)

    @circuit("netflix", failure_threshold=3, timeout_duration=60)
    def fetch(works):
        if not works:
            raise OSError("down")
        return store.health().member

    def fails():
        try:
            fetch(False)
        except OSError:
            pass

    def follows(state):
        deadline = time.monotonic() + 20
        while circuit_of(fetch).state != state:
            assert time.monotonic() < deadline, circuit_of(fetch).state
            time.sleep(0.002)
"""

WORK = """
    def work(number, members, opened):
        members.put(fetch(True))
        assert store.wait_ready(20)
        assert [t.name for t in threading.enumerate()].count("circuitry-link") == 1
        members.put("ready")
        if number == 0:
            opened.wait(20)
            for _ in range(3):
                fails()
        follows("open")
        store.flush()

    def main(kind):
        context = multiprocessing.get_context(kind)
        members, opened = context.SimpleQueue(), context.Event()
        children = [context.Process(target=work, args=(n, members, opened)) for n in range(3)]
        assert "circuitry-link" not in [t.name for t in threading.enumerate()]
        for child in children:
            child.start()
        said = [members.get() for _ in range(6)]
        assert len(set(said)) == 4, said
        opened.set()
        for child in children:
            child.join(30)
            assert child.exitcode == 0, child.exitcode
        store.wait_ready(20)
        follows("open")
        store.close()
        print("fine")
"""


def run(tmp_path, join, source, *, covered=True):
    """A program of its own, in which any warning is an error and nothing may be written to stderr."""
    environment = {name: value for name, value in os.environ.items() if covered or "COVERAGE" not in name}
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(source))
    command = [sys.executable, "-W", "error", str(path), join.url, join.prefix]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    noise = [line for line in done.stderr.splitlines() if not line.startswith("circuit ")]
    assert (done.stdout, noise, done.returncode) == ("fine\n", [], 0)


@pytest.mark.parametrize("kind", [pytest.param("fork", marks=forks), "spawn"])
def test_children_of_multiprocessing_are_members_of_their_own(tmp_path, join, kind):
    """The parent has used nothing before: so there is no thread at the fork, and no warning."""
    run(tmp_path, join, f'{COMMON}{WORK}\n    if __name__ == "__main__":\n        main("{kind}")\n')


@forks
def test_workers_that_are_forked_before_any_use_are_members_of_their_own(tmp_path, join):
    """As gunicorn does it: the module is imported once, and then it forks in a loop."""
    main = """
    assert threading.active_count() == 1
    pids = []
    for number in range(3):
        pid = os.fork()
        if pid == 0:
            fetch(True)
            assert store.wait_ready(20)
            if number == 2:
                for _ in range(3):
                    fails()
            follows("open")
            store.close()
            os._exit(0)
        pids.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0, 0]
    store.wait_ready(20)
    follows("open")
    store.close()
    print("fine")
    """
    run(tmp_path, join, COMMON + main)


@forks
def test_a_child_takes_nothing_from_its_parents_link(join):
    """The parent has a link, and goes on with it; the child has its own, of another name."""
    one, other = join(timeout_duration=60), join(timeout_duration=60)
    parent = one.store.health().member

    def in_child():
        assert one.store.health().member != parent
        one.acquire().success()
        assert one.store.wait_ready(5)
        fail(one, 3)
        assert one.store.flush(5)

    child = Child(in_child)
    try:
        assert child.said, "the child has failed"
        until(lambda: other.state == "open", "the child is no member")
        until(lambda: one.state == "open", "the parent's link is harmed")
        assert one.store.health().member == parent
    finally:
        child.kill()
    one.reset()
    until(lambda: other.state == "closed", "the parent's link is harmed")


@forks
def test_a_child_forked_while_it_probes_doesnt_end_the_parents_probe(join):
    """The permit is there twice then, but the lease is the parent's."""
    one, other = join(probe_timeout=5.0), join()
    fail(one, 3)
    until(lambda: other.state == "open", "it isn't told")
    probe = None
    until(lambda: admits(one), "no probe")
    probe = one.acquire()

    def in_child():
        probe.success()
        one.store.wait_ready(5)
        one.store.flush(5)

    child = Child(in_child)
    try:
        assert child.said
        with pytest.raises(CircuitOpenError):
            other.acquire()
        assert join.get("state") == "half_open"
    finally:
        child.kill()
    probe.success()
    until(lambda: other.state == "closed", "the parent's probe has ended already")


@forks
def test_a_child_forked_while_the_link_is_busy_finds_its_locks_free(tmp_path, join):
    """Threads fail, succeed, give orders and probe all the time, and the child does the same."""
    main = """
    import signal, warnings
    warnings.simplefilter("ignore", DeprecationWarning)  # the threads are what this is about
    breaker = circuit_of(fetch)
    is_over = threading.Event()

    def work():
        for works in (False, True, False, True):
            try:
                fetch(works)
            except (OSError, CircuitOpenError):
                pass
        breaker.reset()

    def go_on():
        while not is_over.is_set():
            work()

    threads = [threading.Thread(target=go_on) for _ in range(3)]
    for thread in threads:
        thread.start()
    codes = []
    for _ in range(10):
        pid = os.fork()
        if pid == 0:
            signal.alarm(20)
            for _ in range(3):
                work()
            os._exit(0 if store.wait_ready(10) and store.flush(10) else 1)
        codes.append(os.waitpid(pid, 0)[1])
    is_over.set()
    for thread in threads:
        thread.join()
    assert codes == [0] * 10, codes
    store.close()
    print("fine")
    """
    source = COMMON.replace("timeout_duration=60", "timeout_duration=0.001") + main
    run(tmp_path, join, source, covered=False)  # coverage.py has a lock that a child inherits
