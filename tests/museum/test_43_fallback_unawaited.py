from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from circuitry import CircuitBreaker, CircuitOpenError

from .doubles import Naive
from .scenes import Scene, fails, in_async, in_sync

pytestmark = pytest.mark.core


class WithFallback(Naive):
    """Calls the fallback, and returns whatever comes of it."""

    def __init__(self, *args: Any, fallback: Callable[..., Any], **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.fallback = fallback

    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        guarded = super().__call__(fn)

        async def with_fallback(*args: Any) -> Any:
            try:
                return await guarded(*args)
            except CircuitOpenError:
                return self.fallback(*args)

        return with_fallback


async def cached() -> str:
    return "cached"


def exhibit(kind: Any, colour: Any) -> None:
    scene = Scene(kind, colour, fallback=cached)
    scene.trip()
    served = colour.run(scene.breaker(colour.function(fails)))
    if inspect.iscoroutine(served):
        served.close()
    assert served == "cached", "the fallback came back un-awaited"


@in_async
def test_an_async_fallback_is_awaited(colour: Any) -> None:
    """In interlock and fluxgate the caller gets a coroutine."""
    exhibit(CircuitBreaker, colour)


@in_async
def test_a_sync_fallback_of_an_async_call_is_served_as_it_is(colour: Any) -> None:
    """Async code may fall back on plain functions."""
    scene = Scene(CircuitBreaker, colour, fallback=lambda: "cached")
    scene.trip()
    assert colour.run(scene.breaker(colour.function(fails))) == "cached"


@in_sync
def test_an_async_fallback_of_a_sync_call_is_refused(colour: Any) -> None:
    """Nobody could await it."""
    scene = Scene(CircuitBreaker, colour, fallback=cached)
    with pytest.raises(TypeError, match="async"):
        scene.breaker(fails)


@in_async
def test_the_faulty_double_is_caught(colour: Any) -> None:
    with pytest.raises(AssertionError, match="came back un-awaited"):
        exhibit(WithFallback, colour)
