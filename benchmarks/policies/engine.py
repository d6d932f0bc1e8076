"""What happens next: the events to come, in order, and the clock that the breakers read."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Any


class Engine:
    """A virtual clock that jumps from event to event. It begins at 0 seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self._numbers = itertools.count()  # of two events at the same time, the one planned first goes first
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []

    def clock(self) -> float:
        """The time in seconds: what breakers take as `clock=`."""
        return self.now

    def at(self, time: float, step: Callable[..., None], *args: Any) -> None:
        """Let `step(*args)` happen at that time, which isn't past."""
        if time < self.now:
            raise ValueError(f"{time} s is past: it is {self.now} s")
        heapq.heappush(self._events, (time, next(self._numbers), step, args))

    def run(self) -> None:
        """Let all of it happen, and what comes of it."""
        events = self._events
        while events:
            self.now, _, step, args = heapq.heappop(events)
            step(*args)
