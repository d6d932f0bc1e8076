from __future__ import annotations

from typing import Any

import pytest

from .fleets import Fleet, Pooled, key, shared

BACKOFF = 7200.0


class ExpiresInAnHour(Pooled):
    def write(self, state: str) -> None:
        self.redis.set(key("state"), state, ex=3600)

    def force_open(self) -> None:
        self.state = "forced_open"
        self.write("open")


def exhibit_forced(kind: Any, colour: Any, server: Any) -> None:
    with Fleet(kind, colour, server, 1) as fleet:
        fleet.members[0].breaker.force_open()
        fleet.until(lambda: fleet.get("state") == "open", "nobody hears of it")
        ends = [left for left in lifetimes(fleet) if left > 0]
        assert not ends, "a forced state expires"
        assert fleet.join().rejects


def exhibit_open(kind: Any, colour: Any, server: Any) -> None:
    with Fleet(kind, colour, server, 1, timeout_duration=BACKOFF) as fleet:
        fleet.members[0].fail(3)
        fleet.until(lambda: fleet.get("state") == "open", "nobody hears of it")
        assert all(not 0 < left < BACKOFF for left in lifetimes(fleet)), "an open state expires too early"


def lifetimes(fleet: Fleet) -> list[float]:
    """Of each key, in seconds; negative where it has no end."""
    return [fleet.redis.pttl(name) / 1000 for name in fleet.redis.keys("circuit:netflix:*")]


def test_what_was_forced_stays_until_it_is_taken_back(colour: Any, redis_server: Any) -> None:
    """Where all keys have an end, an operator's word has one that he doesn't know of."""
    exhibit_forced(shared, colour, redis_server)


def test_an_open_state_outlives_its_own_backoff(colour: Any, redis_server: Any) -> None:
    """Where keys live for a fixed time, a long backoff ends early."""
    exhibit_open(shared, colour, redis_server)


def test_the_faulty_double_is_caught(colour: Any, redis_server: Any) -> None:
    with pytest.raises(AssertionError, match="a forced state expires"):
        exhibit_forced(ExpiresInAnHour, colour, redis_server)
    redis_server_is_empty(redis_server)
    with pytest.raises(AssertionError, match="an open state expires too early"):
        exhibit_open(ExpiresInAnHour, colour, redis_server)


def redis_server_is_empty(server: Any) -> None:
    with Fleet(Pooled, None, server, 0) as fleet:
        fleet.redis.flushall()
