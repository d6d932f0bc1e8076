from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest

from circuitry import CircuitOpenError

from .fleets import Fleet, Pooled, key, shared

MEMBERS, EACH = 4, 5


class Counting(Pooled):
    """Counts in Redis alone, in a way that others can come between."""

    def failed(self) -> None:
        if self.count() >= self.failure_threshold:
            self.redis.rpush(key("history"), json.dumps({"reason": "tripped"}))
            self.enter("open")

    def count(self) -> int:
        seen = int(self.redis.get(key("failures")) or 0)
        time.sleep(0.005)
        self.redis.set(key("failures"), seen + 1)
        return seen + 1


class OpensForEach(Counting):
    def count(self) -> int:
        return int(self.redis.incr(key("failures")))


def exhibit(kind: Any, colour: Any, server: Any, threshold: int) -> None:
    """All members fail at once: none of them alone often enough."""
    with Fleet(kind, colour, server, MEMBERS, failure_threshold=threshold, timeout_duration=10) as fleet:
        start = threading.Barrier(MEMBERS)

        def failing(member: Any) -> None:
            permits = [member.permit() for _ in range(EACH)]
            start.wait(10)
            for permit in permits:
                permit.failure(OSError("down"))

        threads = [threading.Thread(target=failing, args=[member]) for member in fleet.members]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        for member in fleet.members:
            fleet.until(lambda member=member: member.rejects, "failures were lost")
        lines = [json.loads(line) for line in fleet.redis.lrange(key("history"), 0, -1)]
        assert [line["reason"] for line in lines].count("tripped") == 1, "it was opened several times"


@pytest.mark.parametrize("surplus", [0, 6])
def test_failures_of_all_members_are_counted_and_open_once(
    colour: Any, redis_server: Any, surplus: int
) -> None:
    """GET, INCR and SET one by one: pybreaker, purgatory, c-breaker and asyncbreaker lose failures, and open
    twice.
    """
    exhibit(shared, colour, redis_server, MEMBERS * EACH - surplus)


@pytest.mark.parametrize(
    ("double", "surplus", "symptom"), [(Counting, 0, "were lost"), (OpensForEach, 6, "several times")]
)
def test_the_faulty_double_is_caught(
    colour: Any, redis_server: Any, double: Any, surplus: int, symptom: str
) -> None:
    with pytest.raises(AssertionError, match=symptom):
        exhibit(double, colour, redis_server, MEMBERS * EACH - surplus)


def test_the_double_opens_on_its_own(colour: Any, redis_server: Any) -> None:
    """So it is the race that it loses."""
    with Fleet(Counting, colour, redis_server, 1) as fleet:
        with pytest.raises(CircuitOpenError):
            fleet.members[0].fail(4)
