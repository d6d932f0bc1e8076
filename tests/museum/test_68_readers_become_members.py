from __future__ import annotations

from typing import Any

import pytest

from circuitry.redis import RedisStore

from .fleets import Fleet, key, shared
from .scenes import in_sync


class JoinsToRead(RedisStore):
    """Reads as members do."""

    def circuits(self) -> Any:
        from circuitry import CircuitBreaker

        breaker = CircuitBreaker("netflix", store=self)
        self.wait_ready()
        return {"netflix": breaker.state}


def exhibit(kind: Any, colour: Any, server: Any) -> None:
    """With a quorum a reader who counts as a member changes how many have to fail."""
    with Fleet(shared, colour, server, quorum=2) as fleet:
        fleet.members[0].fail(3)
        fleet.until(lambda: fleet.get("failures") == "3", "nobody hears of it")
        before = snapshot(fleet)
        with kind(server.url(), quorum=2) as reader:
            assert list(reader.circuits()) == ["netflix"]
            reader.history("netflix")
            assert fleet.redis.zcard(key("peers")) == 2, "the reader has become a member"
            assert snapshot(fleet) == before
            assert reader.health().link == "idle"


def snapshot(fleet: Fleet) -> Any:
    keys = sorted(fleet.redis.keys("*"))
    return [(name, fleet.redis.dump(name)) for name in keys if not name.endswith("peers")]


@in_sync
def test_who_only_reads_is_no_member(colour: Any, redis_server: Any) -> None:
    """Where a command line or a page joins the fleet to read it, it counts in every quorum."""
    exhibit(RedisStore, colour, redis_server)


@in_sync
def test_the_faulty_double_is_caught(colour: Any, redis_server: Any) -> None:
    with pytest.raises(AssertionError, match="the reader has become a member"):
        exhibit(JoinsToRead, colour, redis_server)
