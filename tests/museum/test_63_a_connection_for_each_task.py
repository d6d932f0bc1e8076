from __future__ import annotations

from typing import Any

import anyio
import pytest
import redis

from .fleets import Fleet, Pooled, shared
from .scenes import in_async


class ConnectsEachTime(Pooled):
    """As a pool does that every call takes a connection from, and that has no end."""

    def admit(self) -> Any:
        connection = redis.Redis.from_url(self.url, single_connection_client=True)
        return super().admit(), connection

    def __init__(self, url: str, **given: Any) -> None:
        self.url = url
        super().__init__(url, **given)

    def ended(self, admission: Any, error: BaseException | None) -> None:
        generation, connection = admission
        connection.close()
        super().ended(generation, error)


def exhibit(kind: Any, colour: Any, server: Any, tasks: int, ends: BaseException | None) -> None:
    with Fleet(kind, colour, server, 1, failure_threshold=tasks) as fleet:
        (member,) = fleet.members
        most, raised = colour.run(burst, fleet, member.breaker, tasks, ends)
        assert most <= 4, f"{tasks} tasks have opened {most} connections"
        assert raised == [ends] * tasks, "calls have failed by Redis"
        if ends is not None:
            fleet.until(lambda: fleet.get("state") == "open", "their failures are lost")


async def burst(fleet: Fleet, breaker: Any, tasks: int, ends: BaseException | None) -> Any:
    """So many tasks call at once, and while they do, connections are counted."""
    arrived: list[None] = []
    counted = anyio.Event()
    most: list[int] = []
    raised: list[BaseException | None] = []

    async def backend() -> None:
        arrived.append(None)
        if len(arrived) == tasks:
            most.append(len(fleet.redis.client_list()))
            counted.set()
        await counted.wait()
        if ends is not None:
            raise ends

    async def call() -> None:
        try:
            await breaker.call(backend)
        except Exception as error:
            raised.append(error)
        else:
            raised.append(None)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            for _ in range(tasks):
                group.start_soon(call)
    return most[0], raised


@in_async
@pytest.mark.parametrize("ends", [None, OSError("down")])
def test_a_thousand_tasks_need_no_more_connections_than_one(
    colour: Any, redis_server: Any, ends: BaseException | None
) -> None:
    """With redis-py's default pool they open 1000, or 900 of them fail with "max connections"."""
    exhibit(shared, colour, redis_server, 1000, ends)


@in_async
def test_the_faulty_double_is_caught(colour: Any, redis_server: Any) -> None:
    with pytest.raises(AssertionError, match=r"100 tasks have opened 10. connections"):
        exhibit(ConnectsEachTime, colour, redis_server, 100, None)
