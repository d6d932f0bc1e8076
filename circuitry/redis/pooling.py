"""A circuit's windows in its fleet: when they are told, and what those of all processes say together.

While nothing is bad anywhere nothing is told. From the first bad outcome of anybody on each process tells
what its windows hold, whenever that has changed, every 50 ms at most. It is the whole that is told, and not
what is new: so a message that is lost, or carried out twice, leaves nothing wrong behind it, and no clock but
the server's says when a process is to be counted no more.

Each process with something bad in its own windows judges by the sums that it is told in return, and opens the
circuit for all if its rule holds: it knows what has failed, and for how long to stay open.
"""

from __future__ import annotations

import functools
import math
import time
import zlib
from collections.abc import Callable
from typing import NamedTuple

from circuitry.rates import RatesTogether
from circuitry.redis.script import Command, Script, Subject
from circuitry.redis.views import View
from circuitry.sizes import Within
from circuitry.tripping import Policy
from circuitry.watches import Ruled, Timed
from circuitry.windows import Evidence

PACE = 0.05  # seconds between two tellings
BEATS = 3  # so often the others may tell of theirs too, before their sums are believed
SLOWEST = 1.0  # seconds between two looks while nothing changes
NEVER = math.inf

Counts = tuple[tuple[int, int], ...]


class Counted(NamedTuple):
    """What is counted in, and the fleet's epoch in which it is."""

    evidence: Ruled
    epoch: int


class Told(NamedTuple):
    """What the windows hold, as the fleet is told."""

    counts: Counts
    sign: str
    keep_ms: int

    def said(
        self, script: Script, subject: Subject, known: int, epoch: int, until: int | None, seat: int
    ) -> Command:
        """How the script is told; after `until`, on the server's clock, it is of no account."""
        counts, sign, keep = self
        say = functools.partial(script.pool, sign=sign, keep_ms=keep, best_before=until, seat=seat)
        return say(subject, known, epoch, counts)


class Trip(NamedTuple):
    """What to say of an opening: why, and for how many seconds it was drawn, if it was."""

    cause: str
    wait: float | None = None


class Pooling:
    """When a circuit's windows are told, and what comes of it.

    `count_in` and `touch` are called in the callers' threads, and only take note. The rest is the link's.
    """

    def __init__(self, nudge: Callable[[], Callable[[], object] | None] = lambda: None) -> None:
        self._nudge = nudge  # a weak reference to what asks for the link's attention
        self.look_at = NEVER  # when to look next, on the monotonic clock
        self._latest: Trip | None = None  # what the latest failure said
        self._counted: Counted | None = None
        self._epoch: int | None = None  # in which it was last counted in; None since the server was lost
        self._opened_by: Ruled | None = None  # what is counted, once it is known to have opened the circuit
        self._rates: RatesTogether | None = None
        self._made_of: tuple[object, object] = None, None  # of which policy and leaves `_rates` was made
        self._why = ""
        self._told: Counts = ()
        self._told_at = 0.0
        self._beats = 0
        self._pause = PACE

    # -- Callers ----------------------------------------------------------------------------------------

    def count_in(self, evidence: Evidence | None, epoch: int) -> bool:
        """Calls are counted in this from now on; whether the link should look.

        Where the circuit has opened here alone, what it was opened by goes on to count in the fleet. An epoch
        begins with nothing told, by nobody; and so does a stay with the server.
        """
        counted = self._counted
        if isinstance(evidence, Timed):
            evidence.heard = self._hear
        if isinstance(evidence, Ruled):
            self._counted, self._opened_by = Counted(evidence, epoch), None
            was, self._epoch = self._epoch, epoch
            if was != epoch and (evidence.is_bad or self.look_at != NEVER):
                self._wake()
                return True
        elif evidence is not None:
            self._counted = self._epoch = None  # nothing that could be told is counted any more
        elif counted is not None and counted.evidence is not self._opened_by:
            self._opened_by = counted.evidence
            if counted.evidence.is_bad:
                self.look_at = min(self.look_at, self._told_at + PACE)
                return True
        return False

    def touch(self, evidence: Ruled, latest: Trip | None) -> bool:
        """A call has failed, or is slow; whether the link should look. What succeeds is told when it does."""
        if self._counted is None:
            return False
        if latest is not None:
            self._latest = latest
        if self.look_at == NEVER and evidence.is_bad:
            self._wake()
            return True
        if self._pause > PACE:
            self._pause = PACE
            self.look_at = self._told_at + PACE
            return True
        return False

    def _hear(self) -> None:
        """A call is slow: it has ended, hangs, or was given up."""
        nudge = self._nudge()
        if self._counted is not None and self.touch(self._counted.evidence, None) and nudge is not None:
            nudge()

    def _wake(self) -> None:
        self._told, self._beats = (), 0
        self._pause = PACE
        self.look_at = 0.0

    # -- The link ------------------------------------------------------------------------------------------

    def mind(self, others_fail: bool) -> bool:
        """A view has come. Whether the link should look: there is news."""
        if others_fail and self.look_at == NEVER:
            self._wake()
            return self._counted is not None
        return False

    def lost(self) -> None:
        """The server has gone, and who knows what it remembers; or the circuit has."""
        self._sleep()
        self._epoch = self._opened_by = None  # it is told when the server is back

    def due(self, policy: Policy | None, epoch: int, is_failing: bool, presence_ms: int) -> Told | None:
        """What is to be told now; None if nothing is.

        `is_failing`: something is bad somewhere. `presence_ms`: after so long a silent member is gone.
        """
        now = time.monotonic()
        if now < self.look_at:
            return None
        rates = self._rates_of(policy, epoch)
        counts = () if rates is None else rates.own()
        if rates is None or not (is_failing or _is_bad(counts) or _is_bad(self._told)):
            self._sleep()
            if rates is not None and rates.is_bad:  # since they were counted: who saw it took us for awake
                self._wake()
            return None
        keep = _remembered(rates, presence_ms)
        if self._is_old_news(counts, now, keep / 3000):
            self._pause = min(SLOWEST, 2 * self._pause)
            self.look_at = now + self._pause
            return None
        self._told, self._told_at = counts, now
        self.look_at = now + SLOWEST  # in case that the server refuses it
        return Told(counts, f"{zlib.crc32(rates.text.encode()):x}", keep)

    def answered(self, view: View, needed: int) -> Trip | None:
        """What was told is taken in: what to say of a trip, if what all windows hold demands one."""
        self._pause = PACE
        self.look_at = self._told_at + PACE
        self._beats += 1
        pooled, rates = view.pooled, self._rates
        if rates is None or pooled is None or self._beats < BEATS or pooled.failing < needed:
            return None
        if not _is_bad(self._told):
            return None  # it is for those to say it who have met it
        return (self._latest or Trip(self._why)) if rates.hold(pooled.counts) else None

    def _is_old_news(self, counts: Counts, now: float, renewal: float) -> bool:
        return counts == self._told and self._beats >= BEATS and now < self._told_at + renewal

    def _sleep(self) -> None:
        self.look_at = NEVER
        self._told, self._latest = (), None

    def _rates_of(self, policy: Policy | None, epoch: int) -> RatesTogether | None:
        """The rates that are counted for in this epoch."""
        counted = self._counted
        if counted is None or policy is None or counted.epoch != epoch:
            return None
        leaves = counted.evidence.leaves
        if policy is not self._made_of[0] or leaves is not self._made_of[1]:
            self._made_of = policy, leaves
            self._rates, self._why = policy.together(counted.evidence), policy.why
        return self._rates


def _is_bad(counts: Counts) -> bool:
    return any(bad for _, bad in counts)


def _remembered(rates: RatesTogether, presence_ms: int) -> int:
    """For how many milliseconds what is told counts, if no more is heard: not longer than it would here."""
    spans = (span.length if isinstance(span, Within) else NEVER for span in rates.spans)
    return round(min(presence_ms, max(spans) * 1000))
