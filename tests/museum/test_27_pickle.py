from __future__ import annotations

import pickle
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import wrapt

from circuitry import CircuitBreaker

pytestmark = pytest.mark.core

breaker = CircuitBreaker("netflix")


@breaker
def plain() -> None: ...


@breaker
async def coroutine() -> None: ...


@breaker
def generator() -> Iterator[None]:
    yield


@breaker
async def async_generator() -> AsyncIterator[None]:
    yield


class Platform:
    @breaker
    def method(self) -> None: ...


@wrapt.decorator
def stock(wrapped: Callable[..., Any], instance: object, args: Any, kwargs: Any) -> Any:
    return wrapped(*args, **kwargs)


@stock
def by_stock_wrapt() -> None: ...


def exhibit(function: Callable[..., Any]) -> None:
    assert pickle.loads(pickle.dumps(function)) is function


@pytest.mark.parametrize("function", [plain, coroutine, generator, async_generator, Platform.method])
def test_a_decorated_function_pickles_by_reference(function: Any) -> None:
    """Where it doesn't, as with a stock wrapt wrapper, it can't be a multiprocessing or Celery task."""
    exhibit(function)


def test_the_faulty_double_is_caught() -> None:
    with pytest.raises(NotImplementedError, match="must define __reduce"):
        exhibit(by_stock_wrapt)
