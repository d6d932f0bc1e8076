"""Who is told of a circuit's changes, and when.

Events wait in a queue, which is filled under the breaker's lock and so is in generation order.
Telling happens outside of it, one event at a time: whoever finds nobody at it tells them all,
those that others add meanwhile too. So a listener may call back into the breaker, and none ever
waits for another thread.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from circuitry.checks import check_count
from circuitry.config import logger
from circuitry.events import (
    EventStream,
    FailureEvent,
    FallbackEvent,
    Listeners,
    RejectionEvent,
    TransitionEvent,
    check_listener,
)
from circuitry.forking import LockHolder
from circuitry.states import CircuitState

INFO, WARNING = 20, 30


class Listening(LockHolder):
    """The part of a breaker that listeners see."""

    __slots__ = (
        "_news",
        "_on_failure",
        "_on_fallback",
        "_on_rejection",
        "_on_transition",
        "_speaker",
        "_streams",
    )

    def __init__(self) -> None:
        super().__init__()
        #: Transitions that the listeners haven't heard of, and who is telling them.
        self._news: deque[TransitionEvent] = deque()
        self._speaker: object = None
        #: Who reads the transitions, for as long as somebody holds it.
        self._streams: weakref.WeakSet[EventStream] | None = None
        self._on_transition = self._on_rejection = self._on_failure = self._on_fallback = Listeners()

    def _announce(self) -> None:
        """Tell what is new, unless somebody is at it: then they go on with ours."""
        me = object()
        while self._news:
            try:
                with self._lock:
                    if self._speaker is not None or not self._news:
                        return
                    self._speaker = me
                    event = self._news.popleft()
                self._tell(event)
            finally:
                if self._speaker is me:
                    self._speaker = None

    def _tell(self, event: TransitionEvent) -> None:
        level = WARNING if event.new_state in (CircuitState.OPEN, CircuitState.FORCED_OPEN) else INFO
        if logger.isEnabledFor(level):
            cause = f": {event.last_failure}" if event.last_failure else ""
            old, new = event.old_state.value, event.new_state.value
            extra: dict[str, object] = {"circuit": event.name, "old_state": old, "new_state": new}
            extra |= {"reason": str(event.reason), "source": event.source, "last_failure": event.last_failure}
            text = "circuit %r: %s -> %s (%s, %s)%s"
            logger.log(level, text, event.name, old, new, event.reason, event.source, cause, extra=extra)
        self._on_transition.tell(event)
        if self._streams is not None:
            with self._lock:
                streams = list(self._streams)
            for stream in streams:
                stream.put(event)

    def on_transition(self, listener: Callable[[TransitionEvent], object]) -> Callable[[], None]:
        """Call `listener(event)` at each change of the effective state.

        It runs in the thread that caused or found the change, outside every lock; one event at
        a time and in order. What it raises is logged.

        Returns:
            A function that unsubscribes it; calling it again does nothing.

        Raises:
            TypeError: the listener isn't callable, or async (use `events()`).
        """
        return self._listen("_on_transition", listener)

    def on_rejection(self, listener: Callable[[RejectionEvent], object]) -> Callable[[], None]:
        """Call `listener(event)` at each rejection; otherwise like `on_transition`."""
        return self._listen("_on_rejection", listener)

    def on_failure(self, listener: Callable[[FailureEvent], object]) -> Callable[[], None]:
        """Call `listener(event)` at each failure of an admitted call; otherwise like `on_transition`."""
        return self._listen("_on_failure", listener)

    def on_fallback(self, listener: Callable[[FallbackEvent], object]) -> Callable[[], None]:
        """Call `listener(event)` when a fallback is about to stand in; otherwise like `on_transition`."""
        return self._listen("_on_fallback", listener)

    def _listen(self, kind: str, listener: Callable[[Any], object]) -> Callable[[], None]:
        check_listener(listener)

        def heard(event: object) -> None:  # an object of its own for each subscription
            listener(event)

        def unsubscribe() -> None:
            with self._lock:
                setattr(self, kind, getattr(self, kind).without(heard))

        with self._lock:
            setattr(self, kind, getattr(self, kind).with_(heard))
        return unsubscribe

    def events(self, size: int = 1000) -> EventStream:
        """The transitions from now on, for `async for`, on asyncio or trio.

        Args:
            size: how many unread events are kept, >= 1; beyond that the oldest are dropped.

        Raises:
            ConfigurationError: the size isn't allowed.
        """
        check_count("size", size)
        stream = EventStream(size)
        with self._lock:
            if self._streams is None:
                self._streams = weakref.WeakSet()
            self._streams.add(stream)
        return stream
