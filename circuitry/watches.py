"""What rules make of calls: the moving part of a closed generation that goes by a rule.

A rule (see `policies.py`) makes a *watch*: it is told of outcomes and says whether the rule holds. The
evidence of the generation is made of its watch; a call brings its outcome back to it.

Where a rule looks at how long calls take, each call is admitted by a `Flight` of its own, which knows when
it began. No thread watches those in flight: they are looked at when the next call comes.

Told by many threads at once, without a lock: see `windows.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from circuitry.windows import Admitting, Evidence, Window

logger = logging.getLogger("circuitry")


class Watch(Protocol):
    """What a rule makes of one closed generation. Told by many threads at once, without a lock."""

    @property
    def failures(self) -> int:
        """How many failures stand against the circuit."""
        ...

    def add(self, failed: bool, /) -> None:
        """A call has ended."""
        ...

    def holds(self) -> bool:
        """Whether it is time to trip."""
        ...


class RowWatch:
    """Failures in a row."""

    def __init__(self, threshold: int) -> None:
        self._threshold = threshold
        self.failures = 0

    def add(self, failed: bool, /) -> None:
        """Another call has ended."""
        self.failures = self.failures + 1 if failed else 0

    def holds(self) -> bool:
        """Whether there are enough."""
        return self.failures >= self._threshold


class RateWatch:
    """A share of bad outcomes in a window."""

    __slots__ = ("_minimum", "_threshold", "add", "window")

    def __init__(self, window: Window, threshold: float, minimum: int) -> None:
        self.window = window
        self.add = window.add
        self._threshold = threshold
        self._minimum = minimum

    @property
    def failures(self) -> int:
        """How many are in the window."""
        self.window.refresh()
        return self.window.bad

    def holds(self) -> bool:
        """Whether the share is reached."""
        window = self.window
        calls = window.calls
        return calls >= self._minimum and window.bad / calls >= self._threshold


class SlowWatch:
    """A share of slow calls in a window; those in flight count as soon as they are found to be late."""

    __slots__ = ("count", "flying", "holds", "limit")
    failures = 0  # none that failed

    def __init__(self, window: Window, threshold: float, minimum: int, limit: float) -> None:
        rate = RateWatch(window, threshold, minimum)
        self.count, self.holds = rate.add, rate.holds
        self.limit = limit
        #: The calls under way that haven't been found late, the oldest first.
        self.flying: dict[Flight, None] = {}

    def add(self, failed: bool, /) -> None:
        """It isn't failures that are counted here, but how long calls take."""

    def overdue(self, now: float) -> bool:
        """Count those under way that are late by now; whether there are any."""
        found = False
        while (flight := self._oldest()) is not None and now - flight.started > self.limit:
            if self.flying.pop(flight, self) is None:
                self.count(True)
                found = True
        return found

    def _oldest(self) -> Flight | None:
        try:
            return next(iter(self.flying), None)
        except RuntimeError:  # another thread has just changed it: the next call will look again
            return None


class Several:
    """Several watches as one: which holds when one of them does."""

    def __init__(self, watches: list[Watch]) -> None:
        self.watches = watches

    @property
    def failures(self) -> int:
        """The most that one of them counts."""
        return max(watch.failures for watch in self.watches)

    def add(self, failed: bool, /) -> None:
        """A call has ended."""
        for watch in self.watches:
            watch.add(failed)

    def holds(self) -> bool:
        """Whether one of them does."""
        for watch in self.watches:  # noqa: SIM110 - a generator would cost twice as much
            if watch.holds():
                return True
        return False


class All(Several):
    """Several watches as one: which holds when all of them do."""

    def holds(self) -> bool:
        """Whether all of them do."""
        for watch in self.watches:  # noqa: SIM110
            if not watch.holds():
                return False
        return True


def slow_watches(watch: object) -> list[SlowWatch]:
    """Those of its parts that look at how long calls take."""
    if isinstance(watch, SlowWatch):
        return [watch]
    if isinstance(watch, Several):
        return [slow for part in watch.watches for slow in slow_watches(part)]
    return []


class Ruled:
    """The evidence of a generation that goes by a rule."""

    run = True  # any outcome may matter

    def __init__(self, watch: Watch, why: str) -> None:
        self.why: str | None = why
        self._watch = watch
        self._add = watch.add
        self._holds = watch.holds

    @property
    def owner(self) -> Evidence:
        """Itself."""
        return self

    @property
    def failures(self) -> int:
        """How many failures stand against the circuit."""
        return self._watch.failures

    def failure(self) -> bool:
        """Count a failure; True if the circuit has to trip."""
        try:
            self._add(True)
            return self._holds()
        except Exception:
            return self._odd()

    def success(self) -> bool:
        """Count a success; True if the circuit has to trip."""
        try:
            self._add(False)
            return self._holds()
        except Exception:
            return self._odd()

    def _odd(self) -> bool:
        """A rule that raises is logged, and taken as not holding."""
        logger.exception("the rule %s raised; taken as not holding", self.why)
        return False

    def enter(self) -> Admitting | None:
        """Admits calls itself."""
        return self

    def is_due(self) -> bool:
        """Outcomes decide, never a call that comes."""
        return False


class Timed(Ruled):
    """The evidence of a generation that looks at how long calls take."""

    def __init__(self, watch: Watch, why: str, clock: Callable[[], float]) -> None:
        super().__init__(watch, why)
        self.clock = clock
        self.slow = slow_watches(watch)
        self._is_unjudged = False  # something slow was counted where nobody could judge it

    def enter(self) -> Admitting | None:
        """A flight for one more call; None if those before it say that it is time to trip."""
        now = self.clock()
        for slow in self.slow:
            if slow.flying and slow.overdue(now):
                self._is_unjudged = True
        if self._is_unjudged and self.is_due():
            return None
        flight = Flight(self, now)
        for slow in self.slow:
            slow.flying[flight] = None
        return flight

    def is_due(self) -> bool:
        """Whether it is time to trip."""
        self._is_unjudged = False
        return self._holds()

    def landed(self, flight: Flight) -> None:
        """A call has ended: see how long it took, unless it has been found late before."""
        took = self.clock() - flight.started
        for slow in self.slow:
            if slow.flying.pop(flight, slow) is None:
                slow.count(took > slow.limit)

    def given_up(self, flight: Flight) -> None:
        """A call has ended without a verdict: it only counts if it was slow.

        Finalizers call this too: it is judged when the next call comes.
        """
        took = self.clock() - flight.started
        for slow in self.slow:
            if slow.flying.pop(flight, slow) is None and took > slow.limit:
                slow.count(True)
        self._is_unjudged = True


class Flight:
    """The admission of one call, whose time is taken."""

    __slots__ = ("owner", "started")
    run = True

    def __init__(self, owner: Timed, started: float) -> None:
        self.owner = owner
        self.started = started

    def failure(self) -> bool:
        """It has failed; True if the circuit has to trip."""
        self.owner.landed(self)
        return self.owner.failure()

    def success(self) -> bool:
        """It has succeeded; True if the circuit has to trip."""
        self.owner.landed(self)
        return self.owner.success()
