from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from circuitry import CircuitOpenError, circuit

from .doubles import Naive
from .scenes import error_of, fails, in_async

pytestmark = [pytest.mark.core, pytest.mark.usefixtures("fresh"), in_async]


class OneForEachColour:
    """A registry of two halves."""

    def __init__(self) -> None:
        self.breakers: dict[tuple[str, bool], Naive] = {}

    def __call__(self, name: str, **settings: Any) -> Callable[[Any], Any]:
        def decorate(fn: Callable[..., Any]) -> Callable[..., Any]:
            key = (name, inspect.iscoroutinefunction(fn))
            return self.breakers.setdefault(key, Naive(name, **settings))(fn)

        return decorate


def exhibit(decorator: Any, colour: Any) -> None:
    plain = decorator("netflix", failure_threshold=2)(fails)
    coroutine = decorator("netflix", failure_threshold=2)(colour.function(fails))
    with pytest.raises(OSError):
        plain()
    assert isinstance(error_of(colour, coroutine), OSError)
    errors = error_of(colour, coroutine), _error_of_sync(plain)
    assert [isinstance(error, CircuitOpenError) for error in errors] == [True, True], "one name, two breakers"


def _error_of_sync(fn: Callable[[], Any]) -> BaseException | None:
    try:
        fn()
    except Exception as error:
        return error
    return None


def test_one_name_is_one_breaker_for_sync_and_async_use(colour: Any) -> None:
    """In pyresilience it is two: one for each."""
    exhibit(circuit, colour)


def test_the_faulty_double_is_caught(colour: Any) -> None:
    with pytest.raises(AssertionError, match="one name, two breakers"):
        exhibit(OneForEachColour(), colour)
