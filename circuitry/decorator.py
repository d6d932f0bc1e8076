"""`circuit`: the decorator, and the block of a named circuit."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any, Literal, TypeVar, Unpack, cast, overload

from circuitry.blocks import Blocks, BlockType
from circuitry.decorate import F, decorate, name_of
from circuitry.errors import ConfigurationError
from circuitry.faces import CircuitBreaker
from circuitry.family import CircuitFamily
from circuitry.guards import Terms, kind_of
from circuitry.registry import registry
from circuitry.settings import STANDING_IN, Settings, check_settings, judge_of, stand_in_of

C = TypeVar("C", CircuitBreaker, CircuitFamily)


class Decoration(metaclass=BlockType):
    """What `circuit(...)` gives: a decorator and, for a named circuit, a block."""

    __slots__ = ("_blocks", "_breaker", "_name", "_settings")

    def __init__(self, name: str | None, settings: dict[str, Any]) -> None:
        if settings:
            check_settings(settings)
        self._name = name
        self._settings = settings
        self._breaker: CircuitBreaker | None = None
        self._blocks: Blocks = {}

    # -- A decorator -------------------------------------------------------------------------------

    def __call__(self, fn: F) -> F:
        """Guard `fn`.

        Raises:
            TypeError: it can't be guarded; the message says why, and what to do.
            ConfigurationError: the name has other settings, or there is none to give it.
        """
        kind_of(fn.__func__ if isinstance(fn, (classmethod, staticmethod)) else fn)
        settings = self._settings
        if "key" in settings:
            return self._decorate_family(fn)
        if self._name is None:
            breaker = registry.put(name_of(fn), **settings)
        else:
            breaker = registry.get_or_create(self._name, **settings)
        judge = judge_of(settings, breaker.config)
        return decorate(fn, Terms(breaker, judge, stand_in_of(settings) or breaker.fallback), breaker)

    def _decorate_family(self, fn: F) -> F:
        settings = self._settings
        family = registry.get_or_create_family(self._name or name_of(fn), **settings)
        judge, fallback = judge_of(settings, family.config), stand_in_of(settings)
        return decorate(fn, Terms(None, judge, fallback, family.chooser(settings["key"])), family)

    # -- A block -----------------------------------------------------------------------------------

    def __enter__(self) -> CircuitBreaker:
        breaker = self._breaker or self._found()
        breaker._enter(self._blocks, sys._getframe(1), breaker.evidence or breaker.admit())
        return breaker

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> Literal[False]:
        return self._leave(sys._getframe(1), error)

    async def __aenter__(self) -> CircuitBreaker:
        breaker = self._breaker or self._found()
        breaker._enter(self._blocks, sys._getframe(1), breaker.evidence or await breaker.admit_async())
        return breaker

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> Literal[False]:
        return self._leave(sys._getframe(1), error)

    def _leave(self, frame: FrameType, error: BaseException | None) -> Literal[False]:
        return cast("CircuitBreaker", self._breaker)._left(self._blocks, frame, error)

    def _found(self) -> CircuitBreaker:
        """The breaker of a block, at its first entry."""
        if self._name is None:
            raise TypeError(
                'a block needs a name, since it has no function to be named after: circuit("name")'
            )
        for setting in (*STANDING_IN, "key"):
            if setting in self._settings:
                raise TypeError(
                    f"a block can't use {setting}=: nothing could run in place of its lines, or choose a circuit "
                    "for them; decorate a function, or catch CircuitOpenError around the block"
                )
        self._breaker = registry.get_or_create(self._name, **self._settings)
        return self._breaker


@overload
def circuit(fn: F, /) -> F: ...
@overload
def circuit(name: str | None = None, /, **settings: Unpack[Settings]) -> Decoration: ...
def circuit(target: Any = None, /, **settings: Any) -> Any:
    """Guard a callable, or a block, with a circuit breaker.

    As `@circuit`, `@circuit("name", ...)`, `with circuit("name"):` or `async with circuit("name"):`.

    Args:
        target: the name of a registered circuit. Without one, a function's circuit is its own, and
            is named "module.qualname".
        settings: of the breaker: `preset` or `config`, fields of `CircuitBreakerConfig` beside
            them, `clock`, `store`. Of this decoration: `include`, `exclude`, `exclude_as`,
            `failure_if`; `fallback` or `fallback_value`, `fallback_on`; `key` for a family of
            circuits, one for each value of `key(*args, **kwargs)`, and `max_keys` (1000).

    Returns:
        The guarded callable, of the same type; or a `Decoration` that makes one.

    Raises:
        ConfigurationError: a setting isn't allowed, or the name has other ones.
        TypeError: the callable can't be guarded; the message says why, and what to do.

    Thread and task safety: the guard may be called from any number of threads and tasks at once.
    """
    if target is None or isinstance(target, str):
        return Decoration(target, settings)
    if settings:
        raise ConfigurationError(
            f"circuit({target!r}, ...) is not allowed: the first argument must be a name"
        )
    return Decoration(None, {})(target)


@overload
def circuit_of(fn: object) -> CircuitBreaker: ...
@overload
def circuit_of(fn: object, kind: type[C]) -> C: ...
def circuit_of(fn: object, kind: type[Any] | None = None) -> Any:
    """The circuit behind a decorated callable.

    Args:
        fn: the decorated function, method, classmethod or object.
        kind: `CircuitFamily`, to tell type checkers that it was decorated with `key=`.

    Raises:
        TypeError: it isn't guarded, or by another kind of circuit.
    """
    found = getattr(fn, "circuit", None)
    if not isinstance(found, (CircuitBreaker, CircuitFamily)):
        raise TypeError(f"{fn!r} is not guarded by a circuit")
    if kind is not None and not isinstance(found, kind):
        raise TypeError(f"{fn!r} is guarded by {found!r}, not by a {kind.__name__}")
    return found
