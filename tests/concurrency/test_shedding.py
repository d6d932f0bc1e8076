"""A breaker that sheds a share of its calls, under many threads: totals and transitions are never lost."""

from __future__ import annotations

from collections import Counter

import pytest

from circuitry import CircuitBreaker
from circuitry.policies import Adaptive, FailureRate, last, within
from circuitry.testing import ManualClock

from .test_hammering import check_chain, mixed

pytestmark = pytest.mark.core

CALLS = 2_000
TOTALS = ("successes", "failures", "ignored", "rejected")


@pytest.mark.parametrize("window", [last(50), within(2)], ids=repr)
def test_where_it_is_overloaded_totals_add_up_and_it_never_opens(hammer, window):
    clock, events = ManualClock(), []
    breaker = CircuitBreaker("netflix", trip=Adaptive(1.0, window), exclude=LookupError, clock=clock)
    breaker.on_transition(events.append)
    counted = sum(hammer(mixed(breaker, clock, CALLS)), Counter())
    metrics = breaker.metrics()
    for name in TOTALS:
        assert getattr(metrics, name) == counted[name] > 0
    assert (events, metrics.state, metrics.entered) == ([], "closed", {})
    assert 0 <= metrics.shed_share < 1


def test_after_all_the_races_nothing_is_shed_any_more(hammer):
    clock = ManualClock()
    breaker = CircuitBreaker("netflix", trip=Adaptive(1.0, within(2)), exclude=LookupError, clock=clock)
    hammer(mixed(breaker, clock, CALLS))
    clock.advance(3)
    assert breaker.metrics().shed_share == 0.0
    for _ in range(100):
        breaker.acquire().success()
    breaker.reconfigure(trip=Adaptive(2.0, within(2)))
    for failures in range(1, 4):
        breaker.acquire().failure()
        assert breaker.failure_count == failures


def test_in_ramps_totals_add_up_and_each_opening_is_told_once(hammer):
    clock, events = ManualClock(), []
    breaker = CircuitBreaker(
        "netflix", failure_threshold=6, success_threshold=1, timeout_duration=2, ramp_up=5,
        exclude=LookupError, clock=clock,
    )  # fmt: skip
    breaker.on_transition(events.append)
    counted = sum(hammer(mixed(breaker, clock, CALLS)), Counter())
    metrics = breaker.metrics()
    for name in TOTALS:
        assert getattr(metrics, name) == counted[name] > 0
    assert len(events) > 10
    check_chain(events, breaker)


def test_the_end_of_a_ramp_is_noticed_by_one_of_those_who_come(hammer):
    clock = ManualClock()
    breaker = CircuitBreaker("netflix", failure_threshold=1, success_threshold=1, ramp_up=5, clock=clock)
    breaker.acquire().failure()
    clock.advance(30)
    breaker.acquire().success()
    clock.advance(5)
    hammer(lambda _: [breaker.acquire().success() for _ in range(200)])
    assert breaker.evidence is breaker._circuit.evidence is not None
    assert breaker.metrics().successes == 1 + 8 * 200


def test_settings_may_change_meanwhile(hammer):
    clock, events = ManualClock(), []
    breaker = CircuitBreaker(
        "netflix", failure_threshold=6, success_threshold=1, timeout_duration=2, ramp_up=5,
        exclude=LookupError, clock=clock,
    )  # fmt: skip
    breaker.on_transition(events.append)
    work = mixed(breaker, clock, CALLS)
    settings = [
        {"trip": Adaptive(1.0, last(20)), "ramp_up": None},
        {"trip": Adaptive(1.5, last(20))},
        {"failure_threshold": 4, "ramp_up": 3},
        {"ramp_up": None},
        {"ramp_up": 8},
        {"trip": FailureRate(0.5, last(20), 10)},
        {"failure_threshold": 6, "ramp_up": 5},
    ]

    def change(number):
        if number:
            return work(number)
        for turn in range(210):
            breaker.reconfigure(**settings[turn % len(settings)])
        return Counter()

    counted = sum(hammer(change), Counter())
    metrics = breaker.metrics()
    assert metrics.calls == counted.total() - counted["rejected"]
    assert metrics.rejected == counted["rejected"]
    check_chain(events, breaker)
