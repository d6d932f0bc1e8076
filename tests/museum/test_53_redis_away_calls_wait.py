from __future__ import annotations

import time
from typing import Any

import pytest
import redis

from .fleets import Fleet, Pooled, shared

CALLS = 4


class Waits(Pooled):
    """Goes on without Redis, once it has waited for it."""

    patience = 0.06

    def look(self) -> None:
        try:
            super().look()
        except redis.RedisError:
            time.sleep(self.patience)  # where it is killed: what a client does that tries again


def exhibit(kind: Any, colour: Any, server: Any, harm: str) -> None:
    with Fleet(kind, colour, server, 1, failure_threshold=CALLS + 1) as fleet:
        (member,) = fleet.members
        getattr(server, harm)()
        waited = 0.0
        for _ in range(CALLS):
            before = time.perf_counter()
            member.fail()
            waited += time.perf_counter() - before
        assert waited < CALLS * 0.05, "calls wait for Redis"


@pytest.mark.parametrize("harm", ["stop", "freeze"])
def test_no_call_waits_for_redis_while_it_is_away(colour: Any, frail_server: Any, harm: str) -> None:
    """With pybreaker, aiobreaker and nopanic-redis each waits for 3 to 8 s, and for 58 s on a hung server."""
    exhibit(shared, colour, frail_server, harm)


@pytest.mark.parametrize("harm", ["stop", "freeze"])
def test_the_faulty_double_is_caught(colour: Any, frail_server: Any, harm: str) -> None:
    with pytest.raises(AssertionError, match="calls wait for Redis"):
        exhibit(Waits, colour, frail_server, harm)
