"""A health check in a fleet: it asks for a lease like any probe, so one process checks for all."""

from __future__ import annotations

import contextlib
import os
import threading
import time

import anyio
import pytest

from circuitry import CircuitOpenError

from .fleet_scenes import Child, admits, fail, open_for_all, until


class Health:
    """What is asked of the dependency by several members, and whether two ever were at it at once."""

    def __init__(self, is_async):
        self.check = self._ask_async if is_async else self._ask
        self.well = True
        self.asked = 0
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()

    def _begin(self):
        with self._lock:
            self.asked += 1
            self._now += 1
            self.most = max(self.most, self._now)

    def _ask(self):
        self._begin()
        time.sleep(0.02)
        self._now -= 1
        return self.well

    async def _ask_async(self):
        self._begin()
        await anyio.sleep(0.02)
        self._now -= 1
        return self.well


def is_rejected(member):
    try:
        member.acquire().release()
    except CircuitOpenError:
        return True
    return False


async def call_until(members, is_so):
    with anyio.fail_after(15):
        while not is_so():
            assert all(is_rejected(member) or member.state == "closed" for member in members)
            await anyio.sleep(0.002)


async def ended(*members):
    with anyio.fail_after(15):
        while any(member.is_checking for member in members):
            await anyio.sleep(0.002)


@pytest.mark.anyio
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_one_member_checks_for_all(join, is_async):
    health = Health(is_async)
    settings = {"health_check": health.check, "health_check_interval": 0.005, "success_threshold": 3}
    members = [join(**settings) for _ in range(3)]
    open_for_all(*members)
    await call_until(members, lambda: all(member.state == "closed" for member in members))
    assert (health.asked, health.most) == (3, 1)
    assert [member.metrics().successes for member in members] == [0, 0, 0]
    await ended(*members)


@pytest.mark.anyio
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_what_it_finds_is_the_verdict_of_all(join, is_async):
    health = Health(is_async)
    health.well = False
    members = [join(health_check=health.check, health_check_interval=0.005) for _ in range(2)]
    open_for_all(*members)
    await call_until(members, lambda: all(member.metrics().opened >= 2 for member in members))
    await call_until(members, lambda: all(member.metrics().verdict == "fleet" for member in members))
    told = []
    for member in members:
        with pytest.raises(CircuitOpenError) as caught:
            member.acquire()
        told.append(caught.value.last_failure)
    assert told == ["UnhealthyError: the health check returned False"] * 2
    health.well = True
    await call_until(members, lambda: all(member.state == "closed" for member in members))
    await ended(*members)


def test_a_member_without_one_follows_what_anothers_finds(join):
    """Settings of a fleet should be the same; while they are rolled out they aren't."""
    health = Health(is_async=False)
    one, other = join(health_check=health.check, health_check_interval=0.005), join()
    open_for_all(one, other)
    until(lambda: one.state == other.state == "closed", "it isn't told")
    assert health.asked == 1


def test_a_member_that_isnt_used_checks_nothing(join):
    """What opens it is somebody else's outage: it begins with its first call that is turned down."""
    health = Health(is_async=False)
    one, other = join(), join(health_check=health.check, health_check_interval=0.005)
    open_for_all(one, other)
    assert not other.is_checking
    until(lambda: is_rejected(other) and other.metrics().retry_after == 0.005, "its deadline doesn't come")
    until(lambda: not is_rejected(other), "it doesn't check")
    until(lambda: one.state == "closed", "it isn't told")
    assert health.asked >= 1


def test_a_check_that_its_loop_cuts_short_gives_its_lease_back(join, anyio_backend):
    begun = []

    async def hang():
        begun.append(1)
        await anyio.sleep_forever()

    one, other = join(health_check=hang, health_check_interval=0.005, probe_timeout=30.0), join()

    async def serve():
        fail(one, one.config.failure_threshold)
        with anyio.fail_after(15):
            while not begun:
                await anyio.sleep(0.002)

    anyio.run(serve, backend=anyio_backend)
    until(lambda: admits(other), "the lease isn't given back", patience=1.0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_one_process_checks_for_all(join, is_async):
    def ask():
        client, prefix = join.client, join.prefix
        client.incr(prefix + "asked")
        if client.incr(prefix + "now") > 1:
            client.incr(prefix + "overlaps")
        time.sleep(0.03)
        client.decr(prefix + "now")

    async def ask_async():
        await anyio.to_thread.run_sync(ask)

    def child():
        check = ask_async if is_async else ask
        member = join(success_threshold=4, health_check=check, health_check_interval=0.01)
        anyio.run(serve, member)

    async def serve(member):
        while member.state != "closed":
            with contextlib.suppress(CircuitOpenError):
                member.acquire().release()
            await anyio.sleep(0.002)

    first = join(success_threshold=4)
    fail(first, first.config.failure_threshold)
    until(lambda: first.metrics().verdict == "fleet", "the fleet hasn't opened")
    children = [Child(child, wait=False) for _ in range(3)]
    try:
        assert [each.hear() for each in children] == [b"+"] * 3
    finally:
        for each in children:
            each.kill()
    until(lambda: first.state == "closed", "it isn't told")
    assert join.client.get(join.prefix + "overlaps") is None
    assert join.client.get(join.prefix + "asked") == "4"
