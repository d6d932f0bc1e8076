"""What kind of callable something is, and what can't be guarded."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable
from enum import Enum
from types import CodeType
from typing import Any


class Kind(Enum):
    """How a callable gives its result."""

    FUNCTION = "function"
    COROUTINE = "coroutine function"
    GENERATOR = "generator function"
    ASYNC_GENERATOR = "async generator function"


def kind_of(fn: object) -> Kind:
    """How this callable gives its result."""
    forms: tuple[object, ...] = (fn, _call_of(fn))
    if any(inspect.isasyncgenfunction(form) for form in forms):
        return Kind.ASYNC_GENERATOR
    if any(inspect.iscoroutinefunction(form) for form in forms):
        return Kind.COROUTINE
    if any(inspect.isgeneratorfunction(form) and not _is_awaited(form) for form in forms):
        return Kind.GENERATOR
    return Kind.FUNCTION


def _is_awaited(generator: object) -> bool:
    """Whether `types.coroutine` has made this generator function one whose result is awaited."""
    code: CodeType | None = getattr(_inner(generator), "__code__", None)
    return code is not None and bool(code.co_flags & inspect.CO_ITERABLE_COROUTINE)


def is_async(fn: object) -> bool:
    """Whether its result has to be awaited."""
    return kind_of(fn) in (Kind.COROUTINE, Kind.ASYNC_GENERATOR)


def takes(fn: Callable[..., object], *args: object) -> bool:
    """Whether it can be called so; yes, where that can't be told."""
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):
        return True
    try:
        signature.bind(*args)
    except TypeError:
        return False
    return True


def check_guardable(fn: object) -> None:
    """Refuse what a guard would do nothing for.

    Raises:
        TypeError: with the reason, and what to do.
    """
    if isinstance(fn, type):
        raise TypeError(
            f"the class {fn!r} can't be guarded: that would guard the making of its objects, not their "
            "methods; decorate the methods, or a function that makes one"
        )
    if not callable(fn):
        raise TypeError(
            f"{fn!r} can't be guarded: it isn't callable; decorate the function or method beneath it"
        )
    if getattr(fn, "__code__", None) in _CONTEXT_MANAGERS:
        raise TypeError(
            f"{fn!r} can't be guarded above @contextmanager, where only the making of the block would be: "
            "decorate the generator beneath it"
        )


def _nothing() -> Any:
    """Something to decorate."""


#: What every function runs that one of these decorators has made.
_CONTEXT_MANAGERS: tuple[CodeType, ...] = (
    contextlib.contextmanager(_nothing).__code__,
    contextlib.asynccontextmanager(_nothing).__code__,
)


def _call_of(fn: object) -> object:
    """The method that runs when an object is called, beneath any partials."""
    called = _inner(fn)
    found = getattr(type(called), "__call__", None)  # noqa: B004 - the method, not whether there is one
    return getattr(called, "__call__") if isinstance(found, property) else found  # noqa: B004, B009


def _inner(fn: object) -> object:
    """What is beneath any partials."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return fn
