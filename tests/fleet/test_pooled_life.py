"""Pooled windows in the life of a process: opened, dropped, forked, hung, twice there, and in a new epoch."""

from __future__ import annotations

import gc
import os
import time
import weakref

import pytest

from circuitry.policies import FailureRate, SlowCallRate, last
from circuitry.redis import pooling
from circuitry.testing import ManualClock

from .fleet_scenes import Child
from .store_tools import eventually
from .test_pooled_rates import HALF, fail, has_told_all, member, members, states, succeed, verdicts


def turns_of(store, seconds=0.5):
    """How often the link has something to do in this time."""
    link, turns = store._link, []
    turn = link._turn
    link._turn = lambda session: (turns.append(1), turn(session))
    time.sleep(seconds)
    del link._turn
    return len(turns)


def test_while_a_circuit_is_open_for_all_its_link_rests(join):
    (breaker,) = members(join, 1)
    fail(breaker, 12)
    eventually(lambda: verdicts([breaker]) == ["fleet"])
    assert turns_of(join.stores[0]) < 20


def test_while_a_circuit_is_open_alone_its_link_rests(join):
    breaker, other = members(join, 2)
    succeed(other, 90)
    fail(breaker, 12)
    has_told_all(breaker)
    has_told_all(other)
    assert verdicts([breaker, other]) == ["local", "local"]
    assert turns_of(join.stores[0]) < 20


def test_a_circuit_that_is_dropped_tells_no_more(join):
    breaker, other = members(join, 2)
    fail(breaker, 5)
    has_told_all(breaker)
    gate, evidence = weakref.ref(breaker._gate), weakref.ref(breaker)
    del breaker
    gc.collect()
    assert evidence() is None
    eventually(lambda: gate() is None)
    fail(other, 1)


def test_a_circuit_that_has_left_its_fleet_tells_it_no_more(join):
    breaker, _ = members(join, 2)
    fail(breaker, 5)
    has_told_all(breaker)
    gate = weakref.ref(breaker._gate)
    breaker._join(None)
    eventually(lambda: gate() is None)


def test_a_circuit_that_an_operator_has_opened_here_tells_no_more(join):
    breaker, other = members(join, 2)
    fail(breaker, 5)
    has_told_all(breaker)
    breaker.force_open(local=True)
    eventually(lambda: breaker._gate.pooling.look_at == pooling.NEVER)
    assert states([breaker, other]) == ["forced_open", "closed"]


def test_two_circuits_of_one_name_in_one_process_both_count(join):
    from circuitry import CircuitBreaker

    store = join.store()
    breakers = [CircuitBreaker("netflix", store=store, trip=HALF, timeout_duration=30.0) for _ in range(2)]
    assert store.wait_ready(5)
    for breaker in breakers:
        fail(breaker, 6)
    eventually(lambda: verdicts(breakers) == ["fleet", "fleet"])


def test_two_circuits_of_one_name_are_one_process_for_a_quorum(join):
    from circuitry import CircuitBreaker

    members(join, 1, quorum=2)
    store = join.store(quorum=2)
    breakers = [CircuitBreaker("netflix", store=store, trip=HALF, timeout_duration=30.0) for _ in range(2)]
    assert store.wait_ready(5)
    for breaker in breakers:
        fail(breaker, 6)
        has_told_all(breaker)
    assert states(breakers) == ["closed", "closed"]


def test_after_all_was_flushed_nothing_is_judged_before_all_have_told_anew(join):
    rule = FailureRate(0.5, window=last(100), minimum_calls=10)
    sick, ill, well = breakers = members(join, 3, trip=rule)
    succeed(well, 60)
    fail(sick, 6), fail(ill, 6)
    for breaker in breakers:
        has_told_all(breaker)
    time.sleep(0.5)  # until they are quiet
    before = {breaker._gate.epoch for breaker in breakers}
    join.client.flushall()
    for store in join.stores:
        store._link._session._next_check = 0.0
    fail(sick, 1)
    eventually(lambda: not before & {breaker._gate.epoch for breaker in breakers})
    for breaker in breakers:
        has_told_all(breaker)
    fail(sick, 1), fail(ill, 1)
    time.sleep(0.3)
    assert states(breakers) == ["closed"] * 3


def hang(breaker, clock, times):
    permits = [breaker.acquire() for _ in range(times)]
    clock.advance(2)
    return permits


@pytest.mark.parametrize("end", ["none", "cancelled"])
def test_calls_that_hang_are_told(join, end):
    rule = SlowCallRate(0.5, slower_than=1.0, window=last(100), minimum_calls=6)
    clocks = [ManualClock(), ManualClock()]
    breakers = [member(join, {"trip": rule, "clock": clock}) for clock in clocks]
    held = []
    for breaker, clock in zip(breakers, clocks, strict=True):
        permits = hang(breaker, clock, 4)
        if end == "cancelled":
            for permit in permits:
                permit.release()
        else:
            held += [*permits, breaker.acquire()]
    eventually(lambda: verdicts(breakers) == ["fleet", "fleet"])
    eventually(lambda: all(breaker._gate.pooling.look_at == pooling.NEVER for breaker in breakers))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_what_a_parent_has_counted_its_forked_children_do_not_tell_again(join):
    parent, other = members(join, 2)
    fail(parent, 7)
    has_told_all(parent)

    def in_child():
        succeed(parent, 1)
        join.stores[0].wait_ready(5)
        fail(parent, 1)
        has_told_all(parent)
        assert parent._circuit.evidence.windows[0].calls == 2

    child = Child(in_child)
    try:
        assert child.said
        assert states([parent, other]) == ["closed", "closed"]
    finally:
        child.kill()
