from __future__ import annotations

import contextlib
import time
from typing import Any

import anyio
import pytest
import redis

from .fleets import Fleet, Pooled, shared
from .scenes import in_async

LONGEST = 0.03  # seconds


class AsksWithinTheLoop(Pooled):
    patience = 0.1

    def look(self) -> None:
        with contextlib.suppress(redis.RedisError):
            super().look()


async def longest_hold(work: Any) -> float:
    """For how long the event loop was held up at most while `work` ran, in seconds."""
    held = 0.0
    async with anyio.create_task_group() as group:

        async def tick() -> None:
            nonlocal held
            while True:
                before = time.perf_counter()
                await anyio.sleep(0.002)
                held = max(held, time.perf_counter() - before - 0.002)

        group.start_soon(tick)
        await anyio.sleep(0.01)
        await work()
        await anyio.sleep(0.01)
        group.cancel_scope.cancel()
    return held


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
