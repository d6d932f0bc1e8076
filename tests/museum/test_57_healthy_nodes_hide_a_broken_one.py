from __future__ import annotations

from typing import Any

import pytest

from .fleets import Fleet, Pooled, key, shared


class CountsTogether(Pooled):
    """There is one streak, and anybody's success ends it."""

    def failed(self) -> None:
        if self.redis.incr(key("failures")) >= self.failure_threshold:
            self.enter("open")

    def succeeded(self) -> None:
        super().succeeded()
        self.redis.delete(key("failures"))


def exhibit(kind: Any, colour: Any, server: Any) -> None:
    """Each failure of the broken node is followed by a success of the healthy one."""
    with Fleet(kind, colour, server, timeout_duration=10) as fleet:
        broken, healthy = fleet.members
        for _ in range(3):
            broken.fail()
            fleet.until(lambda: fleet.get("failures") == "1" or broken.state == "open", "a failure is lost")
            fleet.until(lambda: succeeds(fleet, healthy), "a success is lost")
        assert broken.rejects, "the broken node is never protected"
        assert healthy.admits()
        assert fleet.get("state") in ("closed", None)


def succeeds(fleet: Fleet, member: Any) -> bool:
    member.permit().success()
    return fleet.get("failures") is None


def test_a_broken_node_is_protected_whatever_the_others_see(colour: Any, redis_server: Any) -> None:
    """With pybreaker, aiobreaker, purgatory and asyncbreaker 150 of 150 failing calls went out."""
    exhibit(shared, colour, redis_server)


def test_the_faulty_double_is_caught(colour: Any, redis_server: Any) -> None:
    with pytest.raises(AssertionError, match="the broken node is never protected"):
        exhibit(CountsTogether, colour, redis_server)
