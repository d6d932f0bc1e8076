from __future__ import annotations

import contextlib
from typing import Any

import pytest
import redis

from ..fleet.fleet_scenes import longest_hold
from .fleets import Fleet, Pooled, shared
from .scenes import in_async

LONGEST = 0.03  # seconds


class AsksWithinTheLoop(Pooled):
    patience = 0.1

    def look(self) -> None:
        with contextlib.suppress(redis.RedisError):
            super().look()


def exhibit(kind: Any, colour: Any, server: Any) -> None:
    """Calls that need a probe's lease, of a server that is frozen. The best of three is held to the mark."""
    with Fleet(kind, colour, server, 1) as fleet:
        (member,) = fleet.members
        fleet.probe_due()
        server.freeze()

        async def calls() -> None:
            for _ in range(3):
                with contextlib.suppress(Exception):
                    (await member.breaker.acquire_async()).release()

        held = min(colour.run(longest_hold, calls) for _ in range(3))
        assert held < LONGEST, f"the event loop was held up for {held:.3f} s"


@in_async
def test_the_event_loop_goes_on_while_redis_is_asked(colour: Any, frail_server: Any) -> None:
    """With aiobreaker a sync client waits within the loop."""
    exhibit(shared, colour, frail_server)


@in_async
def test_the_faulty_double_is_caught(colour: Any, frail_server: Any) -> None:
    with pytest.raises(AssertionError, match="the event loop was held up"):
        exhibit(AsksWithinTheLoop, colour, frail_server)
