"""The time of calls, taken where a circuit is asked to: an admission that knows when it began.

A circuit that takes the time gives each call an admission of its own, around that of the machine: it
passes the outcome on, and says to the histogram how long the call took. Every admitted call ends exactly
once, so each is in there once.
"""

from __future__ import annotations

from collections.abc import Callable

from circuitry.latency import Histogram
from circuitry.machine import WAIVED, Admission
from circuitry.states import Probe
from circuitry.windows import Admitting, Evidence

_new = object.__new__


class Stopwatch:
    """Takes the time of a circuit's calls, on the circuit's clock."""

    __slots__ = ("add", "clock")

    def __init__(self, clock: Callable[[], float], histogram: Histogram) -> None:
        self.clock = clock
        self.add = histogram.add

    def around(self, inner: Admitting) -> Clocked:
        """The admission of one more call, which `inner` lets through."""
        clocked = _new(Clocked)  # as for a `Flight`: an `__init__` would cost too much
        clocked.stopwatch = self
        clocked.inner = inner
        clocked.started = self.clock()
        return clocked

    def enter(self, admit: Callable[[], Admitting | None]) -> Clocked | None:
        """The same, where `admit` has to be asked; None if it lets no more through."""
        inner = admit()
        return None if inner is None else self.around(inner)

    def start(self, admission: Admission) -> Admission:
        """The same, for what may be a probe."""
        if not isinstance(admission, Probe):
            return self.around(admission)
        clocked = ClockedProbe(*admission)
        clocked.stopwatch, clocked.started = self, self.clock()
        return clocked

    def stop(self, started: float) -> None:
        """A call that began then has ended."""
        self.add(self.clock() - started)


class Clocked:
    """The admission of one call whose time is taken."""

    __slots__ = ("inner", "started", "stopwatch")
    run = True  # its end is always news, at least for the histogram
    inner: Admitting
    started: float
    stopwatch: Stopwatch

    @property
    def owner(self) -> Evidence:
        """The evidence that it counts in."""
        return self.inner.owner

    def failure(self) -> bool:
        """It has failed; True if the circuit has to trip."""
        self.stopwatch.stop(self.started)
        return self.inner.failure()

    def success(self) -> bool:
        """It has succeeded; True if the circuit has to trip."""
        stopwatch, inner = self.stopwatch, self.inner
        stopwatch.add(stopwatch.clock() - self.started)  # `stop`, in the usual case without its call
        if inner.run:
            return inner.success()
        self.inner = WAIVED  # a success that changes nothing counts nowhere: no fleet need hear of it
        return False

    def given_up(self) -> bool:
        """It has ended without a verdict; True if the circuit has to trip."""
        self.stopwatch.stop(self.started)
        return self.inner.given_up()


class ClockedProbe(Probe):
    """The admission of a probe whose time is taken: the same probe to who compares them."""

    started: float
    stopwatch: Stopwatch

    def failure(self) -> bool:
        """Takes a step."""
        self.stopwatch.stop(self.started)
        return super().failure()

    def success(self) -> bool:
        """Takes a step."""
        self.stopwatch.stop(self.started)
        return super().success()

    def given_up(self) -> bool:
        """Takes a step."""
        self.stopwatch.stop(self.started)
        return super().given_up()
