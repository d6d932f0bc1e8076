"""Two breakers side by side: one as it is, one without the fast path.

The fast path is a theorem: under consecutive counting, in a closed circuit without a failure
streak, a success changes nothing. So the first breaker may admit by its evidence without asking
the machine, and not report such a success. The second does both, every time.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from circuitry import CircuitBreaker, machine
from circuitry.states import CircuitState, Outcome, Reason
from circuitry.windows import Streak

from .drivers import BreakerDriver, End
from .reference import Rejected, Rules


class AlwaysTold(Streak):
    """A streak that hears of every success."""

    __slots__ = ()
    heard = 0

    run = property(lambda self: True, lambda self, run: None)

    def success(self) -> bool:
        AlwaysTold.heard += 1
        return super().success()


class AlwaysAsks(CircuitBreaker):
    """A breaker that asks the machine about every call."""

    __slots__ = ()

    evidence = property(lambda self: None, lambda self, evidence: None)


class SlowDriver(BreakerDriver):
    """The breaker without the fast path."""

    kind = AlwaysAsks


@contextmanager
def slow() -> Generator[None]:
    """Circuits that close in this block are told of every success."""
    with mock.patch.object(machine, "Streak", AlwaysTold):
        yield


class Twins:
    """Makes every move with both, and both must give the same answer."""

    ways = BreakerDriver.ways
    short = BreakerDriver.short

    def __init__(self, rules: Rules, initial: CircuitState, *, shared: bool = False) -> None:
        self.fast = BreakerDriver(rules, initial, shared=shared)
        with slow():
            self.slow = SlowDriver(rules, initial, shared=shared)

    def advance(self, seconds: float) -> None:
        self.fast.advance(seconds)
        self.slow.advance(seconds)

    def begin(self, way: Any) -> Rejected | End:
        fast = self.fast.begin(way)
        with slow():
            other = self.slow.begin(way)
        if isinstance(fast, Rejected) or isinstance(other, Rejected):
            assert fast == other
            return fast

        def end(outcome: Outcome, cause: str) -> None:
            fast(outcome, cause)
            with slow():
                other(outcome, cause)

        return end

    def run(self, way: Any, outcome: Outcome, cause: str) -> Rejected | None:
        fast = self.fast.run(way, outcome, cause)
        with slow():
            assert self.slow.run(way, outcome, cause) == fast
        return fast

    def administer(self, reason: Reason) -> None:
        self.fast.administer(reason)
        with slow():
            self.slow.administer(reason)

    def administer_all(self, reason: Reason) -> None:
        self.fast.administer_all(reason)
        with slow():
            self.slow.administer_all(reason)

    def follow(self, *verdict: Any) -> None:
        self.fast.follow(*verdict)
        with slow():
            self.slow.follow(*verdict)

    def facts(self) -> dict[str, Any]:
        facts = self.fast.facts()
        with slow():
            assert self.slow.facts() == facts
        return facts

    def stop(self) -> None:
        pass
