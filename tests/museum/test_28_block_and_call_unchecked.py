from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from circuitry import CircuitBreaker, CircuitOpenError

from .doubles import Naive, Ticket
from .scenes import Scene

pytestmark = pytest.mark.core


class OnlyTheDecorator(Naive):
    """Counts what happens in blocks and calls, and never asks whether they may."""

    def __enter__(self) -> Naive:
        self.blocks.append(self.generation)
        return self

    def call(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        result = fn(*args, **kwargs)
        Ticket(self, self.generation).success()
        return result


def exhibit(kind: Any, colour: Any, face: str) -> None:
    scene = Scene(kind, colour)
    scene.trip()
    reached: list[object] = []

    def backend(*_: object) -> None:
        reached.append(None)

    try:
        if face == "block":
            colour.block(scene.breaker, backend)
        else:
            colour.run(scene.breaker.call, colour.function(backend))
    except CircuitOpenError:
        pass
    assert not reached, "an open circuit let the call through"


@pytest.mark.parametrize("face", ["block", "call"])
def test_blocks_and_calls_are_rejected_by_an_open_circuit(colour: Any, face: str) -> None:
    """In circuitbreaker `with breaker:` and `breaker.call()` never check the state."""
    exhibit(CircuitBreaker, colour, face)


@pytest.mark.parametrize("face", ["block", "call"])
def test_the_faulty_double_is_caught(colour: Any, face: str) -> None:
    with pytest.raises(AssertionError, match="let the call through"):
        exhibit(OnlyTheDecorator, colour, face)
