"""How a guard takes the place of what it guards: names, binding, pickling, and the way back.

A guard is a plain function. In a class it stays one, since nothing binds faster. Elsewhere it
stands behind a wrapt proxy, and what isn't a function is proxied itself, so that it keeps its
attributes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, TypeVar, cast

import wrapt

from circuitry.errors import ConfigurationError
from circuitry.guards import Guard, Terms, guard

if TYPE_CHECKING:
    Decorable = Callable[..., Any] | classmethod[Any, ..., Any] | staticmethod[..., Any]
    F = TypeVar("F", bound=Decorable)
else:
    F = TypeVar("F")


class Guarded(wrapt.CallableObjectProxy[Any]):
    """A guarded function, outside of any class."""

    def __set_name__(self, owner: type, name: str) -> None:
        setattr(owner, name, self.__wrapped__)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self.__wrapped__.__get__(instance, owner)

    def __reduce__(self) -> str:
        qualified: str = self.__qualname__
        return qualified

    def __reduce_ex__(self, protocol: Any) -> str:
        return self.__reduce__()

    def __copy__(self) -> Guarded:
        return self

    def __deepcopy__(self, memo: object) -> Guarded:
        return self


class GuardedObject(Guarded):
    """A guarded callable that is no function: a partial, or an object with `__call__`."""

    def __init__(self, wrapped: Any, guard: Any) -> None:
        super().__init__(wrapped)
        self._self_guard = guard

    @property
    def __call__(self) -> Guard:  # pyright: ignore[reportIncompatibleMethodOverride]
        """What runs when it is called: of the kind of the original's, for who looks at it to find out."""
        called: Guard = self._self_guard
        return called

    def __set_name__(self, owner: type, name: str) -> None:
        """It is what it was."""

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        bind = getattr(self.__wrapped__, "__get__", None)
        if instance is None or bind is None or bind(instance, owner) is self.__wrapped__:
            return self
        return MethodType(cast("Any", self), instance)

    def __reduce__(self) -> str:
        if not hasattr(self, "__qualname__"):
            from pickle import PicklingError

            raise PicklingError(
                f"{self.__wrapped__!r} has no name to be pickled by: guard a function that calls it"
            )
        return super().__reduce__()

    @property
    def circuit(self) -> object:
        """The breaker, or the family."""
        circuit: object = self._self_guard.circuit
        return circuit


def decorate(fn: F, terms: Terms, circuit: object) -> F:
    """`fn`, guarded: of the same type, under the same name.

    Args:
        fn: what to guard; a classmethod or staticmethod is guarded beneath and wrapped again.
        terms: what the guard goes by.
        circuit: what `circuit_of` will give: the breaker, or the family.

    Raises:
        TypeError: it can't be guarded; the message says why, and what to do.
    """
    inner = under(fn)
    named = _named(inner, terms, circuit)
    whole: Any
    if isinstance(fn, (classmethod, staticmethod)):
        whole = type(cast("Any", fn))(named)
    else:
        whole = Guarded(named) if isinstance(inner, FunctionType) else GuardedObject(inner, named)
    return cast("F", whole)


def under(fn: object) -> Any:
    """What a classmethod or staticmethod is made of; anything else is itself."""
    whole: Any = fn
    return whole.__func__ if isinstance(fn, (classmethod, staticmethod)) else whole


def _named(fn: Callable[..., Any], terms: Terms, circuit: object) -> Guard:
    named: Any = functools.wraps(fn)(guard(fn, terms))
    named.circuit = circuit
    return cast("Guard", named)


def name_of(fn: Any) -> str:
    """The automatic name of a circuit: "module.qualname" of what it guards.

    Raises:
        ConfigurationError: it has none that would mean anything.
    """
    fn = under(fn)
    name = getattr(fn, "__qualname__", None)
    if not isinstance(name, str) or name.endswith("<lambda>"):
        raise ConfigurationError(
            f'{fn!r} has no name of its own to name a circuit after: give one, circuit("name")'
        )
    return f"{fn.__module__}.{name}"
