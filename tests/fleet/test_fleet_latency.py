"""A fleet's circuit that takes the time of its calls says to the fleet what it would say without."""

from __future__ import annotations

import gc
import types

import pytest

from circuitry import CircuitBreaker
from circuitry.redis import outbox
from circuitry.redis.shared import SharedGate
from circuitry.states import CircuitState
from circuitry.testing import ManualClock

from .servers import on_one_server
from .store_tools import NUMBERS, eventually, processes, share_a_verdict
from .test_fleet_gate import StillLink, view

OPEN = CircuitState.OPEN


@pytest.fixture
def clock():
    return ManualClock(1000.0)


@pytest.fixture
def breaker(clock, monkeypatch):
    monkeypatch.setattr(outbox, "OUTCOME_AGE", 60.0)  # a machine under load may take its time
    link, store = StillLink(), types.SimpleNamespace(quorum_of=lambda breaker: 1)
    store.gate = lambda breaker: SharedGate(store, link, breaker)
    return CircuitBreaker("netflix", store=store, clock=clock, latency=True, **NUMBERS)


@pytest.mark.core
def test_a_failure_and_the_success_after_it_are_news_to_the_fleet_and_others_are_not(breaker):
    told = breaker._gate.outbox
    for _ in range(3):
        breaker.call(lambda: None)
    assert len(told) == 0
    breaker.acquire().failure(OSError("down"))
    breaker.acquire().success()
    assert told.take_runs().runs == [1, 0]
    breaker.acquire().success()
    assert len(told) == 0
    assert breaker.metrics().latency.calls == 6


@pytest.mark.core
def test_also_of_a_stream_that_is_left_early(breaker):
    @breaker
    def pages():
        while True:
            yield 1

    told = breaker._gate.outbox
    next(pages())
    gc.collect()
    breaker.metrics()
    assert len(told) == 0
    breaker.acquire().failure(OSError("down"))
    next(pages())
    gc.collect()
    breaker.metrics()
    assert told.take_runs().runs == [1, 0]


@pytest.mark.core
def test_the_call_that_wakes_the_circuit_is_timed_too(breaker, clock):
    breaker._gate.rearm()
    breaker._rearm()
    assert breaker._gate.asleep
    permit = breaker.acquire()
    clock.advance(0.5)
    permit.success()
    assert (breaker.metrics().latency.calls, breaker.metrics().latency.total) == (1, 0.5)


@pytest.mark.core
def test_a_call_counts_in_the_epoch_that_admitted_it(breaker):
    gate = breaker._gate
    breaker.call(lambda: None)
    gate.receive(view(3))
    permit = breaker.acquire()
    gate.receive(view(5, OPEN))
    permit.failure(OSError("late"))
    assert gate.outbox.take_runs().epoch == 3


@on_one_server
def test_it_shares_its_verdict_and_leased_probes_are_timed_as_well(server):
    with processes(2, server.url()) as (a, b):
        for process in (a, b):
            process.breaker.reconfigure(latency=True)
        share_a_verdict(a, b)
        calls = [process.breaker.metrics().latency.calls for process in (a, b)]
        assert calls == [3, 1]
        eventually(lambda: not a.breaker._gate._held)
