"""`metrics()`: a frozen snapshot, exact once quiet."""

from __future__ import annotations

import dataclasses
import time

import pytest

from circuitry import CircuitBreakerMetrics, CircuitOpenError
from circuitry.metrics import Counter

pytestmark = pytest.mark.core


def test_of_a_new_breaker(breaker):
    assert breaker.metrics() == CircuitBreakerMetrics(
        name="netflix",
        state="closed",
        failure_count=0,
        success_count=0,
        half_open_calls=0,
        failure_rate=0.0,
        recovery_attempts=0,
        calls=0,
        successes=0,
        failures=0,
        ignored=0,
        rejected=0,
        fallbacks=0,
        opened=0,
        last_failure_at=None,
        retry_after=0.0,
        shed_share=0.0,
        shadow_state=None,
        shadow_rejected=0,
        verdict="local",
        entered={},
    )


def test_it_is_frozen_and_does_not_follow(breaker, fail):
    metrics = breaker.metrics()
    fail(breaker)
    assert metrics.failures == 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        metrics.failures = 5


def test_after_a_whole_life(breaker, clock, fail):
    breaker.acquire().success()
    breaker.acquire().release()
    fail(breaker, 3)
    with pytest.raises(CircuitOpenError):
        breaker.acquire()
    clock.advance(10)
    probe = breaker.acquire()
    assert breaker.metrics() == CircuitBreakerMetrics(
        name="netflix",
        state="half_open",
        failure_count=0,
        success_count=0,
        half_open_calls=1,
        failure_rate=0.75,
        recovery_attempts=1,
        calls=5,
        successes=1,
        failures=3,
        ignored=1,
        rejected=1,
        fallbacks=0,
        opened=1,
        last_failure_at=breaker.metrics().last_failure_at,
        retry_after=0.0,
        shed_share=0.0,
        shadow_state=None,
        shadow_rejected=0,
        verdict="local",
        entered={"open": 1, "half_open": 1},
    )
    probe.success()
    breaker.acquire().success()
    metrics = breaker.metrics()
    assert metrics.entered == {"open": 1, "half_open": 1, "closed": 1}
    assert (metrics.calls, metrics.successes, metrics.failure_rate) == (7, 3, 0.0)


def test_the_failure_rate_is_of_the_calls_since_the_last_closing(breaker, clock, fail):
    breaker.acquire().success()
    fail(breaker)
    assert breaker.metrics().failure_rate == 0.5
    breaker.acquire().release()
    assert breaker.metrics().failure_rate == 0.5, "ignored calls are no part of it"
    breaker.reset()
    assert breaker.metrics().failure_rate == 0.0
    fail(breaker)
    assert breaker.metrics().failure_rate == 1.0


def test_late_results_are_in_the_totals(breaker, fail):
    late = [breaker.acquire() for _ in range(3)]
    fail(breaker, 3)
    late[0].success()
    late[1].failure()
    late[2].release()
    metrics = breaker.metrics()
    assert (metrics.successes, metrics.failures, metrics.ignored, metrics.calls) == (1, 4, 1, 6)
    assert metrics.opened == 1


def test_the_streak_and_the_probes_successes_belong_to_their_states(breaker, clock, fail):
    fail(breaker, 2)
    assert (breaker.failure_count, breaker.metrics().failure_count) == (2, 2)
    fail(breaker)
    assert (breaker.failure_count, breaker.success_count) == (0, 0)
    clock.advance(10)
    breaker.acquire().success()
    assert (breaker.success_count, breaker.metrics().success_count) == (1, 1)
    breaker.acquire().success()
    assert (breaker.success_count, breaker.failure_count) == (0, 0)


def test_probes_that_lost_their_slot_are_not_in_flight(make_breaker, clock, fail):
    breaker = make_breaker(probe_timeout=4)
    fail(breaker, 3)
    clock.advance(10)
    probe = breaker.acquire()
    assert breaker.metrics().half_open_calls == 1
    clock.advance(4)
    assert breaker.metrics().half_open_calls == 0
    probe.release()


def test_the_last_failure_is_dated_by_the_wall_clock(breaker):
    before = time.time()
    breaker.acquire().failure()
    assert before <= breaker.metrics().last_failure_at <= time.time()


def test_forced_states_are_counted_as_entered_and_are_no_openings(breaker):
    breaker.force_open()
    breaker.disable()
    breaker.shadow()
    metrics = breaker.metrics()
    assert metrics.entered == {"forced_open": 1, "disabled": 1, "shadow": 1}
    assert (metrics.opened, metrics.recovery_attempts) == (0, 0)


def test_reading_does_not_change_what_is_read(breaker, fail):
    fail(breaker, 2)
    assert breaker.metrics() == breaker.metrics() == breaker.metrics()


def test_a_counter_counts_what_was_added_however_often_it_is_read():
    counter = Counter()
    seen = [counter.read()]
    for _ in range(3):
        counter.add()
        seen += [counter.read(), counter.read()]
    assert seen == [0, 1, 1, 2, 2, 3, 3]
