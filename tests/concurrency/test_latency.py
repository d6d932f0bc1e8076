"""The time of calls under many threads: none is lost, and none counted twice."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from circuitry import CircuitBreaker
from circuitry.latency import BOUNDS, Histogram
from circuitry.policies import SlowCallRate, last
from circuitry.testing import ManualClock

from .test_hammering import mixed

pytestmark = pytest.mark.core

CALLS = 5_000


def test_each_call_is_in_its_bucket_in_the_sum_and_in_the_maximum(hammer):
    histogram = Histogram()

    def work(number):
        chance = random.Random(number)
        durations = [chance.choice(BOUNDS[::8]) for _ in range(CALLS)]
        for seconds in durations:
            histogram.add(seconds * 8.0)  # sums of them aren't exact; of what follows they are
        return durations

    durations = [seconds * 8.0 for each in hammer(work) for seconds in each]
    latency = histogram.read()
    assert latency.calls == len(durations)
    assert latency.maximum == max(durations)
    assert latency.total == pytest.approx(sum(durations), rel=1e-9)


def test_the_sum_loses_nothing(hammer):
    histogram = Histogram()

    def work(number):
        for _ in range(CALLS):
            histogram.add(0.125)
        histogram.add(float(number))

    hammer(work)
    latency = histogram.read()
    assert (latency.total, latency.maximum) == (8 * CALLS * 0.125 + sum(range(8)), 7.0)


RULES = [None, SlowCallRate(0.5, slower_than=1.5, window=last(20), minimum_calls=10)]


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_as_many_are_timed_as_have_ended(hammer, rule):
    clock = ManualClock()
    breaker = CircuitBreaker(
        "netflix",
        trip=rule,
        success_threshold=2,
        timeout_duration=3,
        exclude=LookupError,
        clock=clock,
        latency=True,
    )
    counted = sum(hammer(mixed(breaker, clock, 2_000)), Counter())
    metrics = breaker.metrics()
    ended = counted["successes"] + counted["failures"] + counted["ignored"]
    assert metrics.latency.calls == metrics.calls == ended > 0
