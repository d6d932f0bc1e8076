from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from circuitry import CircuitBreaker, CircuitOpenError

from .doubles import Naive
from .scenes import Scene, error_of, fails

pytestmark = pytest.mark.core


class Hides(Naive):
    """Has left the `except` behind when it calls the fallback."""

    def __init__(self, *args: Any, fallback: Callable[..., Any], **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.fallback = fallback

    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        guarded = super().__call__(fn)

        def with_fallback() -> Any:
            try:
                return guarded()
            except CircuitOpenError:
                pass
            return self.fallback()

        async def with_fallback_async() -> Any:
            try:
                return await guarded()
            except CircuitOpenError:
                pass
            return self.fallback()

        return with_fallback_async if inspect.iscoroutinefunction(fn) else with_fallback


def exhibit(kind: Any, colour: Any) -> None:
    empty = KeyError("the cache is empty")

    def cached() -> None:
        raise empty

    scene = Scene(kind, colour, fallback=cached)
    scene.trip()
    error = error_of(colour, scene.breaker(colour.function(fails)))
    assert error is empty
    assert isinstance(error.__cause__, CircuitOpenError), "the fallback's error hides the rejection"


def exhibit_failure(kind: Any, colour: Any) -> None:
    empty, down = KeyError("the cache is empty"), OSError("down")

    def cached() -> None:
        raise empty

    def backend() -> None:
        raise down

    scene = Scene(kind, colour, fallback=cached, fallback_on=OSError)
    error = error_of(colour, scene.breaker(colour.function(backend)))
    assert error is empty
    assert error.__cause__ is down, "the fallback's error hides the failure"


def test_a_fallback_that_raises_says_what_it_stood_in_for(colour: Any) -> None:
    """Elsewhere its own error hides the rejection, and nobody looks for the circuit."""
    exhibit(CircuitBreaker, colour)


def test_so_does_one_that_stood_in_for_a_failure(colour: Any) -> None:
    """The same, for `fallback_on=`."""
    exhibit_failure(CircuitBreaker, colour)


def test_the_faulty_double_is_caught(colour: Any) -> None:
    with pytest.raises(AssertionError, match="hides the rejection"):
        exhibit(Hides, colour)
