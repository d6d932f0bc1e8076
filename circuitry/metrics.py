"""Counters, and the snapshot that is made of them."""

from __future__ import annotations

import itertools
from collections import Counter as Multiset
from dataclasses import dataclass

from circuitry.states import CircuitState


class Counter:
    """A number that threads count up without a lock.

    `add` is `next` of an `itertools.count`: one operation, atomic in CPython. To read the
    number takes one `next` too, which `read` allows for.
    """

    __slots__ = ("_reads", "add", "numbers")

    def __init__(self) -> None:
        #: `next` of it counts one, at half the price of calling `add`.
        self.numbers = itertools.count()
        self.add = self.numbers.__next__
        self._reads = 0

    def read(self) -> int:
        """How often `add` was called. One reader at a time: under the breaker's lock."""
        total = self.add() - self._reads
        self._reads += 1
        return total


class Totals:
    """What a breaker counts over its whole life."""

    __slots__ = (
        "_failures_before",
        "_successes_before",
        "entered",
        "failures",
        "fallbacks",
        "ignored",
        "rejected",
        "shadow_rejected",
        "successes",
    )

    def __init__(self) -> None:
        self.successes = Counter()
        self.failures = Counter()
        self.ignored = Counter()
        self.rejected = Counter()
        self.shadow_rejected = Counter()
        self.fallbacks = Counter()
        #: How often each state was entered.
        self.entered: Multiset[CircuitState] = Multiset()
        self._successes_before = 0
        self._failures_before = 0

    def closing(self) -> None:
        """Let `failure_rate` start anew."""
        self._successes_before = self.successes.read()
        self._failures_before = self.failures.read()

    def failure_rate(self, successes: int, failures: int) -> float:
        """The share of failures in the calls that ended since the last closing."""
        failed = failures - self._failures_before
        judged = successes - self._successes_before + failed
        return failed / judged if judged else 0.0


@dataclass(frozen=True, kw_only=True)
class CircuitBreakerMetrics:
    """A circuit at one moment. Totals are exact once no call is in flight.

    Args:
        name: the circuit's name.
        state: its effective state.
        failure_count: consecutive failures that stand against a closed circuit.
        success_count: successful probes of this half-open generation, else 0.
        half_open_calls: probes that hold a slot.
        failure_rate: failures / (successes + failures) among the calls that ended since the
            last closing; 0.0 if none did.
        recovery_attempts: how often half_open was entered.
        calls: admitted calls that have ended: successes + failures + ignored.
        successes: of these, how many succeeded.
        failures: how many failed.
        ignored: how many ended without a verdict: excluded, cancelled or dropped.
        rejected: calls that were not admitted.
        fallbacks: how often a fallback stood in.
        opened: how often the circuit opened by its own judgement.
        last_failure_at: unix seconds of the latest failure, for display; None if none.
        retry_after: seconds, >= 0, until a call may be admitted; 0.0 when one would be.
        shed_share: the share of calls, >= 0 and < 1, that a closed circuit rejects now; else 0.0. In shadow,
            that it would reject.
        shadow_state: what the circuit would be, were it not in shadow; None if it isn't.
        shadow_rejected: calls that only a shadow would have rejected.
        verdict: whose word the state is: "local", this process's own, or "fleet".
        entered: how often each state was entered, by its name.
    """

    name: str
    state: CircuitState
    failure_count: int
    success_count: int
    half_open_calls: int
    failure_rate: float
    recovery_attempts: int
    calls: int
    successes: int
    failures: int
    ignored: int
    rejected: int
    fallbacks: int
    opened: int
    last_failure_at: float | None
    retry_after: float
    shed_share: float
    shadow_state: CircuitState | None
    shadow_rejected: int
    verdict: str
    entered: dict[str, int]
