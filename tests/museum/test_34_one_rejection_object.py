from __future__ import annotations

import gc
from collections.abc import Callable
from types import TracebackType
from typing import Any

import pytest

from circuitry import CircuitBreaker, CircuitOpenError

from .doubles import Naive
from .scenes import Scene, play

pytestmark = pytest.mark.core


class OneObject(Naive):
    """Makes its rejection once, and raises it each time."""

    made: Exception | None = None

    def rejection(self) -> Exception:
        self.made = self.made or super().rejection()
        return self.made


class KeptInALocal(Naive):
    """The frame that raises holds the exception, which holds the traceback, which holds the frame."""

    def admit(self) -> Any:
        if self.state == "open":
            error = self.rejection()
            raise error
        return super().admit()


def depth(traceback: TracebackType | None) -> int:
    return 0 if traceback is None else 1 + depth(traceback.tb_next)


def rejecting(kind: Any, colour: Any, state: str) -> tuple[Scene, Callable[..., Any]]:
    """A function whose every call is rejected, by a circuit in `state`."""
    scene = Scene(kind, colour)
    scene.trip()
    if state == "half_open":
        scene.wait()
        scene.probe = scene.permit()
    return scene, scene.breaker(colour.function(lambda: None))


def exhibit(kind: Any, colour: Any, state: str = "open") -> None:
    _scene, guarded = rejecting(kind, colour, state)

    async def story() -> list[tuple[int, int]]:
        seen = []
        errors = []
        for _ in range(20):
            try:
                await guarded() if colour.is_async else guarded()
            except CircuitOpenError as error:
                errors.append(error)
                seen.append((id(error), depth(error.__traceback__)))
        return seen

    seen = play(colour, story)
    assert len({deep for _, deep in seen}) == 1, "the traceback grows with each rejection"
    assert len({identity for identity, _ in seen}) == 20, "each rejection is the same object"


def exhibit_garbage(kind: Any, colour: Any, state: str = "open") -> None:
    _scene, guarded = rejecting(kind, colour, state)

    async def story() -> int:
        for _ in range(20):
            try:
                await guarded() if colour.is_async else guarded()
            except CircuitOpenError:
                pass
        return found_since()

    found_since = cycles_since_now()
    try:
        assert play(colour, story) == 0, "each rejection leaves a reference cycle"
    finally:
        gc.enable()
        gc.unfreeze()


def cycles_since_now() -> Callable[[], int]:
    """What asks for the number of rejections that only the collector could free."""
    gc.collect()
    gc.freeze()
    gc.disable()

    def found() -> int:
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            gc.collect()
            return sum(isinstance(thing, CircuitOpenError) for thing in gc.garbage)
        finally:
            gc.set_debug(0)
            gc.garbage.clear()

    return found


@pytest.mark.parametrize("state", ["open", "half_open"])
def test_each_rejection_is_a_new_object_whose_traceback_does_not_grow(colour: Any, state: str) -> None:
    """purgatory raises the same exception object each time: traceback depth 1836, 194 MB kept."""
    exhibit(CircuitBreaker, colour, state)


@pytest.mark.parametrize("state", ["open", "half_open"])
def test_a_rejection_leaves_no_reference_cycle(colour: Any, state: str) -> None:
    """A rejection kept in a local of the frame that raises it makes one each time."""
    exhibit_garbage(CircuitBreaker, colour, state)


def test_the_faulty_double_is_caught(colour: Any) -> None:
    with pytest.raises(AssertionError, match="the traceback grows"):
        exhibit(OneObject, colour)
    with pytest.raises(AssertionError, match="reference cycle"):
        exhibit_garbage(KeptInALocal, colour)
