"""Probes of a fleet: who gets leave, who waits for it and how long, and what becomes of it."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time

import anyio
import pytest

from circuitry import CircuitOpenError, TooManyCallsError
from circuitry.redis import script

from .fleet_scenes import Child, admits, fail, probe_due, until

PROCESSES, CALLS = 4, 5


def test_when_one_trips_the_others_reject(colour, join):
    one, other = join(), join()
    heard = []
    other.on_transition(heard.append)
    fail(one, 3)
    until(lambda: other.state == "open", "it isn't told")
    with pytest.raises(CircuitOpenError) as caught:
        colour.acquire(other)
    assert 0 < caught.value.retry_after <= 0.1
    assert caught.value.last_failure == "OSError: down"
    until(lambda: heard, "no event")
    assert [(event.new_state, event.reason, event.source) for event in heard] == [
        ("open", "tripped", "fleet")
    ]
    assert other.metrics().verdict == "fleet"
    until(lambda: one.metrics().verdict == "fleet", "who opened it isn't told")  # it may hear last


def test_a_probe_that_succeeds_closes_the_circuit_for_all(colour, join):
    one, other = join(), join()
    probe_due(one, other)
    colour.acquire(one).success()
    until(lambda: other.state == "closed", "it isn't told")
    assert colour.acquire(other).success() is None
    assert join.get("state") == "closed"


def test_a_probe_that_fails_opens_it_again_for_all(colour, join):
    one, other = join(), join()
    probe_due(one, other)
    colour.acquire(one).failure(OSError("still down"))
    until(lambda: other.state == "open" and other.metrics().retry_after > 0, "it isn't told")
    assert one.state == "open"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_one_probe_reaches_the_backend_however_many_processes_call(colour, join):
    probe_due(join())
    start = time.monotonic() + 0.4

    def calls():
        member = join()
        time.sleep(max(0.0, start - time.monotonic()))
        colour.run(in_tasks, member) if colour.is_async else in_threads(member)

    def backend():
        join.client.incr(join.prefix + "calls")

    def call(member):
        try:
            permit = member.acquire()
        except CircuitOpenError:
            return
        backend()
        time.sleep(0.4)
        permit.success()

    def in_threads(member):
        threads = [threading.Thread(target=call, args=[member]) for _ in range(CALLS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(5)

    async def in_tasks(member):
        async def call():
            try:
                permit = await member.acquire_async()
            except CircuitOpenError:
                return
            backend()
            await anyio.sleep(0.4)
            permit.success()

        async with anyio.create_task_group() as group:
            for _ in range(CALLS):
                group.start_soon(call)

    children = [Child(calls, wait=False) for _ in range(PROCESSES)]
    try:
        assert [child.hear() for child in children] == [b"+"] * PROCESSES
    finally:
        for child in children:
            child.kill()
    assert join.client.get(join.prefix + "calls") == "1"


def test_a_full_fleet_is_remembered(join_frail):
    """Until a slot is free again nobody asks a second time."""
    one, other = join_frail(), join_frail()
    probe_due(one, other)
    probe = one.acquire()
    with pytest.raises(TooManyCallsError) as caught:
        other.acquire()
    assert 0 < caught.value.retry_after <= 2.0
    before = join_frail.commands()
    assert not any(admits(other) for _ in range(50))
    assert join_frail.commands() == before
    probe.release()


def test_who_was_told_full_may_probe_as_soon_as_the_prober_is_cancelled(colour, join):
    one, other = join(), join()
    probe_due(one, other)
    probe = colour.acquire(one)
    with pytest.raises(TooManyCallsError):
        colour.acquire(other)
    probe.release()
    until(lambda: admits(other), "it waits for the end of the lease", patience=1.0)


def test_a_permit_that_is_dropped_gives_its_lease_back(colour, join):
    one, other = join(), join()
    probe_due(one, other)
    probe = colour.acquire(one)
    del probe
    gc.collect()
    until(lambda: admits(other), "the lease isn't given back", patience=1.0)


def test_a_permit_that_is_dropped_with_its_breaker_does_so_too(join):
    one, other = join(), join()
    store = one.store
    probe_due(one, other)
    probe = one.acquire()
    del one, probe
    gc.collect()
    until(lambda: admits(other), "the lease isn't given back", patience=1.0)
    assert store.health().link == "up"


def test_a_probe_that_runs_for_long_keeps_its_slot(join, monkeypatch):
    """Its lease is renewed, up to its `probe_timeout`: a probe that hangs is no obstacle for ever."""
    monkeypatch.setattr(script, "LONGEST_LEASE", 0.15)
    one, other = join(probe_timeout=0.6), join(probe_timeout=0.6)
    probe_due(one, other)
    began = time.monotonic()
    probe = one.acquire()
    admitted_at = None
    while admitted_at is None and time.monotonic() - began < 3:
        if admits(other):
            admitted_at = time.monotonic() - began
        time.sleep(0.01)
    assert admitted_at is not None, "it is an obstacle for ever"
    assert admitted_at >= 0.55, "the lease wasn't renewed"
    probe.release()


# -- Who asks, and how long it waits ---------------------------------------------------------------------


def test_a_sync_call_in_a_thread_with_an_event_loop_never_waits(join_frail):
    """It asks and is rejected, and the next caller takes the lease."""
    member = join_frail(redis_timeout=5.0)
    probe_due(member)

    async def calls():
        before = time.perf_counter()
        with pytest.raises(CircuitOpenError):
            member.acquire()
        assert time.perf_counter() - before < 1.0
        for _ in range(200):
            await anyio.sleep(0.005)
            try:
                return member.acquire()
            except CircuitOpenError:
                pass
        pytest.fail("nobody takes the lease")

    for backend in ("asyncio", "trio"):
        anyio.run(calls, backend=backend).release()


def test_no_caller_waits_for_longer_than_it_has_patience(colour, join_frail):
    """A server that is slow refuses; once it is taken for lost, each process is on its own."""
    one = join_frail()
    probe_due(one)
    join_frail.server.freeze()
    before = time.perf_counter()
    with pytest.raises(CircuitOpenError):
        colour.acquire(one)
    assert time.perf_counter() - before < 0.4
    until(lambda: one.store.health().link == "down", "it isn't taken for lost")
    colour.acquire(one).success()
    assert one.state == "closed"
    assert one.metrics().verdict == "local"


def test_no_more_ask_at_once_than_probes_may_be_out(join_frail):
    """While one waits for the answer, the others are rejected at once."""
    one = join_frail(redis_timeout=0.3)
    probe_due(one)
    join_frail.server.freeze()
    waits = []

    async def call():
        before = time.perf_counter()
        with pytest.raises(CircuitOpenError):
            await one.acquire_async()
        waits.append(time.perf_counter() - before)

    async def calls():
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(call)

    anyio.run(calls)
    assert len([wait for wait in waits if wait > 0.25]) == 1


def test_a_lease_for_a_loop_that_is_gone_is_given_back(join_frail):
    one, other = join_frail(redis_timeout=5.0), join_frail()
    probe_due(one, other)
    join_frail.server.freeze()
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)
    coroutine = one.acquire_async()
    task = loop.create_task(coroutine)
    loop.run_until_complete(asyncio.sleep(0.05))
    loop.close()
    join_frail.server.thaw()
    until(lambda: admits(other), "the lease isn't given back", patience=1.0)
    task._log_destroy_pending = False
    with pytest.raises((RuntimeError, asyncio.CancelledError)):
        coroutine.throw(asyncio.CancelledError())


def test_a_lease_goes_on_being_renewed_when_the_link_is_found_again(join_frail, monkeypatch):
    monkeypatch.setattr(script, "LONGEST_LEASE", 0.5)
    one, other = join_frail(probe_timeout=5.0), join_frail(probe_timeout=5.0)
    probe_due(one, other)
    probe = one.acquire()
    links = [breaker.store._link for breaker in (one, other)]
    lost = [link._session for link in links]
    join_frail.client.client_kill_filter(_type="normal", skipme=True)
    until(lambda: all(link.is_up and link._session not in lost for link in links), "it isn't found again")
    until(lambda: other._gate.governs, "it isn't asked again")
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        assert not admits(other), "the lease has lapsed"
        time.sleep(0.02)
    probe.release()


def test_leave_that_comes_when_the_circuit_is_closed_is_given_back(join):
    """Between the question and the answer an operator has reset it."""
    one = join()
    probe_due(one)
    gate = one._gate
    lease = gate.ask()
    assert lease.granted
    one.reset(local=True)
    lease.give_back()
    assert one.store.flush()
    until(lambda: admits(one), "the slot is taken", patience=1.0)


def test_without_a_fleet_nobody_is_asked(join):
    """A gate that doesn't govern leaves a probe to its own process."""
    one = join()
    assert one._gate.ask().granted
    assert anyio.run(one._gate.ask_async).granted
