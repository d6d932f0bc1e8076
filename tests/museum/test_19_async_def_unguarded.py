from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from circuitry import CircuitBreaker

from .doubles import Naive
from .scenes import Scene, error_of, fails, in_async

pytestmark = [pytest.mark.core, in_async]


class SyncOnly(Naive):
    def is_async(self, fn: Callable[..., Any]) -> bool:
        return False


def exhibit(kind: Any, colour: Any) -> None:
    scene = Scene(kind, colour)
    guarded = scene.breaker(colour.function(fails))
    for _ in range(3):
        assert isinstance(error_of(colour, guarded), OSError)
    assert scene.state == "open", "the making of the coroutine counted as a success"


def test_an_async_def_is_guarded_until_it_ends(colour: Any) -> None:
    """pybreaker decorates it without error and never guards it."""
    exhibit(CircuitBreaker, colour)


def test_the_faulty_double_is_caught(colour: Any) -> None:
    with pytest.raises(AssertionError, match="counted as a success"):
        exhibit(SyncOnly, colour)
