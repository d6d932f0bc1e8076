from __future__ import annotations

import time
from typing import Any

import pytest

from .fleets import Fleet, Pooled, key, shared

HOUR = 3600.0


class WritesItsClock(Pooled):
    """The deadline is written as a time of the clock of who opened the circuit."""

    def __init__(self, url: str, skew: float = 0.0, **given: Any) -> None:
        super().__init__(url, clock=lambda: time.time() + skew, **given)

    def write(self, state: str) -> None:
        super().write(state)
        self.redis.set(key("deadline"), self.deadline)

    def adopt(self, state: str) -> None:
        super().adopt(state)
        self.deadline = float(self.redis.get(key("deadline")) or 0)


def exhibit(kind: Any, colour: Any, server: Any, skew: float) -> None:
    with Fleet(kind, colour, server, 1, timeout_duration=10) as fleet:
        fleet.join(skew=skew)
        one, other = fleet.members
        one.fail(3)
        fleet.until(lambda: other.rejects, "a clock that is ahead opens the way early")
        rejection = other.rejection()
        assert rejection is not None
        assert 9 < rejection.retry_after <= 10, "a clock that is late keeps the circuit open for longer"


@pytest.mark.parametrize("skew", [HOUR, -HOUR])
def test_clocks_of_members_may_differ(colour: Any, redis_server: Any, skew: float) -> None:
    """In pybreaker, nopanic-redis and gobreaker the clock of one member decides for all."""
    exhibit(shared, colour, redis_server, skew)


@pytest.mark.parametrize(("skew", "symptom"), [(HOUR, "ahead"), (-HOUR, "late")])
def test_the_faulty_double_is_caught(colour: Any, redis_server: Any, skew: float, symptom: str) -> None:
    with pytest.raises(AssertionError, match=f"a clock that is {symptom}"):
        exhibit(WritesItsClock, colour, redis_server, skew)
