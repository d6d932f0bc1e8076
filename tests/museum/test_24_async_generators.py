from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from circuitry import CircuitBreaker

from .doubles import Naive
from .scenes import Scene, error_of, in_async

pytestmark = [pytest.mark.core, in_async]


class Awaits(Naive):
    """Takes every async function for a coroutine function."""

    def is_async(self, fn: Callable[..., Any]) -> bool:
        return inspect.iscoroutinefunction(fn) or inspect.isasyncgenfunction(fn)


def exhibit(kind: Any, colour: Any) -> None:
    scene = Scene(kind, colour, failure_threshold=1)
    heard: list[str] = []

    async def rows() -> AsyncIterator[str]:
        yield "first"
        raise OSError("connection lost")

    async def listen() -> None:
        stream = scene.breaker(rows)()
        if inspect.iscoroutine(stream):
            stream.close()
        assert hasattr(stream, "__aiter__"), "TypeError: 'async for' requires an object with __aiter__"
        async for row in stream:
            heard.append(row)

    error = error_of(colour, listen)
    if isinstance(error, AssertionError):
        raise error
    assert heard == ["first"]
    assert isinstance(error, OSError)
    assert scene.state == "open", "the async generator is unguarded"


def test_an_async_generator_is_guarded_over_the_whole_iteration(colour: Any) -> None:
    """purgatory raises TypeError; in fluxgate and hyx it is unguarded."""
    exhibit(CircuitBreaker, colour)


@pytest.mark.parametrize(("double", "symptom"), [(Awaits, "TypeError"), (Naive, "is unguarded")])
def test_the_faulty_double_is_caught(colour: Any, double: Any, symptom: str) -> None:
    with pytest.raises(AssertionError, match=symptom):
        exhibit(double, colour)
