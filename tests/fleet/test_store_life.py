"""A store begins when it is needed, ends when it is closed or dropped, and leaves nothing behind."""

from __future__ import annotations

import gc
import subprocess
import sys
import textwrap
import threading
import time
import weakref

import pytest

from circuitry import CircuitBreaker, circuit, circuit_of, registry
from circuitry.redis import RedisStore
from circuitry.redis.link import _say_last_words

from .servers import free_port, needed, on_one_server
from .store_tools import NUMBERS, Process, eventually, new_prefix, processes

redis = needed("redis")

pytestmark = pytest.mark.usefixtures("fresh")


def nothing():
    return 0


def links():
    return [thread for thread in threading.enumerate() if thread.name == "circuitry-link"]


@pytest.fixture(autouse=True)
def _nothing_is_left():
    """Each test ends as it began: no thread more."""
    before = len(links())
    yield
    gc.collect()
    eventually(lambda: len(links()) <= before)


# -- Beginning -----------------------------------------------------------------------------------------


@on_one_server
def test_nothing_starts_at_construction_decoration_and_configuration(server):
    """Only the first use needs the link."""
    store = RedisStore.from_url(server.url(), prefix=new_prefix())
    registry.configure(store=store)

    @circuit("configured")
    def first():
        return 1

    @circuit("given", store=store)
    def second():
        return 2

    assert (links(), store.health().link) == ([], "idle")
    assert circuit_of(first).store is circuit_of(second).store is store
    assert (first(), second()) == (1, 2)
    assert len(links()) == 1
    assert store.wait_ready(5)
    assert sorted(store.circuits()) == ["configured", "given"]
    store.close()


@pytest.mark.parametrize(
    "use",
    [
        lambda breaker: breaker.call(nothing),
        lambda breaker: breaker.state,
        lambda breaker: breaker.failure_count,
        lambda breaker: breaker.metrics(),
        lambda breaker: breaker.force_open(),
        lambda breaker: breaker.acquire().failure(OSError()),
    ],
)
def test_the_first_use_starts_it(use):
    """A call, a look, or an order."""
    with RedisStore(f"redis://127.0.0.1:{free_port()}") as store:
        breaker = registry.get_or_create("netflix", store=store)
        assert links() == []
        use(breaker)
        assert len(links()) == 1


def test_a_breaker_made_with_a_store_starts_it():
    """So its first call already knows the verdict, mostly."""
    with RedisStore(f"redis://127.0.0.1:{free_port()}") as store:
        CircuitBreaker("netflix", store=store)
        assert len(links()) == 1


@on_one_server
def test_there_is_one_thread_for_all_circuits_of_a_store(server):
    """However many there are, and however often it is asked for."""
    with processes(1, server.url()) as (a,):
        breakers = [CircuitBreaker(f"b{number}", store=a.store) for number in range(20)]
        for breaker in breakers:
            breaker.acquire().failure(OSError())
        a.store.wait_ready(5)
        assert len(links()) == 1
        with processes(1, server.url()):
            assert len(links()) == 2


def test_a_call_does_not_fail_where_no_thread_can_start(monkeypatch):
    """There may be too many, or the interpreter is ending; it is tried again."""
    with monkeypatch.context() as patched, RedisStore(f"redis://127.0.0.1:{free_port()}") as store:
        patched.setattr("threading.Thread.start", refuse)
        breaker = registry.get_or_create("netflix", store=store)
        breaker.call(nothing)
        assert store.health().link == "idle"
        patched.undo()
        store.wait_ready(0.01)
        assert store.health().link == "down"


def refuse(thread):
    raise RuntimeError("can't start new thread")


# -- Waiting ---------------------------------------------------------------------------------------------


@on_one_server
def test_wait_ready_says_whether_verdicts_are_known(server):
    """A short job sees the fleet's word before its first call."""
    with processes(1, server.url()) as (a,):
        a.fail()
        assert a.store.flush(5)
        with RedisStore(server.url(), prefix=a.store._link.naming.prefix) as job:
            breaker = CircuitBreaker("netflix", store=job)
            assert job.wait_ready(5)
            assert breaker._circuit.judged == "open"
        assert not job.wait_ready(5)


def test_waiting_for_a_server_that_is_away_takes_no_longer_than_said():
    """And says so."""
    with Process(f"redis://127.0.0.1:{free_port()}", new_prefix()).store as store:
        begun = time.monotonic()
        assert not store.wait_ready(0.2)
        assert 0.19 < time.monotonic() - begun < 2


@on_one_server
def test_flush_waits_until_all_is_sent(server, connect):
    """Then it is on the server."""
    with processes(1, server.url()) as (a,):
        a.fail(2)
        assert a.store.flush(5)
        assert a.store.health().queued == 0
        assert a.store.circuits()["netflix"].failures == 2
    assert a.store.flush(0)


@on_one_server
def test_closing_sends_what_waits_and_circuits_go_on(server, connect):
    """Closing twice is as good as once."""
    prefix = new_prefix()
    process = Process(server.url(), prefix)
    with process.store as store:
        assert store.wait_ready(5)
        process.fail(2)
    assert connect().get(f"{prefix}netflix:failures") == b"2"
    assert store.health().link == "closed"
    assert (store.health().subscription, links()) == (False, [])
    store.close()
    process.fail(1)
    assert process.state == "open"
    assert "closed" in repr(store)


@on_one_server
def test_closing_before_the_link_is_up_still_sends(server, connect):
    """A job may end within milliseconds of its first call."""
    prefix = new_prefix()
    process = Process(server.url(), prefix)
    process.fail(2)
    process.store.close()
    assert connect().get(f"{prefix}netflix:failures") == b"2"


@on_one_server
def test_closing_is_bounded_in_time_when_the_server_is_frozen(our_server, start_server):
    """About a second."""
    server = start_server(our_server.kind)
    with processes(1, server.url()) as (a,):
        server.freeze()
        a.fail()
        begun = time.monotonic()
        a.store.close()
        assert time.monotonic() - begun < 1.5
        server.thaw()


@on_one_server
def test_an_order_that_a_lost_server_did_not_take_is_given_when_it_is_back(our_server, start_server):
    """Until then flush says that it waits."""
    server = start_server(our_server.kind)
    with processes(2, server.url(), check_period=60) as (a, b):
        server.freeze()
        a.breaker.force_open()
        eventually(lambda: a.store.health().link == "down")
        assert not a.store.flush(0.05)
        assert a.store.health().queued == 1
        server.thaw()
        eventually(lambda: b.state == "forced_open")
        assert a.store.flush(5)


# -- Ending --------------------------------------------------------------------------------------------


@on_one_server
def test_a_dropped_store_ends_its_thread(server):
    """Nobody has to close it."""
    process = Process(server.url(), new_prefix())
    assert process.store.wait_ready(5)
    alive = weakref.ref(process.store)
    del process
    gc.collect()
    assert alive() is None
    eventually(lambda: links() == [])


def test_a_dropped_store_ends_its_thread_while_the_server_is_away():
    """It doesn't try for ever."""
    process = Process(f"redis://127.0.0.1:{free_port()}", new_prefix())
    eventually(lambda kinds=process.events: kinds)
    process.fail(1)
    del process
    gc.collect()
    eventually(lambda: links() == [])


def test_a_breaker_keeps_its_store():
    """Dropping the store's name isn't dropping the store."""
    process = Process(f"redis://127.0.0.1:{free_port()}", new_prefix())
    breaker = process.breaker
    del process
    gc.collect()
    assert len(links()) == 1
    assert breaker.store.health().link == "down"


@on_one_server
def test_what_a_dropped_circuit_had_to_say_is_said(server, connect):
    """An operator's script is one line: nobody keeps the breaker."""
    with processes(1, server.url()) as (a,):
        CircuitBreaker("netflix", store=a.store, **NUMBERS).force_open()
        eventually(lambda: a.state == "forced_open")
        view = a.store.circuits()["netflix"]
        assert (view.reason, view.rules) == ("forced_open", a.breaker._gate.terms.rules.fingerprint)
        assert a.store.flush(5)


@on_one_server
def test_a_dropped_circuit_is_forgotten(server):
    """The link doesn't check what nobody holds."""
    with processes(1, server.url(), check_period=0.05) as (a,):
        other = CircuitBreaker("other", store=a.store)
        assert a.store.wait_ready(5)
        assert sorted(a.store._link._gates) == ["netflix", "other"]
        del other
        gc.collect()
        eventually(lambda: list(a.store._link._gates) == ["netflix"])


def run(code, *args):
    """A process of its own, where a warning is an error: its output, and how long it took."""
    begun = time.monotonic()
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", textwrap.dedent(code), *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout, time.monotonic() - begun


JOB = """
    import sys
    from circuitry import CircuitBreaker, CircuitOpenError
    from circuitry.redis import RedisStore
    store = RedisStore.from_url(sys.argv[1], prefix=sys.argv[2])
    breaker = CircuitBreaker("netflix", store=store)
"""


@on_one_server
def test_at_exit_what_waits_is_sent(server, connect):
    """Nobody has closed the store, and the link had no time to connect."""
    prefix = new_prefix()
    run(JOB + "    for _ in range(4): breaker.acquire().failure(OSError())", server.url(), prefix)
    assert connect().get(f"{prefix}netflix:failures") == b"4"


@on_one_server
def test_at_exit_nothing_warns_whatever_was_left(server):
    """Stores used and unused, dropped, closed and open, up and down."""
    more = f"""
    RedisStore.from_url(sys.argv[1])
    unused = RedisStore.from_url(sys.argv[1])
    down = CircuitBreaker.with_redis("netflix", None, "redis://127.0.0.1:{free_port()}")
    closed = RedisStore.from_url(sys.argv[1])
    closed.wait_ready()
    closed.close()
    store.on_event(print)
    store.wait_ready()
    """
    run(JOB + more, server.url(), new_prefix())


@on_one_server
def test_at_exit_nobody_waits_long_for_a_frozen_server(our_server, start_server):
    """However many stores there are, their last words share one second."""
    server = start_server(our_server.kind)
    code = """
    stores = [RedisStore.from_url(sys.argv[1], prefix=f"{number}:") for number in range(5)]
    breakers = [CircuitBreaker("netflix", store=store) for store in stores]
    for store in stores: assert store.wait_ready(5)
    print("ready", flush=True)
    sys.stdin.readline()
    for breaker in breakers: breaker.acquire().failure(OSError())
    """
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(JOB + code), server.url(), new_prefix()]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout.readline() == "ready\n"
        server.freeze()
        begun = time.monotonic()
        _, errors = child.communicate("\n", timeout=60)
        assert time.monotonic() - begun < 2.5
        assert (child.returncode, errors) == (0, "")
    server.thaw()


def test_at_exit_all_stores_are_told_before_any_is_waited_for(monkeypatch):
    """So the time for their last words doesn't add up."""
    stores = [RedisStore("redis://localhost") for _ in range(3)]
    done = []
    monkeypatch.setattr("circuitry.redis.link.Link.stop", lambda link: done.append("stop"))
    monkeypatch.setattr("circuitry.redis.link.Link.close", lambda link: done.append("wait"))
    _say_last_words()
    number = len(done) // 2
    assert number >= len(stores)
    assert done == ["stop"] * number + ["wait"] * number


@on_one_server
def test_the_first_use_may_be_at_exit(server):
    """No thread can start any more: the circuit is local, and nothing is raised."""
    code = JOB.replace("CircuitBreaker(", "registry.get_or_create(").replace(
        "import CircuitBreaker", "import registry"
    )
    more = """
    import atexit
    import circuitry.redis.link
    atexit.unregister(circuitry.redis.link._say_last_words)
    def nothing(): return 0
    atexit.register(lambda: print(breaker.call(nothing), breaker.state))
    """
    output, _ = run(code + more, server.url(), new_prefix())
    assert output == "0 closed\n"


@on_one_server
def test_a_forked_child_is_a_member_of_its_own(server):
    """With a link of its own, whether its parent's ran or not; and nobody's locks."""
    code = """
    import os, warnings
    warnings.simplefilter("ignore")
    idle = RedisStore.from_url(sys.argv[1], prefix=sys.argv[2])
    assert store.wait_ready(5)
    ours = store.health().member
    if os.fork() == 0:
        assert (store.health().link, store.health().member != ours) == ("idle", True)
        breaker.acquire().failure(OSError())
        assert store.wait_ready(5) and idle.wait_ready(5)
        store.close()
        idle.close()
        os._exit(0)
    assert os.wait()[1] == 0
    assert (store.health().link, store.circuits()["netflix"].failures) == ("up", 1)
    """
    run(JOB + code, server.url(), new_prefix())


def test_a_store_cannot_be_pickled():
    """It is the link of this process."""
    import pickle

    with RedisStore("redis://localhost") as store, pytest.raises(TypeError, match="make one in each process"):
        pickle.dumps(store)
