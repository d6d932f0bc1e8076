from __future__ import annotations

import contextlib
from typing import Any

import pytest
import redis

from .fleets import Fleet, Pooled, shared


class TakesWhatIsThere(Pooled):
    """Judges for itself while Redis is away, and takes what it finds there when it is back."""

    patience = 0.05

    def look(self) -> None:
        with contextlib.suppress(redis.RedisError):
            super().look()

    def write(self, state: str) -> None:
        with contextlib.suppress(redis.RedisError):
            super().write(state)


def exhibit(kind: Any, colour: Any, server: Any) -> None:
    with Fleet(kind, colour, server, 1, timeout_duration=60) as fleet:
        (member,) = fleet.members
        server.stop()
        member.fail(3)
        assert member.rejects
        server.start()
        if kind is shared:
            store = member.breaker.store
            fleet.until(lambda: store.health().link == "up", "it isn't found again")
            assert store.wait_ready()
        assert member.rejects, "an empty Redis has closed the circuit"


def test_a_redis_that_comes_back_empty_closes_nothing_that_tripped(colour: Any, frail_server: Any) -> None:
    """Where no key means closed, its restart closes what tripped meanwhile."""
    exhibit(shared, colour, frail_server)


def test_the_faulty_double_is_caught(colour: Any, frail_server: Any) -> None:
    with pytest.raises(AssertionError, match="an empty Redis has closed the circuit"):
        exhibit(TakesWhatIsThere, colour, frail_server)
