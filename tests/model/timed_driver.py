"""A breaker that takes the time of its calls, beside a list of what they took.

Put in the place of the breaker alone it shows two things: that taking the time changes nothing in what the
circuit does, and that each admitted call is in the histogram, once and as long as it lasted.
"""

from __future__ import annotations

import math
from typing import Any

import pytest

from circuitry import CircuitBreaker, CircuitBreakerConfig
from circuitry.latency import PRECISION
from circuitry.states import CircuitState, Outcome

from .drivers import BreakerDriver, End
from .reference import Rejected, Rules


class TakesTheTime(CircuitBreaker):
    """A breaker that does so whatever its settings say."""

    __slots__ = ()

    def __init__(self, name: str, config: CircuitBreakerConfig, **settings: Any) -> None:
        super().__init__(name, config.replace(latency=True), **settings)


class TimedDriver(BreakerDriver):
    """The breaker, and how long its calls took: by a naive list."""

    kind = TakesTheTime

    def __init__(self, rules: Rules, initial: CircuitState, *, shared: bool = False) -> None:
        super().__init__(rules, initial, shared=shared)
        self.took: list[float] = []

    def begin(self, way: Any) -> Rejected | End:
        started, verdict = self.clock(), super().begin(way)
        if isinstance(verdict, Rejected):
            return verdict

        def end(outcome: Outcome, cause: str) -> None:
            verdict(outcome, cause)
            self.took.append(self.clock() - started)

        return end

    def run(self, way: Any, outcome: Outcome, cause: str) -> Rejected | None:
        rejected = super().run(way, outcome, cause)
        if rejected is None:
            self.took.append(0.0)
        return rejected

    def facts(self) -> dict[str, Any]:
        facts = super().facts()
        latency, took = self.breaker.metrics().latency, sorted(self.took)
        assert latency is not None
        assert latency.calls == facts["calls"] == len(took)
        assert (latency.total, latency.maximum) == (sum(took), max(took, default=0.0))
        for percent in (50, 90, 99):
            exact = took[math.ceil(len(took) * percent / 100) - 1] if took else 0.0
            assert latency.percentile(percent) == pytest.approx(exact, rel=PRECISION, abs=1e-6)
        return facts
