"""A family that panics, under many threads: the last word fits the members, and each turn is told once."""

from __future__ import annotations

import random

import pytest

from circuitry import CircuitBreaker, CircuitOpenError
from circuitry.config import CircuitBreakerConfig
from circuitry.family import CircuitFamily
from circuitry.testing import ManualClock

pytestmark = pytest.mark.core

CALLS = 1_500


def test_whatever_threads_do_to_the_members_the_panic_fits_them(hammer):
    clock = ManualClock()
    config = CircuitBreakerConfig(failure_threshold=1, success_threshold=1, timeout_duration=1)
    family = CircuitFamily(
        "shard", config, lambda name, *_: CircuitBreaker(name, config, clock=clock), 6, 0.5
    )
    events, rejected, served = [], [], []
    family.on_panic(events.append)

    def work(seed):
        chance = random.Random(seed)
        for turn in range(CALLS):
            breaker = family[chance.randrange(8)]
            try:
                permit = breaker.acquire()
            except CircuitOpenError:
                rejected.append(breaker)
                continue
            (permit.failure if chance.random() < 0.5 else permit.success)()
            served.append(breaker)
            if turn % 10 == 0:
                clock.advance(0.25)
            if turn % 50 == 0:
                breaker.reset()

    hammer(work)
    told = [event.panicking for event in events]
    assert len(told) > 10
    assert told == [turn % 2 == 0 for turn in range(len(told))]
    states = [str(breaker.state) for breaker in family]
    not_closed = sum(state in ("open", "half_open") for state in states)
    assert family.is_panicking is (not_closed >= 2 and not_closed / len(states) > 0.5) is (told[-1] is True)
    assert len(rejected) + len(served) == 8 * CALLS
    assert rejected
