"""Evidence: what a circuit has seen lately, in O(1) a call.

Each closed generation has evidence of its own, so evidence is also the admission of the calls
made in it: a result is brought back to the evidence that admitted it, and can't touch another
generation. One question is asked of it, at each failure: is it time to trip?

Evidence is told of outcomes by many threads at once and takes no lock. What makes that safe is
one operation, atomic in CPython: `next` of an `itertools.count`. A streak that ends is replaced,
never set back, so each failure counts in exactly one streak.

A window holds running totals and never subtracts from them: what is in it is the total now less the
total when it began. So threads that meet in one may lose a sample, and never leave it wrong for long.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Protocol

#: A time window moves on in so many steps.
PARTS = 30


class Admitting(Protocol):
    """What admits a call, and takes its outcome."""

    @property
    def run(self) -> object:
        """Falsy while a success would change nothing: then nobody needs to report it."""
        ...

    @property
    def owner(self) -> Evidence:
        """The evidence that it counts in."""
        ...

    def failure(self) -> bool:
        """Count a failure; True if the circuit has to trip."""
        ...

    def success(self) -> bool:
        """Count a success; True if the circuit has to trip."""
        ...

    def given_up(self) -> bool:
        """It has ended without a verdict; True if the circuit has to trip."""
        ...


class Evidence(Admitting, Protocol):
    """What the calls of one generation add up to."""

    why: str | None  # what to say of a trip that no failure has caused

    @property
    def shed_share(self) -> float:
        """The share of calls that it sheds now, >= 0 and < 1."""
        ...

    @property
    def entrance(self) -> Callable[[], Admitting | None] | None:
        """What each call has to ask, before it asks the machine; None where the evidence admits all."""
        ...

    @property
    def failures(self) -> int:
        """How many failures stand against the circuit now."""
        ...

    @property
    def row(self) -> int:
        """How many of them came in a row; 0 where that isn't counted."""
        ...

    def hand_over(self, heir: Evidence) -> None:
        """Calls that are out count in `heir`, when they end."""
        ...

    def enter(self) -> Admitting | None:
        """The admission of one more call, mostly itself; None if there is none."""
        ...

    def is_due(self) -> bool:
        """Where there was none: whether the circuit has to trip for it."""
        ...


class TripRule(Protocol):
    """What evidence is made by, where it isn't a streak."""

    def evidence(self, clock: Callable[[], float], before: Evidence | None = None) -> Evidence:
        """The evidence of a new generation; or of one that goes on, where it was counted in `before`."""
        ...

    def empty(self, evidence: Evidence | None, clock: Callable[[], float]) -> None:
        """Forget what is in the windows of this evidence."""
        ...


class Streak:
    """Consecutive failures: trips at the `limit`th failure without a success between."""

    __slots__ = ("_heir", "_next", "epoch", "limit", "run")
    why: str | None = None
    entrance = None
    shed_share = 0.0

    def __init__(self, limit: int, failures: int = 0) -> None:
        self.limit = limit
        self.epoch = 0  # what a fleet calls the generation; 0 where there is none, or none is known
        self.run = failures > 0
        self._next = itertools.count(failures + 1)
        self._heir: Evidence | None = None

    @property
    def failures(self) -> int:
        """How many failures in a row."""
        shown = repr(self._next)
        return int(shown[len("count(") : -1]) - 1  # "count(3)": the next number, without taking it

    def failure(self) -> bool:
        """Count a failure; True if it completes the streak (for a caller that raced, too)."""
        failures = next(self._next)
        self.run = True
        if failures < self.limit:
            return False
        return True if self._heir is None else self._heir.failure()

    def success(self) -> bool:
        """End the streak. Its mark goes first: a failure that comes between sets it again."""
        if self._heir is not None:
            return self._heir.success()
        self.run = False
        self._next = itertools.count(1)
        return False

    def given_up(self) -> bool:
        """Changes nothing."""
        return False

    @property
    def row(self) -> int:
        """All of them."""
        return self.failures

    def hand_over(self, heir: Evidence) -> None:
        """Calls that are out count in `heir`, when they end."""
        self._heir = heir
        self.limit = 0
        self.run = True

    @property
    def owner(self) -> Evidence:
        """Itself, or its heir."""
        return self if self._heir is None else self._heir.owner

    def enter(self) -> Streak:
        """Admits every call."""
        return self

    def is_due(self) -> bool:
        """Failures decide, never a call that comes."""
        return False

    def add(self, failed: bool, /) -> bool | None:
        """As part of a rule: a call has ended; see `Window.add`."""
        if failed:
            return self.failure()
        if self.run:
            self.success()
        return None

    def holds(self) -> bool:
        """As part of a rule: whether the streak is complete."""
        return self.failures >= self.limit

    def __copy__(self) -> Streak:
        return Streak(self.limit, self.failures)


class Unjudged:
    """The evidence of a circuit that judges nothing: it never trips."""

    __slots__ = ()
    run = False
    failures = row = 0
    why: str | None = None
    entrance = None
    shed_share = 0.0

    def hand_over(self, heir: Evidence) -> None:
        """There is nothing that would count."""

    @property
    def owner(self) -> Unjudged:
        """Itself."""
        return self

    def enter(self) -> Unjudged:
        """Admits every call."""
        return self

    def is_due(self) -> bool:
        """Never."""
        return False

    def failure(self) -> bool:
        """Never trips."""
        return False

    def success(self) -> bool:
        """Changes nothing."""
        return False

    def given_up(self) -> bool:
        """Changes nothing."""
        return False


class Window:
    """The latest outcomes: how many there are, how many of them are bad, and whether that is too many."""

    __slots__ = ("bad", "calls", "minimum", "share")

    def __init__(self, share: float, minimum: int) -> None:
        self.calls = self.bad = 0
        self.share = share  # so much of it may not be bad
        self.minimum = minimum  # so many calls must be in it, before that is asked

    @property
    def failures(self) -> int:
        """How many bad ones are in it now."""
        self.refresh()
        return self.bad

    def add(self, bad: bool, /) -> bool | None:
        """One more has come: whether that is too many. None if it isn't, and good ones change nothing."""
        raise NotImplementedError

    def holds(self) -> bool:
        """Whether too many are bad now."""
        self.refresh()
        return self._is_reached()

    def refresh(self) -> None:
        """Let go what is too old."""

    def _is_reached(self) -> bool:
        calls = self.calls
        return calls >= self.minimum and self.bad / calls >= self.share


class LastCalls(Window):
    """The last `size` outcomes. Once it is full of good ones, another changes nothing."""

    __slots__ = ("_then", "_total", "_turns", "size")

    def __init__(self, size: int, share: float, minimum: int) -> None:
        super().__init__(share, minimum)
        self.size = size
        self._turns = itertools.count()
        self._total = 0  # bad ones, ever
        self._then = [0] * size  # the same, after each of the last `size` outcomes

    def add(self, bad: bool, /) -> bool | None:
        """One more has come, and the oldest goes."""
        turn = next(self._turns)
        calls = size = self.size
        then = self._then
        place = turn % size
        if bad:
            self._total += 1
        total = self._total
        self.bad = left = total - then[place]
        then[place] = total
        if turn < size:
            calls = turn + 1
        self.calls = calls
        if left > 0:
            return left / calls >= self.share and calls >= self.minimum
        return None if calls == size else False


class WithinSeconds(Window):
    """The outcomes of the last `seconds`, in steps of a thirtieth of that.

    Time is cut in parts of `seconds` / 30, from the clock's zero. The window is the part that runs and
    the 29 before it: an outcome is in it for `seconds` at most, and for 29 thirtieths of that at least.
    """

    __slots__ = (
        "_bad",
        "_bad_gone",
        "_bad_then",
        "_calls",
        "_calls_gone",
        "_calls_then",
        "_clock",
        "_part",
        "_width",
    )

    def __init__(self, seconds: float, clock: Callable[[], float], share: float, minimum: int) -> None:
        super().__init__(share, minimum)
        self._clock = clock
        self._width = seconds / PARTS
        self._part = clock() // self._width  # a whole number; a float is cheaper to come by
        self._calls = self._bad = 0  # ever
        self._calls_gone = self._bad_gone = 0  # the same, when the window began
        self._calls_then = [0] * PARTS  # the same, at the end of each of the last parts
        self._bad_then = [0] * PARTS

    def add(self, bad: bool, /) -> bool:
        """One more has come."""
        part = self._clock() // self._width
        if part > self._part:
            self._turn(part)
        self._calls += 1
        self.calls = self._calls - self._calls_gone
        if bad:
            self._bad += 1
        self.bad = left = self._bad - self._bad_gone
        return left > 0 and self._is_reached()

    def refresh(self) -> None:
        """Let go what is too old."""
        part = self._clock() // self._width
        if part > self._part:
            self._turn(part)
        self.calls = self._calls - self._calls_gone
        self.bad = self._bad - self._bad_gone

    def _turn(self, part: float) -> None:
        """Parts have ended: note the totals at the end of each."""
        now = int(part)
        for ended in range(max(int(self._part), now - PARTS), now):
            place = ended % PARTS
            self._calls_then[place], self._bad_then[place] = self._calls, self._bad
        self._calls_gone, self._bad_gone = self._calls_then[now % PARTS], self._bad_then[now % PARTS]
        self._part = part
