from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from circuitry.redis.keys import Naming
from circuitry.redis.script import Rules, Script

from .fleets import Fleet, Pooled, shared


class HearsOnly(Pooled):
    """Takes its state from messages, and looks nowhere else."""

    def __init__(self, url: str, **given: Any) -> None:
        super().__init__(url, **given)
        self.news = self.redis.pubsub()
        self.news.subscribe("news")

    def write(self, state: str) -> None:
        super().write(state)
        self.redis.publish("news", state)

    def read(self) -> str:
        state = self.state
        while message := self.news.get_message(timeout=0.001):
            state = message["data"] if message["type"] == "message" else state
        return state


def a_lost_message(fleet: Fleet) -> None:
    """Somebody opens the circuit, and what he publishes reaches nobody."""
    script = Script(Naming(), "somebody", db=7)
    subject = script.subject("netflix", Rules(3, 1, 60_000, 1, 1000, 60_000))
    script.run(fleet.redis.execute_command, script.batch(subject, 0, epoch_of(fleet), [3], "down"))
    fleet.redis.set("circuit:netflix:state", "open")


def epoch_of(fleet: Fleet) -> int:
    return int(fleet.redis.hget("circuit:netflix:meta", "epoch") or 0)


def a_flush(fleet: Fleet) -> None:
    """The circuit is open for all, and then nothing is left of it."""
    fleet.members[0].fail(3)
    for member in fleet.members:
        fleet.until(lambda member=member: member.rejects, "it isn't open for all")
    fleet.redis.flushall()


def exhibit(kind: Any, colour: Any, server: Any, harm: Callable[[Fleet], None], after: str) -> None:
    with Fleet(kind, colour, server, check_period=0.1, timeout_duration=60) as fleet:
        harm(fleet)
        for member in fleet.members:
            fleet.until(
                lambda member=member: member.rejects is (after == "open"),
                "a member is out of step for ever",
            )
        assert (fleet.get("state") or "closed") == after


@pytest.mark.parametrize(("harm", "after"), [(a_lost_message, "open"), (a_flush, "closed")])
def test_what_was_missed_is_found_out(
    colour: Any, redis_server: Any, harm: Callable[[Fleet], None], after: str
) -> None:
    """Many who hear messages believe in nothing else: one lost, FLUSHALL or a failover is never noticed."""
    exhibit(shared, colour, redis_server, harm, after)


@pytest.mark.parametrize(("harm", "after"), [(a_lost_message, "open"), (a_flush, "closed")])
def test_the_faulty_double_is_caught(
    colour: Any, redis_server: Any, harm: Callable[[Fleet], None], after: str
) -> None:
    with pytest.raises(AssertionError, match="out of step for ever"):
        exhibit(HearsOnly, colour, redis_server, harm, after)
