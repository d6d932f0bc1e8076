"""What stands in for a call that is rejected, or has failed."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Any, cast

from circuitry.checks import shown
from circuitry.errors import ConfigurationError
from circuitry.kinds import kind_of
from circuitry.states import Outcome


class Missing:
    """No value given, where None would be one."""

    def __repr__(self) -> str:
        return "not given"


MISSING = Missing()


class Fallback:
    """A fallback as its users gave it.

    Args:
        call: called with the call's own arguments, and with `error=` if it has a keyword-only
            parameter of that name.
        on: exception types for which it stands in beside rejections, if they are failures.
    """

    __slots__ = ("_on", "_wants_error", "call", "kind")

    def __init__(self, call: Callable[..., Any], on: tuple[type[BaseException], ...] = ()) -> None:
        self.call = call
        self._on = on
        self._wants_error = _wants_error(call)
        self.kind = kind_of(call)

    def calling(self, call: Callable[..., Any]) -> Fallback:
        """The same with another callable."""
        return Fallback(call, self._on)

    def serves(self, outcome: Outcome, error: BaseException) -> bool:
        """Whether it stands in for a call that ended with `error`."""
        return outcome is Outcome.FAILURE and isinstance(error, self._on)

    def serve(self, error: BaseException, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Its result. What it raises itself is raised from `error`."""
        try:
            return self._ask(error, args, kwargs)
        except Exception as own:
            raise _from(own, error)  # noqa: B904 - the cause is set, and may be an error of its own

    async def serve_async(self, error: BaseException, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The same, for an async call: the fallback may be sync or async."""
        try:
            result = self._ask(error, args, kwargs)
            return await result if inspect.isawaitable(result) else result
        except Exception as own:
            raise _from(own, error)  # noqa: B904

    def _ask(self, error: BaseException, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._wants_error:
            return self.call(*args, **kwargs, error=error)
        return self.call(*args, **kwargs)


def fallback_of(
    fallback: object = None, fallback_value: object = MISSING, fallback_on: object = None
) -> Fallback | None:
    """The fallback that these settings ask for, or None.

    Raises:
        ConfigurationError: they contradict each other, or one has a wrong type.
    """
    if fallback is not None and fallback_value is not MISSING:
        raise ConfigurationError(
            "fallback and fallback_value are two ways to say one thing: give one of them"
        )
    if fallback is None and fallback_value is MISSING:
        if fallback_on is not None:
            raise ConfigurationError(f"fallback_on={shown(fallback_on)} needs a fallback or a fallback_value")
        return None
    if fallback is not None and not callable(fallback):
        raise ConfigurationError(
            f"fallback={shown(fallback)} is not allowed: it must be callable; for a value use fallback_value="
        )

    def value(*_args: object, **_kwargs: object) -> object:
        return fallback_value

    return Fallback(fallback if fallback is not None else value, _types(fallback_on))


def _types(value: object) -> tuple[type[BaseException], ...]:
    if value is None:
        return ()
    several = isinstance(value, (tuple, list, set, frozenset))
    types = tuple(cast("Iterable[object]", value)) if several else (value,)
    if not types or not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in types):
        raise ConfigurationError(
            f"fallback_on={shown(value)} is not allowed: it must be an exception type, or several"
        )
    return cast("tuple[type[BaseException], ...]", types)


def _wants_error(call: Callable[..., Any]) -> bool:
    try:
        parameter = inspect.signature(call).parameters.get("error")
    except (TypeError, ValueError):  # some builtins have no signature
        return False
    return parameter is not None and parameter.kind is inspect.Parameter.KEYWORD_ONLY


def _from(own: Exception, error: BaseException) -> Exception:
    if own is not error and own.__cause__ is None:
        own.__cause__ = error
    return own


async def each_of(items: Any) -> AsyncGenerator[Any, None]:
    """The items of an iterable of either colour; it is closed if they are left early."""
    if not hasattr(items, "__aiter__"):
        for item in items:
            yield item
        return
    try:
        async for item in items:
            yield item
    finally:
        if isinstance(items, AsyncGenerator):
            await items.aclose()
