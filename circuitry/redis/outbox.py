"""What one circuit has to tell its fleet, until the link sends it.

Outcomes of closed calls merge as they come, so what waits doesn't grow with traffic. What couldn't be
sent within a second is dropped: this process has judged by it already, and a fleet must not trip for
yesterday's failures.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import NamedTuple, Protocol

from circuitry.redis.leases import Lease
from circuitry.redis.script import Command, Script, Subject, compact
from circuitry.redis.views import View
from circuitry.states import Outcome, Reason

#: Seconds after which an outcome isn't sent any more.
OUTCOME_AGE = 1.0
#: So many numbers wait at most before they are compacted.
LONGEST = 16


class Runs(NamedTuple):
    """How closed calls ended, one after the other: n > 0 is n failures, 0 is a success."""

    epoch: int
    runs: list[int]
    cause: str
    since: float

    def said(self, script: Script, subject: Subject, known: int, settled: bool, until: int | None) -> Command:
        """How the script is told; after `until`, on the server's clock, it is of no account."""
        epoch, runs, cause, _ = self
        return script.batch(subject, known, epoch, runs, cause, settled=settled, best_before=until)


class Ended(NamedTuple):
    """How a leased probe ended."""

    lease: Lease
    outcome: Outcome
    cause: str
    at: float

    def said(self, script: Script, subject: Subject, known: int) -> Command:
        """How the script is told."""
        lease, outcome, cause, _ = self
        return script.done(subject, known, lease.epoch, lease.token, outcome, cause)


class Order(NamedTuple):
    """What an operator says to the fleet."""

    reason: Reason
    at: float


class Speaker(Protocol):
    """Who says things to the server, while it is there."""

    def ask(self, command: Command) -> View:
        """Run a command of the script, and read the reply."""
        ...

    def server_time(self, at: float) -> int | None:
        """A moment of our monotonic clock on the server's, in microseconds."""
        ...


class Outbox:
    """Filled by calls in any thread, emptied by the link's. Nobody ever waits here."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a finalizer may come in between
        self._runs = Runs(0, [], "", 0.0)
        self._ended: deque[Ended] = deque()
        self._order: Order | None = None
        self._unknown = 0  # what stands for the epoch to come: each order begins another one
        self._learned = 0  # what that epoch turned out to be; 0 until then

    def __len__(self) -> int:
        return bool(self._runs.runs) + len(self._ended) + (self._order is not None)

    def count(self, epoch: int, outcome: Outcome, cause: str | None) -> None:
        """A call that was admitted in `epoch` has ended: a known one, or what `unknown` was then."""
        now = time.monotonic()
        with self._lock:
            is_known = epoch > 0
            if (is_known and self._order is not None) or (not is_known and epoch != self._unknown):
                return  # from before an order
            waiting, epoch = self._runs, max(epoch, 0) or self._learned
            if epoch < waiting.epoch:
                return  # of an epoch that is over
            if epoch != waiting.epoch or not waiting.runs or now - waiting.since > OUTCOME_AGE:
                waiting = Runs(epoch, [], "", now)
            runs = waiting.runs
            if outcome is Outcome.FAILURE:
                waiting = waiting._replace(cause=cause or "")
                if runs and runs[-1]:
                    runs[-1] += 1
                else:
                    runs.append(1)
            elif not runs or runs[-1]:
                runs.append(0)
            if len(runs) > LONGEST:
                waiting = waiting._replace(runs=list(compact(runs)))
            self._runs = waiting

    @property
    def unknown(self) -> int:
        """What stands for the epoch that will be learned next, <= 0."""
        return self._unknown

    def learn(self, epoch: int) -> None:
        """What waits for an epoch to be known belongs to this one, if no order is on its way."""
        with self._lock:
            if self._order is None:
                self._learn(epoch)

    def _learn(self, epoch: int) -> None:
        self._learned = self._learned or epoch
        if self._runs.epoch == 0:
            self._runs = self._runs._replace(epoch=self._learned)

    def end(self, lease: Lease, outcome: Outcome, cause: str | None) -> None:
        """A leased probe has ended, or didn't go out."""
        self._ended.append(Ended(lease, outcome, cause or "", time.monotonic()))

    def order(self, reason: Reason) -> None:
        """Takes the place of an order that wasn't sent yet; outcomes from before it are void."""
        with self._lock:
            self._order = Order(reason, time.monotonic())
            self._unknown, self._learned = self._unknown - 1, 0
            self._runs = Runs(0, [], "", 0.0)

    @property
    def ordered(self) -> Order | None:
        """The operator's word that waits; it waits until the fleet has it."""
        return self._order

    def carried_out(self, order: Order, epoch: int) -> bool:
        """The fleet has it, and `epoch` has begun by it; False if there is another one by now."""
        with self._lock:
            if self._order is not order:
                return False
            self._order = None
            self._learn(epoch)
            return True

    def take_runs(self) -> Runs | None:
        """What is to be told of closed calls; it is gone from here then."""
        with self._lock:
            taken, self._runs = self._runs, Runs(self._runs.epoch, [], "", 0.0)
        is_fresh = taken.runs and time.monotonic() - taken.since <= OUTCOME_AGE
        return taken if is_fresh else None

    def take_ended(self) -> Ended | None:
        """The next probe to be told of; it is gone from here then."""
        while self._ended:
            ended = self._ended.popleft()
            if time.monotonic() - ended.at <= OUTCOME_AGE:
                return ended
        return None
