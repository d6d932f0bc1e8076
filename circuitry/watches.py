"""What rules make of calls: the moving part of a closed generation that goes by a rule.

A rule (see `policies.py`) makes a *watch*: it is told of outcomes, and answers whether the rule holds. The
evidence of the generation is made of its watch; a call brings its outcome back to it.

Where a rule looks at how long calls take, each call is admitted by a `Flight` of its own, which knows when
it began. No thread watches those in flight: they are looked at when the next call comes.

Told by many threads at once, without a lock: see `windows.py`. And as for a streak, most successes need not
be told: a watch whose answer is None says that another success would change nothing.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from circuitry.checks import shown
from circuitry.windows import Admitting, Evidence, Streak, Window

logger = logging.getLogger("circuitry")

_new = object.__new__
AT_ONCE = -math.inf  # the time of a look that is due already


class Watch(Protocol):
    """What a rule makes of one closed generation. Told by many threads at once, without a lock."""

    @property
    def failures(self) -> int:
        """How many failures stand against the circuit."""
        ...

    def add(self, failed: bool, /) -> bool | None:
        """A call has ended: whether the rule holds. None if not, and no success would change that."""
        ...

    def holds(self) -> bool:
        """Whether the rule holds now."""
        ...


class OwnWatch(Protocol):
    """What a rule of the user's own makes. It may raise."""

    def add(self, failed: bool, /) -> object:
        """A call has ended."""
        ...

    def holds(self) -> object:
        """Whether it is time to trip."""
        ...


class Own:
    """A watch of the user's own. Its code runs when calls end, and so never under the circuit's lock."""

    def __init__(self, make: Callable[[], OwnWatch], rule: object) -> None:
        self._make = make
        self._rule = rule
        self._made: dict[str, OwnWatch] = {}
        self._held = False
        self.failures = 0  # in a row

    def add(self, failed: bool, /) -> bool:
        """A call has ended: whether it holds. What raises is logged, and taken as not holding."""
        self.failures = self.failures + 1 if failed else 0
        try:
            watch = self._made.get("watch")
            if watch is None:
                watch = self._made.setdefault("watch", self._make())  # atomic: threads get the same one
            watch.add(failed)
            self._held = bool(watch.holds())
        except Exception:
            logger.exception("the rule %s raised; taken as not holding", shown(self._rule))
            self._held = False
        return self._held

    def holds(self) -> bool:
        """What it said when a call last ended."""
        return self._held


class SlowWatch:
    """A share of slow calls in a window; those in flight count as soon as they are found to be late."""

    __slots__ = ("flying", "limit", "look", "run", "window")
    failures = 0  # none that failed

    def __init__(self, window: Window, limit: float) -> None:
        self.window = window
        self.limit = limit
        #: The calls under way that haven't been found late, the oldest first.
        self.flying: dict[Flight, None] = {}
        self.look = AT_ONCE  # before this time none of them is late
        self.run = True  # falsy while a call that isn't slow would change nothing

    def add(self, failed: bool, /) -> bool | None:
        """It isn't failures that are counted here, but how long calls take: see `count`."""
        return True if self.holds() else None

    def holds(self) -> bool:
        """Whether too many are slow."""
        return self.window.holds()

    def count(self, slow: bool) -> bool:
        """How long one more call took is known: whether too many are slow."""
        answer = self.window.add(slow)
        self.run = answer is not None
        if answer is None and self.window.bad:  # another thread's slow call came between
            self.run = True
        return answer is True

    def find_late(self, now: float) -> bool:
        """Count those under way that are late by now; whether there are any."""
        found = False
        try:
            while (flight := next(iter(self.flying), None)) is not None:
                if now - flight.started <= self.limit:
                    break
                if self.flying.pop(flight, self) is None:
                    self.count(True)
                    found = True
        except RuntimeError:  # another thread has just changed it: the next call will look again
            return found
        self.look = (now if flight is None else flight.started) + self.limit
        return found


class AnyWatch:
    """Several watches as one: which holds when one of them does."""

    def __init__(self, watches: Sequence[Watch]) -> None:
        self.watches = watches

    @property
    def failures(self) -> int:
        """The most that one of them counts."""
        return max(watch.failures for watch in self.watches)

    def add(self, failed: bool, /) -> bool | None:
        """A call has ended: whether one of them holds."""
        told = [watch.add(failed) for watch in self.watches]
        return True if True in told else False if False in told else None

    def holds(self) -> bool:
        """Whether one of them does."""
        return any(watch.holds() for watch in self.watches)


class AllWatch(AnyWatch):
    """Several watches as one: which holds when all of them do."""

    def add(self, failed: bool, /) -> bool | None:
        """A call has ended: whether all of them hold."""
        told = [watch.add(failed) for watch in self.watches]
        if True in told or False in told:
            return None not in told and False not in told
        return None

    def holds(self) -> bool:
        """Whether all of them do."""
        return all(watch.holds() for watch in self.watches)


def _pass_on(heir: Evidence, failed: bool, /) -> bool:
    return heir.failure() if failed else heir.success()


class Leaf(NamedTuple):
    """One simple rule of a tree, and its watch."""

    rule: Any
    watch: Watch


def _window_of(watch: Watch) -> Window | None:
    """The window of a rate; None if it isn't one."""
    return watch.window if isinstance(watch, SlowWatch) else watch if isinstance(watch, Window) else None


class Ruled:
    """The evidence of a generation that goes by a rule."""

    __slots__ = ("_add", "_heir", "_watch", "leaves", "run", "why", "windows")

    def __init__(self, watch: Watch, leaves: Sequence[Leaf], why: str) -> None:
        self._heir: Evidence | None = None
        self.become(watch, leaves, why)

    def become(self, watch: Watch, leaves: Sequence[Leaf], why: str) -> None:
        """Go by this watch from now on, also for the calls that are out."""
        self.leaves = leaves
        self.windows = [window for leaf in leaves if (window := _window_of(leaf.watch)) is not None]
        self.why: str | None = why
        self._watch = watch
        self._add = watch.add
        self.run = True  # falsy while a success would change nothing

    def hand_over(self, heir: Evidence) -> None:
        """Calls that are out count in `heir`, when they end."""
        self._heir = heir
        self._add = functools.partial(_pass_on, heir)
        self.run = True

    @property
    def owner(self) -> Evidence:
        """Itself, or its heir."""
        return self if self._heir is None else self._heir.owner

    @property
    def failures(self) -> int:
        """How many failures stand against the circuit."""
        return self._watch.failures

    @property
    def row(self) -> int:
        """How many failures in a row, if a part of the rule counts them."""
        return max((leaf.watch.failures for leaf in self.leaves if isinstance(leaf.watch, Streak)), default=0)

    @property
    def is_bad(self) -> bool:
        """Whether something in its windows is bad, or was when they were last looked at."""
        return any(window.bad for window in self.windows)

    def failure(self) -> bool:
        """Count a failure; True if the circuit has to trip."""
        told = self._add(True)
        self.run = True
        return told is True

    def success(self) -> bool:
        """Count a success; True if the circuit has to trip."""
        told = self._add(False)
        if told is not None:
            return told
        self.run = False
        if self._watch.failures:  # another thread's failure came between
            self.run = True
        return False

    @property
    def shed_share(self) -> float:
        """It sheds none."""
        return 0.0

    @property
    def entrance(self) -> Callable[[], Admitting | None] | None:
        """It admits all calls itself."""
        return None

    def given_up(self) -> bool:
        """Changes nothing."""
        return False

    def enter(self) -> Admitting | None:
        """Admits calls itself."""
        return self

    def is_due(self) -> bool:
        """Outcomes decide, never a call that comes."""
        return False


class Timed(Ruled):
    """The evidence of a generation that looks at how long calls take."""

    __slots__ = ("_due", "_look", "_slow", "clock", "heard", "only")
    #: The one part that takes the time, if there is but one: the usual case goes a shorter way.
    only: SlowWatch | None

    def __init__(self, watch: Watch, leaves: Sequence[Leaf], why: str, clock: Callable[[], float]) -> None:
        self.clock = clock
        #: What hears of calls that are slow: also of those that hang, or were given up.
        self.heard: Callable[[], object] | None = None
        self._slow: tuple[SlowWatch, ...] = ()
        super().__init__(watch, leaves, why)

    def become(self, watch: Watch, leaves: Sequence[Leaf], why: str) -> None:
        """Go by this watch from now on, also for the calls that are out."""
        before = [slow.flying for slow in self._slow]
        self._due = False
        self._slow = tuple(leaf.watch for leaf in leaves if isinstance(leaf.watch, SlowWatch))
        super().become(watch, leaves, why)
        self.only = self._slow[0] if len(self._slow) == 1 else None
        for slow in self._slow:
            if slow.flying not in before:
                for flying in before:
                    slow.flying.update(flying)
            slow.look = AT_ONCE
        self._look = AT_ONCE  # before this time nothing has to be looked at, unless it is due

    @property
    def entrance(self) -> Callable[[], Admitting | None]:
        """Each call needs a flight of its own."""
        return self.enter

    def enter(self) -> Flight | None:
        """A flight for one more call; None if those before it say that it is time to trip."""
        now = self.clock()
        if now > self._look and self._is_due_at(now):
            return None
        flight = _new(Flight)  # an `__init__` would be a quarter of what all this costs
        flight.timed = self
        flight.started = now
        only = self.only
        if only is not None:
            only.flying[flight] = None
            return flight
        for slow in self._slow:
            slow.flying[flight] = None
        return flight

    def is_due(self) -> bool:
        """Whether it is time to trip: once it is, it stays so."""
        return self._due

    def _is_due_at(self, now: float) -> bool:
        """Look at those under way; whether it is time to trip."""
        for slow in self._slow:
            if now > slow.look and slow.find_late(now):
                self._judge()
        self._look = min(slow.look for slow in self._slow)
        if self._due:  # asked after that: another thread may have found it meanwhile
            self._look = AT_ONCE
        return self._due

    def _judge(self) -> bool:
        if self._heir is None and self._watch.holds():
            self._due = True
            self._look = AT_ONCE
        if self.heard is not None:
            self.heard()
        return self._due

    def landed(self, flight: Flight, failed: bool) -> bool:
        """A call has ended: see how long it took, unless it has been found late before."""
        took = self.clock() - flight.started
        is_news = failed or self.run
        for slow in self._slow:
            is_slow = took > slow.limit
            if slow.flying.pop(flight, slow) is None and (slow.run or is_slow):
                is_news = slow.count(is_slow) or is_news
                if is_slow and self.heard is not None:
                    self.heard()
        if not is_news:
            return False
        return self.failure() if failed else self.success()

    def withdrawn(self, flight: Flight) -> bool:
        """A call has ended without a verdict, and counts only if it was slow: whether to trip for it."""
        took = self.clock() - flight.started
        is_news = False
        for slow in self._slow:
            if slow.flying.pop(flight, slow) is None and took > slow.limit:
                slow.count(True)
                is_news = True
        return is_news and self._judge()


class Flight:
    """The admission of one call, whose time is taken."""

    __slots__ = ("started", "timed")
    run = True
    timed: Timed
    started: float

    @property
    def owner(self) -> Evidence:
        """The evidence that it counts in."""
        return self.timed.owner

    def failure(self) -> bool:
        """It has failed; True if the circuit has to trip."""
        return self.timed.landed(self, True)

    def success(self) -> bool:
        """It has succeeded; True if the circuit has to trip."""
        timed = self.timed
        slow = timed.only
        if slow is None or slow.run or timed.run or timed.clock() - self.started > slow.limit:
            return timed.landed(self, False)
        try:
            del slow.flying[self]  # in time, and nothing is out of order: no news
        except KeyError:  # it was late by an earlier limit
            pass
        return False

    def given_up(self) -> bool:
        """It has ended without a verdict; True if the circuit has to trip."""
        return self.timed.withdrawn(self)
