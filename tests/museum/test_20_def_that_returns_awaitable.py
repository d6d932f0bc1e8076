from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest

from circuitry import CircuitBreaker

from .doubles import Naive
from .scenes import Scene, error_of

pytestmark = pytest.mark.core


async def fetch() -> str:
    raise OSError("down")


def items() -> Iterator[str]:
    yield "first"
    raise OSError("down")


async def items_async() -> AsyncIterator[str]:
    yield "first"
    raise OSError("down")


def coroutine() -> Coroutine[Any, Any, str]:
    return fetch()


def task() -> asyncio.Task[str]:
    return asyncio.create_task(fetch())


def generator() -> Iterator[str]:
    return items()


def async_generator() -> AsyncIterator[str]:
    return items_async()


def exhibit(kind: Any, colour: Any, function: Callable[[], Any]) -> None:
    scene = Scene(kind, colour, failure_threshold=1)
    guarded = scene.breaker(function)

    def used() -> None:
        list(guarded())

    async def used_async() -> None:
        result = guarded()
        if hasattr(result, "__aiter__"):
            async for _ in result:
                pass
        else:
            await result

    assert isinstance(error_of(colour, used_async if colour.is_async else used), OSError)
    assert scene.state == "open", "what the function returned is unguarded"


RETURNED = [
    pytest.param("sync", generator, id="generator"),
    *(
        pytest.param(loop, function, id=f"{function.__name__}-{loop}")
        for loop in ("asyncio", "trio")
        for function in (coroutine, async_generator)
    ),
    pytest.param("asyncio", task, id="task"),
]


@pytest.mark.parametrize(("colour", "function"), RETURNED, indirect=["colour"])
def test_what_a_def_returns_is_guarded_until_it_ends(colour: Any, function: Any) -> None:
    """Every library with automatic detection leaves it silently unguarded."""
    exhibit(CircuitBreaker, colour, function)


@pytest.mark.parametrize(("colour", "function"), RETURNED, indirect=["colour"])
def test_the_faulty_double_is_caught(colour: Any, function: Any) -> None:
    """The breaker of the textbook has this bug."""
    with pytest.raises(AssertionError, match="is unguarded"):
        exhibit(Naive, colour, function)
