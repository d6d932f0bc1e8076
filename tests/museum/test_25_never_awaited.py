from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from circuitry import CircuitBreaker, CircuitOpenError

from .doubles import Naive
from .scenes import Scene, error_of, in_async

pytestmark = [pytest.mark.core, in_async]


class Eager(Naive):
    """Makes the coroutine first, and asks for leave afterwards."""

    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        async def guarded(*args: Any) -> Any:
            coroutine = fn(*args)
            admission = self.admit()
            result = await coroutine
            self.ended(admission, None)
            return result

        return guarded


async def fetch() -> str:
    return "titles"


def returns_coroutine() -> Coroutine[Any, Any, str]:
    return fetch()


def exhibit(kind: Any, colour: Any, function: Callable[[], Any]) -> None:
    scene = Scene(kind, colour)
    scene.trip()
    guarded = scene.breaker(function)

    async def calling() -> None:
        await guarded()

    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        assert isinstance(error_of(colour, calling), CircuitOpenError)
        gc.collect()
    assert not [str(warning.message) for warning in heard], "the coroutine of a rejected call was made"


@pytest.mark.parametrize("function", [fetch, returns_coroutine])
def test_a_rejected_call_makes_no_coroutine(colour: Any, function: Any) -> None:
    """Several trackers have it: "coroutine was never awaited" at each rejection."""
    exhibit(CircuitBreaker, colour, function)


def test_the_faulty_double_is_caught(colour: Any) -> None:
    with pytest.raises(AssertionError, match="was never awaited"):
        exhibit(Eager, colour, fetch)
