from __future__ import annotations

import contextlib
from typing import Any

import pytest
import redis

from .fleets import Fleet, Pooled, key, shared


class CountsInRedis(Pooled):
    """Goes on without Redis, and without the count that is kept there."""

    patience = 0.05

    def look(self) -> None:
        with contextlib.suppress(redis.RedisError):
            super().look()

    def failed(self) -> None:
        with contextlib.suppress(redis.RedisError):
            if self.redis.incr(key("failures")) >= self.failure_threshold:
                self.enter("open")


def exhibit(kind: Any, colour: Any, server: Any, harm: str) -> None:
    with Fleet(kind, colour, server, 1, timeout_duration=5) as fleet:
        (member,) = fleet.members
        getattr(server, harm)()
        member.fail(3)
        assert member.rejects, "the circuit doesn't open while Redis is away"


@pytest.mark.parametrize("harm", ["stop", "freeze"])
def test_a_circuit_opens_though_redis_is_away(colour: Any, frail_server: Any, harm: str) -> None:
    """With pybreaker, aiobreaker and nopanic-redis it never does."""
    exhibit(shared, colour, frail_server, harm)


@pytest.mark.parametrize("harm", ["stop", "freeze"])
def test_the_faulty_double_is_caught(colour: Any, frail_server: Any, harm: str) -> None:
    with pytest.raises(AssertionError, match="doesn't open while Redis is away"):
        exhibit(CountsInRedis, colour, frail_server, harm)
