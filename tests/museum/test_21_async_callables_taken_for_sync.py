from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from circuitry import CircuitBreaker

from .doubles import Naive
from .scenes import Scene, error_of, in_async

pytestmark = [pytest.mark.core, in_async]


class LooksAtTheCode(Naive):
    def is_async(self, fn: Callable[..., Any]) -> bool:
        code = getattr(fn, "__code__", None)
        return code is not None and bool(code.co_flags & inspect.CO_COROUTINE)


class Client:
    async def __call__(self, path: str) -> str:
        raise OSError("down")


async def fetch(host: str, path: str) -> str:
    raise OSError("down")


CALLABLES = {
    "object": Client(),
    "partial": functools.partial(fetch, "example.org"),
    "partial of partial": functools.partial(functools.partial(fetch), "example.org"),
    "partial of object": functools.partial(Client()),
}


def exhibit(kind: Any, colour: Any, which: str) -> None:
    scene = Scene(kind, colour)
    guarded = scene.breaker(CALLABLES[which])
    for _ in range(3):
        assert isinstance(error_of(colour, guarded, "/titles"), OSError)
    assert scene.state == "open", "an async callable was taken for a sync one"


@pytest.mark.parametrize("which", list(CALLABLES))
def test_every_async_callable_is_guarded_as_one(colour: Any, which: str) -> None:
    """nopanic, circuitbreaker and aiobreaker take these for sync functions."""
    exhibit(CircuitBreaker, colour, which)


@pytest.mark.parametrize("which", list(CALLABLES))
def test_the_faulty_double_is_caught(colour: Any, which: str) -> None:
    with pytest.raises(AssertionError, match="taken for a sync one"):
        exhibit(LooksAtTheCode, colour, which)
