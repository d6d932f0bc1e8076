"""A fallback that serves the last good result of the same arguments."""

from __future__ import annotations

import inspect
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from datetime import timedelta
from types import MethodType
from typing import Any, NamedTuple

from circuitry.checks import check_count, check_seconds, refuse
from circuitry.config import logger
from circuitry.forking import LockHolder, rearm_after_fork
from circuitry.kinds import is_async


class Good(NamedTuple):
    """A result, when it came, and whether its call gave it as something to await."""

    result: Any
    at: float
    awaited: bool


class ByIdentity:
    """An argument that counts as itself only, whatever it is equal to."""

    __slots__ = ("_of",)

    def __init__(self, of: object) -> None:
        self._of = of

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ByIdentity) and other._of is self._of

    def __hash__(self) -> int:
        return id(self._of)


class Memory(LockHolder):
    """The good results of one function."""

    def __init__(self, fn: Callable[..., Any], terms: LastGood) -> None:
        super().__init__()
        self._terms = terms
        self._takes_self = _takes_self(fn)
        self._kept: OrderedDict[Hashable, Good] = OrderedDict()
        rearm_after_fork(self)

    def keep(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        result: Any,
        *,
        awaited: bool = False,
        of: Any = None,
    ) -> None:
        """Keep a good result; what can't be told apart by its arguments isn't kept, but logged."""
        try:
            key = self._key(args, kwargs, of)
        except Exception:
            logger.exception("last_good keeps nothing of this call, since it has no key for it")
            return
        good = Good(result, self._terms.clock(), awaited)
        dropped: list[object] = []  # outlives the lock: results may have finalizers
        with self._lock:
            dropped.append(self._kept.pop(key, None))
            self._kept[key] = good
            if len(self._kept) > self._terms.max_size:
                dropped.append(self._kept.popitem(last=False))

    def serve(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], error: BaseException, of: Any = None
    ) -> Any:
        """The last good result, in the form it came in, or else what it should have stood in for."""
        good = self._kept.get(self._key(args, kwargs, of))
        if good is None or self._terms.clock() - good.at > self._terms.max_age:
            raise error
        return _given(good.result) if good.awaited else good.result

    def __call__(self, *args: Any, error: BaseException, **kwargs: Any) -> Any:
        """It is a fallback."""
        return self.serve(args, kwargs, error)

    def _key(self, args: tuple[Any, ...], kwargs: dict[str, Any], of: Any) -> Hashable:
        """What tells a call apart: its arguments, and the object that its method was bound to before."""
        if self._terms.key is not None:
            return ByIdentity(of), self._terms.key(*args, **kwargs)
        if of is None and self._takes_self and args:
            args = (ByIdentity(args[0]), *args[1:])
        key = (ByIdentity(of), args, frozenset(kwargs.items()))
        try:
            hash(key)
        except TypeError as error:
            raise TypeError(f"last_good can't tell these arguments apart ({error}): give it key=") from error
        return key


class MethodMemory:
    """The same for a method of one object, `client.fetch`: the object counts like `self`."""

    def __init__(self, memory: Memory, of: object) -> None:
        self._memory = memory
        self._of = of

    def keep(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any, *, awaited: bool = False
    ) -> None:
        """Keep a good result of this object."""
        self._memory.keep(args, kwargs, result, awaited=awaited, of=self._of)

    def __call__(self, *args: Any, error: BaseException, **kwargs: Any) -> Any:
        """It is a fallback."""
        return self._memory.serve(args, kwargs, error, self._of)


async def _given(result: Any) -> Any:
    return result


class LastGood(LockHolder):
    """What `last_good` makes; each function that it stands in for gets a memory of its own."""

    def __init__(
        self,
        max_age: float,
        max_size: int,
        key: Callable[..., Hashable] | None,
        clock: Callable[[], float],
    ) -> None:
        super().__init__()
        self.max_age = max_age
        self.max_size = max_size
        self.key = key
        self.clock = clock
        self._memories: weakref.WeakKeyDictionary[Callable[..., Any], Memory] = weakref.WeakKeyDictionary()
        rearm_after_fork(self)

    def memory(self, fn: Callable[..., Any]) -> Memory | MethodMemory:
        """The memory of one function; that of a bound method is its function's."""
        if isinstance(fn, MethodType):
            return MethodMemory(self._memory(fn.__func__), fn.__self__)
        return self._memory(fn)

    def _memory(self, fn: Callable[..., Any]) -> Memory:
        made = Memory(fn, self)
        try:
            with self._lock:
                return self._memories.setdefault(fn, made)
        except TypeError:  # it can't be looked up, or not weakly: this one is for who asks now
            return made

    def __call__(self, *args: Any, error: BaseException, **kwargs: Any) -> Any:
        """Without a function to watch there is no good result."""
        raise error


def last_good(
    max_age: float | timedelta | None = None,
    max_size: int = 1000,
    key: Callable[..., Hashable] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> LastGood:
    """A fallback that serves the last good result of the same arguments: `fallback=last_good(max_age=300)`.

    For functions and coroutine functions. Results are kept as they are, not copied: who changes
    one changes what will be served. The `self` of a method counts by identity, and is kept alive
    with its results. Where nothing good is kept, the rejection is raised.

    Args:
        max_age: seconds (or a `timedelta`), > 0, for which a result may be served; None: for ever.
        max_size: how many results of one function are kept, >= 1; the longest unrenewed goes first.
        key: tells calls apart by their arguments, `key(*args, **kwargs)`; needed where these
            aren't hashable.
        clock: returns monotonic seconds.

    Raises:
        ConfigurationError: a setting isn't allowed.

    Safe to use from any number of threads and tasks at once.
    """
    age = float("inf") if max_age is None else check_seconds("max_age", max_age)
    check_count("max_size", max_size)
    if key is not None and (not callable(key) or is_async(key)):
        refuse("key", key, "a plain function of the arguments")
    return LastGood(age, max_size, key, clock)


def _takes_self(fn: Callable[..., Any]) -> bool:
    try:
        first = next(iter(inspect.signature(fn).parameters), None)
    except (TypeError, ValueError):  # some builtins have no signature
        return False
    return first == "self"
