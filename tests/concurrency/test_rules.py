"""A breaker that goes by a rule, under many threads: samples may be lost, transitions and totals never."""

from __future__ import annotations

import random
import threading
from collections import Counter

import pytest

from circuitry import CircuitBreaker, CircuitOpenError
from circuitry.policies import ConsecutiveFailures, FailureRate, SlowCallRate, last, within
from circuitry.testing import ManualClock

from .test_hammering import check_chain, mixed

pytestmark = pytest.mark.core

CALLS = 3_000
RULES = [
    FailureRate(0.3, window=last(20), minimum_calls=10),
    FailureRate(0.3, window=within(2), minimum_calls=10),
    ConsecutiveFailures(4) | FailureRate(0.9, window=last(20), minimum_calls=10),
    SlowCallRate(0.5, slower_than=1.5, window=last(20), minimum_calls=10) | ConsecutiveFailures(4),
    FailureRate(0.2, window=last(20), minimum_calls=10) & ConsecutiveFailures(3),
]


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_totals_add_up_and_each_opening_is_told_once(hammer, rule):
    clock, events = ManualClock(), []
    breaker = CircuitBreaker(
        "netflix", trip=rule, success_threshold=2, timeout_duration=3, exclude=LookupError, clock=clock
    )
    breaker.on_transition(events.append)
    counted = sum(hammer(mixed(breaker, clock, CALLS)), Counter())
    metrics = breaker.metrics()
    for name in ("successes", "failures", "ignored", "rejected"):
        assert getattr(metrics, name) == counted[name] > 0
    assert metrics.half_open_calls == 0
    check_chain(events, breaker)
    assert len(events) > 10


@pytest.mark.parametrize("rule", RULES[:3], ids=repr)
def test_threads_that_fail_at_once_open_it_once(hammer, rule):
    breaker = CircuitBreaker("netflix", trip=rule, clock=ManualClock())
    events, rounds = [], threading.Barrier(8, timeout=60)
    breaker.on_transition(lambda event: events.append(str(event.new_state)))

    def work(_):
        for _ in range(50):
            permits = [breaker.acquire() for _ in range(5)]
            if rounds.wait() == 0:
                events.clear()
            rounds.wait()
            for permit in permits:
                permit.failure()
            if rounds.wait() == 0:
                assert events == ["open"]
                breaker.reset()
            rounds.wait()

    hammer(work)
    assert breaker.metrics().opened == 50


def test_calls_that_hang_open_it_once(hammer):
    clock, events = ManualClock(), []
    rule = SlowCallRate(0.5, slower_than=1.0, window=last(20), minimum_calls=4)
    breaker = CircuitBreaker("netflix", trip=rule, clock=clock)
    breaker.on_transition(lambda event: events.append(str(event.new_state)))
    rounds = threading.Barrier(8, timeout=60)

    def work(_):
        for _ in range(50):
            permit = breaker.acquire()
            if rounds.wait() == 0:
                events.clear()
                clock.advance(2)
            rounds.wait()
            try:  # while one finds that it is time to trip, another may slip through
                breaker.acquire().release()
            except CircuitOpenError:
                pass
            rounds.wait()
            with pytest.raises(CircuitOpenError):
                breaker.acquire()
            permit.release()
            if rounds.wait() == 0:
                assert events == ["open"]
                breaker.reset()
            rounds.wait()

    hammer(work)
    assert breaker.metrics().opened == 50


def test_after_all_the_races_a_window_is_right_again(hammer):
    """What threads lose or count twice is gone once the window has turned."""
    breaker = CircuitBreaker("netflix", trip=FailureRate(1.0, window=last(50), minimum_calls=50))

    def work(seed):
        numbers = random.Random(seed)
        for _ in range(CALLS):
            permit = breaker.acquire()
            permit.failure() if numbers.random() < 0.3 else permit.success()

    hammer(work)
    for _ in range(100):
        breaker.acquire().success()
    assert breaker.failure_count == 0
    for expected in range(1, 40):
        breaker.acquire().failure()
        assert breaker.failure_count == expected


def test_settings_may_change_meanwhile(hammer):
    clock, events = ManualClock(), []
    breaker = CircuitBreaker(
        "netflix", trip=RULES[0], success_threshold=2, timeout_duration=3, exclude=LookupError, clock=clock
    )
    breaker.on_transition(events.append)
    work = mixed(breaker, clock, CALLS)

    def change(number):
        if number:
            return work(number)
        for turn in range(300):
            breaker.reconfigure(trip=RULES[turn % len(RULES)])
        return Counter()

    counted = sum(hammer(change), Counter())
    metrics = breaker.metrics()
    assert metrics.calls == counted.total() - counted["rejected"]
    check_chain(events, breaker)
