from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from circuitry import CircuitBreaker, CircuitOpenError

from .doubles import Naive
from .scenes import Scene, play, python_calls

pytestmark = pytest.mark.core

FALLBACKS = [{"fallback": lambda: "cached"}, {"fallback_value": "cached", "fallback_on": OSError}]


class InALayer(Naive):
    """A fallback is a guard around the guard."""

    def __init__(self, *args: Any, fallback: Any = None, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.fallback = fallback

    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        guarded = super().__call__(fn)
        if self.fallback is None:
            return guarded

        def with_fallback() -> Any:
            try:
                return guarded()
            except CircuitOpenError:
                return self.fallback()

        async def with_fallback_async() -> Any:
            try:
                return await guarded()
            except CircuitOpenError:
                return self.fallback()

        return with_fallback_async if inspect.iscoroutinefunction(fn) else with_fallback


def exhibit(kind: Any, colour: Any, fallback: Any) -> None:
    without, with_one = calls_of(kind, colour, {}), calls_of(kind, colour, fallback)
    assert with_one == without, "a fallback makes every call dearer"


def calls_of(kind: Any, colour: Any, fallback: Any) -> list[str]:
    """What runs in one call of a closed circuit, after the first."""
    guarded = Scene(kind, colour, **fallback).breaker(colour.function(lambda: "fresh"))

    def once() -> None:
        if not colour.is_async:
            guarded()
            return
        try:
            guarded().send(None)
        except StopIteration:
            pass

    async def story() -> list[str]:
        once()
        return python_calls(once)

    return play(colour, story)


@pytest.mark.parametrize("fallback", FALLBACKS)
def test_a_fallback_that_serves_nothing_costs_nothing(colour: Any, fallback: Any) -> None:
    """Found while planning: with a layer of its own every call pays for it. Counted, not timed."""
    exhibit(CircuitBreaker, colour, fallback)


def test_the_faulty_double_is_caught(colour: Any) -> None:
    with pytest.raises(AssertionError, match="makes every call dearer"):
        exhibit(InALayer, colour, FALLBACKS[0])
