from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from circuitry import CircuitBreaker, CircuitRegistry, last_good

from .doubles import Naive, Ticket
from .scenes import Scene, at_each_line, error_of, in_time

pytestmark = pytest.mark.core
MANY = 400


class LockingTicket(Ticket):
    def __del__(self) -> None:
        with contextlib.suppress(RuntimeError):  # the lock was released for it, to end its thread
            self.release()


class LocksInFinalizers(Naive):
    def __init__(self, *args: Any, **settings: Any) -> None:
        self.lock = threading.Lock()
        super().__init__(*args, **settings)

    def ended(self, admission: Any, error: BaseException | None) -> None:
        with self.lock:
            super().ended(admission, error)

    def acquire(self) -> Ticket:
        return LockingTicket(self, self.admit())


def exhibit(kind: Any, colour: Any, state: str = "half_open", patience: float = 10.0) -> Scene:
    """At each new line of the breaker's code a permit is dropped, as the collector may do anywhere."""
    scene = Scene(kind, colour, half_open_max_calls=MANY + 9, success_threshold=MANY + 9)
    in_state(scene, state)
    steps(scene, [scene.breaker.acquire() for _ in range(MANY)], patience)
    return scene


def exhibit_streams(kind: Any, colour: Any, state: str) -> None:
    """The same with generators, which end in the middle when they are dropped."""
    scene = Scene(kind, colour, half_open_max_calls=MANY + 9, success_threshold=MANY + 9)
    in_state(scene, state)

    @scene.breaker
    def numbers() -> Iterator[int]:
        yield from itertools.count()

    steps(scene, [begun(numbers()) for _ in range(MANY)], patience=10.0)


def begun(stream: Iterator[int]) -> Iterator[int]:
    next(stream)
    return stream


def in_state(scene: Scene, state: str) -> None:
    scene.breaker.acquire().failure(OSError("down"))
    if state == "half_open":
        scene.probe_due()
        scene.admits()


def steps(scene: Scene, stock: list[Any], patience: float) -> None:
    def take() -> None:
        with at_each_line(lambda: stock.pop()):
            scene.permit().success()
            scene.permit().release()
            error_of(scene.colour, scene.breaker.call, scene.colour.function(lambda: None))
            scene.breaker.metrics()
            while scene.state != "open":
                scene.permit().failure(OSError("down"))
            scene.breaker.reset()

    try:
        in_time(take, "a finalizer waits for the lock that its own thread holds", patience)
        assert stock
    finally:
        if lock := getattr(scene.breaker, "lock", None):
            lock.release()
    stock.clear()
    metrics = scene.breaker.metrics()
    assert (metrics.state, metrics.half_open_calls) == ("closed", 0)


@pytest.mark.parametrize("state", ["closed", "half_open"])
def test_a_permit_may_be_finalized_while_the_lock_is_held(colour: Any, state: str) -> None:
    """Found while planning: a finalizer that takes the lock deadlocks when the collector runs under it."""
    scene = exhibit(CircuitBreaker, colour, state)
    assert scene.breaker.metrics().ignored >= MANY


@pytest.mark.parametrize("state", ["closed", "half_open"])
def test_a_stream_may_be_finalized_while_the_lock_is_held(colour: Any, state: str) -> None:
    """Found while planning, too: it reports that it was left, from wherever the collector runs."""
    exhibit_streams(CircuitBreaker, colour, state)


class Calling:
    """Makes a guarded call in its finalizer, as a client that says goodbye to its server."""

    def __init__(self, call: Any) -> None:
        self.call = call

    def __del__(self) -> None:
        self.call()


def test_a_result_is_dropped_outside_the_lock_of_its_memory() -> None:
    """The same for `last_good`: what makes room for a newer result may have a finalizer, too."""

    @CircuitBreaker("netflix", fallback=last_good(max_size=1))
    def connect(title: str) -> object:
        return Calling(lambda: connect("goodbye")) if title == "Dark" else None

    def take() -> None:
        connect("Dark")
        connect("Ozark")

    in_time(take, "the finalizer of a result waits for the lock that its own thread holds", 5)


def test_a_key_is_dropped_outside_the_lock_of_its_family() -> None:
    """The same for a family: the key of an evicted member may have a finalizer."""
    family = CircuitRegistry().get_or_create_family("platform", max_keys=1)

    def take() -> None:
        family[Calling(lambda: family["goodbye"])]
        family["netflix"]

    in_time(take, "the finalizer of a key waits for the lock that its own thread holds", 5)


def test_the_faulty_double_is_caught(colour: Any) -> None:
    with pytest.raises(AssertionError, match="a finalizer waits for the lock"):
        exhibit(LocksInFinalizers, colour, patience=0.2)
