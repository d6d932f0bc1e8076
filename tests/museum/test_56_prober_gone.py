from __future__ import annotations

import os
import threading
import time
from typing import Any

import anyio
import pytest

from ..fleet.fleet_scenes import Child
from .doubles import Ticket
from .fleets import Fleet, Pooled, key, shared
from .scenes import cancel_a_call, in_async

LEASE = 0.3


class LocksForEver(Pooled):
    """The probe's slot is a key that only its owner deletes, when his call has ended."""

    def admit(self) -> Any:
        self.look()
        if self.state == "open" and self.clock() >= self.deadline:
            self.lock()
            self.state = "half_open"
            return self.generation
        return super().admit()

    def lock(self) -> None:
        if not self.redis.set(key("probe"), "mine", nx=True):
            raise self.rejection()

    async def acquire_async(self) -> Ticket:
        if self.state == "open" and self.clock() >= self.deadline:
            await anyio.to_thread.run_sync(self.lock, abandon_on_cancel=True)
            self.state = "half_open"
            return Ticket(self, self.generation)
        return self.acquire()


def exhibit_cancelled(kind: Any, colour: Any, server: Any) -> None:
    with Fleet(kind, colour, server) as fleet:
        one, other = fleet.members
        fleet.probe_due()
        cancel_a_call(one)
        fleet.until(other.admits, "a cancelled prober wedges the fleet", patience=0.5)


def exhibit_killed(kind: Any, colour: Any, server: Any) -> None:
    with Fleet(kind, colour, server, 1, probe_timeout=LEASE) as fleet:
        (member,) = fleet.members
        fleet.probe_due()
        prober = Child(lambda: _probe(fleet))
        began = time.monotonic()
        prober.kill()
        assert prober.said, "the child has no probe"
        fleet.until(member.admits, "a killed prober wedges the fleet", patience=3 * LEASE)
        assert kind is not shared or time.monotonic() - began < 3 * LEASE


def _probe(fleet: Fleet) -> None:
    prober = fleet.join()
    if isinstance(prober.breaker, Pooled):
        prober.breaker.look()
        time.sleep(fleet.given["timeout_duration"])
    assert prober.state == "open"
    fleet.held = prober.permit()


def exhibit_asking(kind: Any, colour: Any, server: Any) -> None:
    """It is cancelled while the server thinks about the lease."""
    with Fleet(kind, colour, server) as fleet:
        one, other = fleet.members
        fleet.probe_due()
        server.freeze()
        thaw = threading.Timer(0.1, server.thaw)
        thaw.start()

        async def asked() -> None:
            with anyio.move_on_after(0.02):
                await one.breaker.acquire_async()

        colour.run(asked)
        thaw.join()
        time.sleep(0.05)
        fleet.until(other.admits, "a cancelled question wedges the fleet", patience=0.5)


def test_a_cancelled_prober_makes_room_at_once(colour: Any, redis_server: Any) -> None:
    """With interlock, nopanic-redis and c-breaker the fleet is wedged."""
    exhibit_cancelled(shared, colour, redis_server)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_killed_prober_makes_room_when_its_lease_ends(colour: Any, redis_server: Any) -> None:
    """With interlock, nopanic-redis and c-breaker the fleet is wedged."""
    exhibit_killed(shared, colour, redis_server)


@in_async
def test_a_lease_that_nobody_waits_for_is_given_back(colour: Any, frail_server: Any) -> None:
    """With nopanic-redis a cancellation while the lease is asked for leaves it taken."""
    exhibit_asking(shared, colour, frail_server)


def test_the_faulty_double_is_caught(redis_server: Any, colour: Any) -> None:
    with pytest.raises(AssertionError, match="a cancelled prober wedges"):
        exhibit_cancelled(LocksForEver, colour, redis_server)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_the_faulty_double_is_caught_when_killed(redis_server: Any, colour: Any) -> None:
    with pytest.raises(AssertionError, match="a killed prober wedges"):
        exhibit_killed(LocksForEver, colour, redis_server)


@in_async
def test_the_faulty_double_is_caught_when_asking(frail_server: Any, colour: Any) -> None:
    with pytest.raises(AssertionError, match="a cancelled question wedges"):
        exhibit_asking(LocksForEver, colour, frail_server)
