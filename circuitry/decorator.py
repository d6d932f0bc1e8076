"""`circuit`: the decorator, and the block of a named circuit."""

from __future__ import annotations

from sys import _getframe as calling_frame
from types import FrameType
from typing import Any, Literal, TypeVar, Unpack, overload

from circuitry.blocks import Blocks, BlockType
from circuitry.config import DEFAULT
from circuitry.deadline import check_deadline
from circuitry.decorate import F, decorate, name_of, under
from circuitry.errors import ConfigurationError
from circuitry.faces import CircuitBreaker
from circuitry.fallback import MISSING
from circuitry.family import CircuitFamily
from circuitry.guards import Terms, check_guard
from circuitry.judging import Judge, result_test
from circuitry.kinds import kind_of
from circuitry.machine import Admission
from circuitry.registry import registry
from circuitry.settings import (
    NUMBERS,
    STANDING_IN,
    Settings,
    check_settings,
    config_of,
    deadline_of,
    given_of,
    judge_of,
    stand_in_of,
)
from circuitry.windows import Evidence

C = TypeVar("C", CircuitBreaker, CircuitFamily)


class Decoration(metaclass=BlockType):
    """What `circuit(...)` gives: a decorator and, for a named circuit, a block."""

    __slots__ = ("_blocks", "_breaker", "_judge", "_name", "_settings")

    def __init__(self, name: str | None, settings: dict[str, Any]) -> None:
        if settings:
            check_settings(settings)
        self._name = name
        self._settings = settings
        self._breaker: CircuitBreaker | None = None
        self._judge: Judge | None = None  # of a block that says itself what counts as a failure
        self._blocks: Blocks = {}

    # -- A decorator -------------------------------------------------------------------------------

    def __call__(self, fn: F) -> F:
        """Guard `fn`.

        Raises:
            TypeError: it can't be guarded; the message says why, and what to do.
            ConfigurationError: the name has other settings, or there is none to give it.
        """
        settings = self._settings
        fallback = stand_in_of(settings)
        given = config_of(settings) or DEFAULT
        first = Terms(None, judge_of(settings, DEFAULT), fallback=fallback, deadline=given.call_timeout)
        check_guard(under(fn), first)
        found = self._circuit_for(fn)  # last: what is refused has taken no name
        deadline = deadline_of(settings, found.config)
        judge = judge_of(settings, found.config)
        result_failed = result_test(judge or Judge.of(found.config))
        if isinstance(found, CircuitFamily):
            if deadline is MISSING:
                check_deadline(fn, kind_of(under(fn)), found.config.coded_call_timeout)
            terms = Terms(None, judge, result_failed, fallback, found.chooser(settings["key"]))
        else:
            terms = Terms(found, judge, result_failed, fallback)
        terms = terms._replace(deadline=deadline)
        return decorate(fn, terms, found)

    def _circuit_for(self, fn: object) -> CircuitBreaker | CircuitFamily:
        """The circuit of this name or, without one, a new one that is named after the function."""
        given = given_of(self._settings, NUMBERS)
        family = self._settings.get("key") is not None
        if self._name is None:
            return registry._put(name_of(fn), given, family=family)
        return registry._family(self._name, given) if family else registry._breaker(self._name, given)

    # -- A block -----------------------------------------------------------------------------------

    def __enter__(self) -> CircuitBreaker:
        breaker = self._breaker
        if breaker is None:
            breaker = self._found()
        admission: Admission | None = breaker.evidence
        if admission is None:
            admission = breaker._for_blocks().admit()
        frame, blocks = calling_frame(1), self._blocks
        if breaker.fallback is None and frame not in blocks:
            blocks[frame] = admission
        else:
            breaker._enter(blocks, frame, admission)
        return breaker

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> Literal[False]:
        breaker: Any = self._breaker
        frame, blocks = calling_frame(1), self._blocks
        evidence: Evidence | None = breaker.evidence
        held = blocks.pop(frame, None)
        if error is None and held is evidence and evidence is not None and not evidence.run:
            next(breaker.count)
            return False
        left: Literal[False] = breaker._left(blocks, frame, held, error, self._judge)
        return left

    async def __aenter__(self) -> CircuitBreaker:
        breaker = self._breaker
        if breaker is None:
            breaker = self._found()
        admission: Admission | None = breaker.evidence
        if admission is None:
            admission = await breaker._for_blocks().admit_async()
        frame, blocks = calling_frame(1), self._blocks
        if breaker.fallback is None and frame not in blocks:
            blocks[frame] = admission
        else:
            breaker._enter(blocks, frame, admission)
        return breaker

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> Literal[False]:
        breaker: Any = self._breaker
        frame, blocks = calling_frame(1), self._blocks
        evidence: Evidence | None = breaker.evidence
        held = blocks.pop(frame, None)
        if error is None and held is evidence and evidence is not None and not evidence.run:
            next(breaker.count)
            return False
        left: Literal[False] = breaker._left(blocks, frame, held, error, self._judge)
        return left

    def _leave(self, frame: FrameType, error: BaseException | None) -> Literal[False]:
        """The end of the block that was entered in `frame`."""
        breaker: Any = self._breaker
        held = self._blocks.pop(frame, None)
        left: Literal[False] = breaker._left(self._blocks, frame, held, error, self._judge)
        return left

    def _found(self) -> CircuitBreaker:
        """The breaker of a block, at its first entry."""
        name, settings = self._name, self._settings
        breaker = registry.get(name) if name is not None and not settings else None
        if breaker is None:
            breaker = self._made()
        self._breaker = breaker
        return breaker

    def _made(self) -> CircuitBreaker:
        """The breaker of a block that is new, or comes with settings."""
        if self._name is None:
            raise TypeError(
                'a block needs a name, since it has no function to be named after: circuit("name")'
            )
        if self._settings.get("failure_if") is not None:
            raise TypeError("a block can't use failure_if=: it returns nothing; raise an exception in it")
        if self._settings.get("call_timeout") is not None:
            raise TypeError("a block can't use call_timeout=: put anyio.fail_after or asyncio.timeout in it")
        for setting in self._settings:
            if setting in ("key", *STANDING_IN):
                raise TypeError(
                    f"a block can't use {setting}=: nothing could run in place of its lines, or choose a "
                    "circuit for them; decorate a function, or catch CircuitOpenError around the block"
                )
        breaker = registry._breaker(self._name, given_of(self._settings, NUMBERS))
        self._judge = judge_of(self._settings, breaker.config)
        return breaker


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
            `failure_if`; `call_timeout`; `fallback` or `fallback_value`, `fallback_on`; `key` for a family of
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
