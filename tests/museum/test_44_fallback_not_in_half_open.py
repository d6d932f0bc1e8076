from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from circuitry import CircuitBreaker, CircuitOpenError

from .doubles import Naive
from .scenes import Scene, error_of, fails

pytestmark = pytest.mark.core


class OnlyWhenOpen(Naive):
    def __init__(self, *args: Any, fallback: Callable[..., Any], **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.fallback = fallback

    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        guarded = super().__call__(fn)

        def with_fallback() -> Any:
            return self.fallback() if self.state == "open" else guarded()

        async def with_fallback_async() -> Any:
            return self.fallback() if self.state == "open" else await guarded()

        return with_fallback_async if inspect.iscoroutinefunction(fn) else with_fallback


def exhibit(kind: Any, colour: Any) -> None:
    served: list[object] = []
    scene = Scene(kind, colour, fallback=lambda: served.append("cached"))
    guarded = scene.breaker(colour.function(fails))
    scene.trip()
    assert error_of(colour, guarded) is None
    scene.wait()
    probe = scene.permit()
    error = error_of(colour, guarded)
    assert not isinstance(error, CircuitOpenError), "the fallback isn't served in half_open"
    assert served == ["cached", "cached"]
    probe.release()


def test_a_fallback_is_served_in_half_open_too(colour: Any) -> None:
    """The Rust original serves it for a rejection in open, but not for one in half_open."""
    exhibit(CircuitBreaker, colour)


def test_the_faulty_double_is_caught(colour: Any) -> None:
    with pytest.raises(AssertionError, match="isn't served in half_open"):
        exhibit(OnlyWhenOpen, colour)
