"""A fleet's probe is asked for without holding up the event loop that asks."""

from __future__ import annotations

import subprocess
import sys
import time

import anyio
import pytest

from circuitry.events import loop_event, wait_at_most, waker

from .servers import needed, on_one_server

FIRST_PROBE = """
import asyncio, sys
from circuitry import CircuitBreaker
from circuitry.redis import RedisStore

async def fetch(answer):
    if answer is None:
        raise ValueError
    return answer

async def main(url):
    store = RedisStore.from_url(url, prefix="first-probe:", redis_timeout=5.0)
    rules = {"failure_threshold": 1, "success_threshold": 1, "timeout_duration": 0.05}
    breaker = CircuitBreaker("netflix", **rules, store=store)
    assert store.wait_ready(10)
    await asyncio.gather(breaker.call(fetch, None), return_exceptions=True)
    assert store.flush(10)
    await asyncio.sleep(0.1)
    before = set(sys.modules)
    assert await breaker.call(fetch, "answer") == "answer"
    assert store.flush(10)
    print(breaker.state, sorted(set(sys.modules) - before))
    store.close()

asyncio.run(main(sys.argv[1]))
"""


@on_one_server
def test_the_first_probe_imports_nothing(server):
    """anyio, with its backend, takes tens of milliseconds, in which the loop would stand still."""
    needed("redis")
    told = subprocess.run(
        [sys.executable, "-c", FIRST_PROBE, server.url()], capture_output=True, text=True, timeout=60
    )
    assert (told.stdout, told.stderr) == ("closed []\n", "")


@pytest.mark.anyio
async def test_an_answer_that_comes_ends_the_wait():
    event = loop_event()
    wake = waker(event.set)
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.to_thread.run_sync, wake)
        start = time.monotonic()
        await wait_at_most(event, 60.0)
    assert time.monotonic() - start < 30.0


@pytest.mark.anyio
async def test_an_answer_that_does_not_come_is_waited_for_no_longer():
    with anyio.fail_after(30.0):
        await wait_at_most(loop_event(), 0.001)


@pytest.mark.anyio
async def test_a_cancellation_goes_through_the_wait():
    with anyio.move_on_after(0.001) as scope:
        await wait_at_most(loop_event(), 60.0)
    assert scope.cancelled_caught
