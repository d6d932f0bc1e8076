"""A fleet that has recovered comes back slowly, all of it; what sheds calls by a rule follows its fleet."""

from __future__ import annotations

from circuitry import CircuitBreaker, CircuitOpenError
from circuitry.policies import Adaptive

from .fleet_scenes import open_for_all, probe_due, until


def admitted_of(breaker, calls):
    """How many of so many calls go out; the others are told that they were shed."""
    admitted = 0
    for _ in range(calls):
        try:
            permit = breaker.acquire()
        except CircuitOpenError as error:
            admitted += (error.state, error.retry_after) != ("closed", 0.0)
        else:
            permit.success()
            admitted += 1
    return admitted


def test_all_circuits_of_a_fleet_ramp_up_when_one_of_them_has_closed_it(join):
    one, other, plain = join(ramp_up=60.0), join(ramp_up=30.0), join()
    probe_due(one, other, plain)
    one.acquire().success()
    for breaker in (other, plain):
        until(lambda breaker=breaker: breaker.state == "closed", "it isn't told")
    assert 0.8 < one.metrics().shed_share <= 0.9
    assert 0.75 < other.metrics().shed_share <= 0.9
    assert plain.metrics().shed_share == 0.0
    assert plain.evidence is not None


def test_in_a_ramp_the_server_hears_of_no_call(join):
    one, other = join(ramp_up=60.0), join()
    probe_due(one, other)
    other.acquire().success()
    until(lambda: one.state == "closed", "it isn't told")
    before = join.commands()
    assert 0 < admitted_of(one, 300) < 150
    assert one.store.flush()
    assert join.commands() == before


def test_after_a_reset_for_all_none_of_them_does(join):
    one, other = join(ramp_up=60.0), join(ramp_up=60.0)
    open_for_all(one, other)
    one.reset()
    until(lambda: other.state == "closed", "it isn't told")
    assert one.metrics().shed_share == other.metrics().shed_share == 0.0


def test_a_circuit_that_sheds_by_its_rule_follows_its_fleet_and_tells_it_nothing(join):
    store, other = join.store(), join()
    throttled = CircuitBreaker("netflix", trip=Adaptive(), success_threshold=1, store=store)
    assert store.wait_ready(5)
    for permit in [throttled.acquire() for _ in range(9)]:
        permit.failure()
    assert throttled.metrics().shed_share == 0.9
    assert store.flush()
    assert other.failure_count == 0
    assert join.get("failures") in (None, "0")
    open_for_all(other, throttled)
    assert throttled.metrics().shed_share == 0.0
    other.reset()
    until(lambda: throttled.state == "closed", "it isn't told")
    assert throttled.metrics().shed_share == 0.0
