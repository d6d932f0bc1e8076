"""An event loop is never held up: not by a fleet's half-open, nor by a Redis that is frozen or killed."""

from __future__ import annotations

import contextlib
import time

import anyio
import pytest

from circuitry import CircuitOpenError

from .fleet_scenes import fail, longest_hold, probe_due, until

LONGEST = 0.03  # seconds


@pytest.fixture(params=["asyncio", "trio"])
def backend(request):
    return request.param


def watch(backend, scene, *args):
    """What a scene holds the loop up for; the best of three, since others use this machine too."""
    return min(anyio.run(longest_hold, lambda: scene(*args), backend=backend) for _ in range(3))


async def calls(breaker, times=20):
    """Some go out, some are rejected; each success or failure is told to the fleet."""
    for number in range(times):
        with contextlib.suppress(CircuitOpenError):
            permit = await breaker.acquire_async()
            permit.success() if number % 2 else permit.failure(OSError("down"))
        await anyio.sleep(0.001)


async def burst(breaker):
    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(calls, breaker, 1)


def test_through_a_fleets_half_open(backend, join):
    one, other = join(), join()

    def half_open():
        one.reset()
        until(lambda: one.state == other.state == "closed" and one.store.flush(), "it isn't told")
        probe_due(one, other)
        return watched

    async def watched():
        await burst(one)
        await calls(other)
        with contextlib.suppress(CircuitOpenError):
            one.acquire().release()  # sync code within the loop: it doesn't wait either

    assert min(anyio.run(longest_hold, half_open(), backend=backend) for _ in range(3)) < LONGEST


@pytest.mark.parametrize("harm", ["freeze", "stop"])
@pytest.mark.parametrize("state", ["closed", "half_open"])
def test_with_a_redis_that_is_frozen_or_killed(backend, join_frail, harm, state):
    one = join_frail(failure_threshold=3)
    fail(one, 1) if state == "closed" else probe_due(one)
    getattr(join_frail.server, harm)()
    assert watch(backend, calls, one) < LONGEST
    assert watch(backend, burst, one) < LONGEST


def test_with_an_order_to_a_redis_that_is_frozen(backend, join_frail):
    one = join_frail()
    join_frail.server.freeze()

    async def orders():
        one.force_open()
        one.reset()
        await calls(one)
        assert one.metrics().verdict == "local"

    assert watch(backend, orders) < LONGEST


def test_with_a_call_that_is_cancelled_while_it_asks(backend, join_frail):
    one = join_frail(redis_timeout=5.0)
    probe_due(one)
    join_frail.server.freeze()

    async def cancelled():
        with anyio.move_on_after(0.01), contextlib.suppress(CircuitOpenError):
            await one.acquire_async()
            pytest.fail("who could have let it go?")

    assert watch(backend, cancelled) < LONGEST


def test_a_loop_that_is_held_up_is_noticed(backend):
    """Or else this file could tell nothing."""

    async def holds():
        time.sleep(0.05)

    assert watch(backend, holds) > LONGEST
