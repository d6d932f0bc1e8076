"""What listeners are told, and how it gets to them.

Events are frozen values. Plain listeners are called, one after the other, outside every lock;
async code reads an `EventStream`. Neither can hold up or harm the circuit.
"""

from __future__ import annotations

import logging
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple, Protocol

from circuitry.kinds import is_async
from circuitry.states import CircuitState

logger = logging.getLogger("circuitry")


class TransitionEvent(NamedTuple):
    """A circuit has changed its state.

    `at` is in unix seconds; `reason` is a `Reason` of the machine. `source` says which side
    decided: "local" (the circuit itself), "admin" (an administrative call), "fleet" (all processes
    together) or "shadow" (what the circuit would have done, had it not been in shadow).
    """

    name: str
    old_state: CircuitState
    new_state: CircuitState
    reason: str
    at: float
    source: str
    last_failure: str | None = None


class RejectionEvent(NamedTuple):
    """A call was rejected."""

    name: str
    state: CircuitState
    retry_after: float


class FailureEvent(NamedTuple):
    """An admitted call has failed. `error` is None if its returned value was the failure."""

    name: str
    error: BaseException | None


class FallbackEvent(NamedTuple):
    """A fallback stands in for `error`: a rejection, or a failure."""

    name: str
    error: BaseException


class Listeners(tuple[Callable[[Any], object], ...]):
    """Who listens to one kind of event: immutable, so it can be read without a lock."""

    __slots__ = ()

    def tell(self, event: object) -> None:
        """Call each; one that raises is logged."""
        for listener in self:
            try:
                listener(event)
            except Exception:
                logger.exception("the listener %r raised on %r", listener, event)

    def with_(self, listener: Callable[[Any], object]) -> Listeners:
        """These and one more."""
        return Listeners((*self, listener))

    def without(self, listener: Callable[[Any], object]) -> Listeners:
        """These but that one."""
        return Listeners(other for other in self if other is not listener)


def check_listener(listener: object) -> None:
    """Refuse what can't be called, and what would have to be awaited.

    Raises:
        TypeError: with what to do instead.
    """
    if not callable(listener):
        raise TypeError(f"a listener must be callable, not {listener!r}")
    if is_async(listener):
        raise TypeError(
            f"the listener {listener!r} is async and would never be awaited: use breaker.events()"
        )


class EventStream(AsyncIterator[TransitionEvent]):
    """The transitions of a circuit, for `async for`, on asyncio or trio.

    Keeps the newest `size` events that haven't been read. It may be fed from any thread; one
    task at a time may read it. It ends with `aclose()`, or by being dropped.
    """

    def __init__(self, size: int) -> None:
        self._events: deque[TransitionEvent] = deque(maxlen=size)
        self._wake: Callable[[], object] | None = None
        self._closed = False

    def put(self, event: TransitionEvent) -> None:
        """Add an event, from any thread."""
        if not self._closed:
            self._events.append(event)
            if wake := self._wake:
                wake()

    async def __anext__(self) -> TransitionEvent:
        while not self._events:
            if self._closed:
                raise StopAsyncIteration
            await self._news()
        return self._events.popleft()

    async def _news(self) -> None:
        import anyio

        event = anyio.Event()
        self._wake = waker(event.set)
        try:
            if not self._events and not self._closed:  # what came before the waker was there
                await event.wait()
        finally:
            self._wake = None

    async def aclose(self) -> None:
        """Hear no more; a reader gets what is left, then the end."""
        self._closed = True
        if wake := self._wake:
            wake()


def in_event_loop() -> bool:
    """Whether this thread runs an event loop, which nothing may hold up."""
    running = getattr(sys.modules.get("asyncio"), "_get_running_loop", None)
    return (running is not None and running() is not None) or _in_trio()


def _in_trio() -> bool:
    """Whether this thread runs trio. While another one is just importing it, this one doesn't."""
    in_run = getattr(sys.modules.get("trio.lowlevel"), "in_trio_run", None)
    return in_run is not None and in_run()


class LoopEvent(Protocol):
    """What asyncio's and trio's events have in common."""

    def set(self) -> object:
        """Wake who waits."""
        ...

    async def wait(self) -> object:
        """Wait until it is set."""
        ...


def loop_event() -> LoopEvent:
    """An event of the loop that runs in this thread.

    Not anyio's: its first use imports for tens of milliseconds, and the loop would stand still meanwhile.
    """
    if _in_trio():
        event: LoopEvent = sys.modules["trio"].Event()
        return event
    import asyncio

    return asyncio.Event()


async def wait_at_most(event: LoopEvent, seconds: float) -> None:
    """Wait until it is set, or for so many seconds."""
    if _in_trio():
        with sys.modules["trio"].move_on_after(seconds):
            await event.wait()
        return
    import asyncio

    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass


def waker(wake: Callable[[], object]) -> Callable[[], bool]:
    """A function that calls `wake` in the event loop of the caller, from any thread.

    It never waits. Once the loop has ended it does nothing, and returns False.
    """
    if _in_trio():
        trio = sys.modules["trio"]
        call_soon: Callable[..., object] = trio.lowlevel.current_trio_token().run_sync_soon
        ended: type[Exception] = trio.RunFinishedError
    else:
        import asyncio

        call_soon = asyncio.get_running_loop().call_soon_threadsafe
        ended = RuntimeError

    def wake_there() -> bool:
        try:
            call_soon(wake)
        except ended:
            return False
        return True

    return wake_there
