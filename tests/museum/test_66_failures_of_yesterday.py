from __future__ import annotations

import time
from typing import Any

import pytest
import redis

from circuitry.redis import outbox
from circuitry.redis import shared as gate

from .fleets import Fleet, Pooled, key, shared

AGE = 0.2  # instead of a second


class SendsAllOfIt(Pooled):
    """What can't be sent is kept until it can."""

    patience = 0.05

    def __init__(self, url: str, **given: Any) -> None:
        self.queue = 0
        super().__init__(url, **given)

    def look(self) -> None:
        try:
            while self.queue:
                self.redis.incr(key("failures"))
                self.queue -= 1
            if int(self.redis.get(key("failures")) or 0) >= self.failure_threshold:
                self.write("open")
        except redis.RedisError:
            pass

    def failed(self) -> None:
        self.queue += 1

    def read(self) -> str:
        return str(self.redis.get(key("state")) or "closed")


class Looks(SendsAllOfIt):
    def look(self) -> None:
        super().look()
        try:
            Pooled.look(self)
        except redis.RedisError:
            pass


def exhibit(kind: Any, colour: Any, server: Any) -> None:
    with Fleet(kind, colour, server, timeout_duration=60) as fleet:
        one, other = fleet.members
        server.stop()
        one.fail(3)
        time.sleep(AGE + 0.1)
        server.start()
        if kind is shared:
            fleet.until(lambda: one.breaker.store.health().link == "up", "it isn't found again")
            assert one.breaker.store.flush()
        else:
            one.admits()
        fleet.until(lambda: back(other), "it isn't found again")
        assert other.admits(), "failures of yesterday have opened the circuit for all"
        assert fleet.get("state") in ("closed", None)


def back(member: Any) -> bool:
    store = getattr(member.breaker, "store", None)
    return store is None or store.health().link == "up"


def test_what_could_not_be_sent_in_time_is_dropped(
    colour: Any, frail_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where failures are queued while Redis is away, they trip the fleet minutes later."""
    for module in (outbox, gate):
        monkeypatch.setattr(module, "OUTCOME_AGE", AGE)
    exhibit(shared, colour, frail_server)


def test_the_age_is_a_second() -> None:
    """What the scene shortens."""
    assert outbox.OUTCOME_AGE == 1.0


def test_the_faulty_double_is_caught(colour: Any, frail_server: Any) -> None:
    with pytest.raises(AssertionError, match="failures of yesterday"):
        exhibit(Looks, colour, frail_server)
