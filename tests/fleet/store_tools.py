"""What the tests of the store and the link have in common: stores, breakers, and what operators are told."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from circuitry import CircuitBreaker, CircuitOpenError
from circuitry.redis import RedisStore, Report

#: 3 failures open it, one probe at a time, one success closes it.
NUMBERS: dict[str, Any] = {
    "failure_threshold": 3,
    "success_threshold": 1,
    "timeout_duration": 0.3,
    "half_open_max_calls": 1,
    "probe_timeout": None,
}


def new_prefix() -> str:
    """A prefix that no other test uses."""
    return f"circuit-{uuid.uuid4().hex}:"


class Process:
    """A store with one breaker: a member of a fleet, as a process would be."""

    def __init__(self, target: Any, prefix: str, *, name: str = "netflix", **settings: Any) -> None:
        numbers = {key: settings.pop(key, value) for key, value in NUMBERS.items()}
        self.events: list[Report] = []
        self.store = RedisStore(target, prefix=prefix, **settings)
        self.store.on_event(self.events.append)
        self.breaker = CircuitBreaker(name, store=self.store, **numbers)

    @property
    def state(self) -> str:
        return self.breaker.state.value

    @property
    def kinds(self) -> list[str]:
        """What operators were told, in order."""
        return [event.kind for event in self.events]

    def fail(self, times: int = 3) -> None:
        for _ in range(times):
            with contextlib.suppress(CircuitOpenError):
                self.breaker.acquire().failure(OSError("down"))

    def succeed(self) -> None:
        self.breaker.acquire().success()


def eventually(is_so: Callable[[], object], within: float = 8.0) -> None:
    """Wait until it is."""
    deadline = time.monotonic() + within
    while not is_so():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.002)


@contextlib.contextmanager
def processes(
    number: int, target: Any, prefix: str | None = None, **settings: Any
) -> Iterator[list[Process]]:
    """So many members of one fleet, all of which know where it stands."""
    made = [Process(target, prefix or (prefix := new_prefix()), **settings) for _ in range(number)]
    try:
        for process in made:
            assert process.store.wait_ready(10), process.store.health()
        yield made
    finally:
        for process in made:
            process.store.close()


def share_a_verdict(a: Process, b: Process) -> None:
    """What one has seen, the other goes by: closed to open, and by a probe to closed again."""
    a.fail()
    eventually(lambda: b.state == "open")
    eventually(lambda: try_to_probe(b))
    eventually(lambda: a.state == "closed" and b.state == "closed")


def try_to_probe(process: Process) -> bool:
    """One call that succeeds, if it is let through."""
    try:
        process.succeed()
    except CircuitOpenError:
        return False
    return True


def longest_call(process: Process, during: Callable[[], object], *, fails: bool = False) -> float:
    """The longest of the calls that another thread makes while something happens, in seconds."""
    times: list[float] = []
    over = threading.Event()

    def call() -> None:
        while not over.is_set():
            begun = time.perf_counter()
            with contextlib.suppress(CircuitOpenError):
                permit = process.breaker.acquire()
                permit.failure(OSError("down")) if fails else permit.success()
            times.append(time.perf_counter() - begun)
            time.sleep(0.001)

    thread = threading.Thread(target=call)
    thread.start()
    try:
        during()
    finally:
        over.set()
        thread.join()
    return max(times)


#: Seconds: far below the 0.5 s that a command may take, far above what a busy machine adds to a call.
AT_ONCE = 0.25
QUICK = {"check_period": 0.2}


def lines(caplog, level):
    """What was logged of Redis on this level."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno == level and record.getMessage().startswith("redis")
    ]


def see_each_other(a, b):
    """After return both go by one verdict again, whatever they did meanwhile."""
    eventually(lambda: a.store.health().link == b.store.health().link == "up")
    assert a.store.wait_ready(5)
    assert b.store.wait_ready(5)
    a.breaker.reset()
    assert a.store.flush(5)
    eventually(lambda: a.state == b.state == "closed")
    eventually(lambda: a.breaker._gate.version == b.breaker._gate.version)
    share_a_verdict(b, a)


def check_that_loss_and_return_are_told_once(process, caplog, number=1):
    """One WARNING and one event when it goes, one INFO and one event when it comes back."""
    assert process.kinds == ["lost", "found"]
    assert len([line for line in lines(caplog, logging.WARNING) if "lost" in line]) == number
    assert len([line for line in lines(caplog, logging.INFO) if "found" in line]) == number


def is_down(*given):
    return all(process.store.health().link == "down" for process in given)
