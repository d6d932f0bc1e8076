"""One breaker under many threads: nothing is lost, nothing is told twice, and no limit is passed."""

from __future__ import annotations

import random
import threading
from collections import Counter
from itertools import pairwise
from queue import SimpleQueue

import pytest

from circuitry import CircuitBreaker, CircuitOpenError
from circuitry.testing import ManualClock

pytestmark = pytest.mark.core

CALLS = 20_000


def mixed(breaker, clock, calls=CALLS):
    """Work for a thread: calls that succeed, fail, are excluded or rejected. It counts them itself."""

    @breaker
    def outcome(number):
        if number < 0.30:
            raise OSError("down")
        if number < 0.35:
            raise LookupError("excluded")
        return number

    def work(seed):
        numbers, counted = random.Random(seed), Counter()
        for turn in range(calls):
            if turn % 50 == 0:
                clock.advance(1)
            try:
                outcome(numbers.random())
            except CircuitOpenError:
                counted["rejected"] += 1
            except OSError:
                counted["failures"] += 1
            except LookupError:
                counted["ignored"] += 1
            else:
                counted["successes"] += 1
        return counted

    return work


def check_chain(events, breaker):
    """Each change begins where the one before it ended, and all of them were told, once."""
    assert events[0].old_state == "closed"
    for before, after in pairwise(events):
        assert before.new_state is after.old_state
    assert events[-1].new_state is breaker.state
    metrics = breaker.metrics()
    told = Counter(str(event.new_state) for event in events)
    assert told == metrics.entered
    assert (told["open"], told["half_open"]) == (metrics.opened, metrics.recovery_attempts)


def test_totals_add_up_and_each_opening_is_told_once(hammer):
    clock = ManualClock()
    breaker = CircuitBreaker("netflix", failure_threshold=4, success_threshold=2, timeout_duration=3,
                             exclude=LookupError, clock=clock)  # fmt: skip
    events = []
    breaker.on_transition(events.append)
    counted = sum(hammer(mixed(breaker, clock)), Counter())
    metrics = breaker.metrics()
    for name in ("successes", "failures", "ignored", "rejected"):
        assert getattr(metrics, name) == counted[name] > 0
    assert sum(counted.values()) == 8 * CALLS
    assert metrics.calls == 8 * CALLS - counted["rejected"]
    assert metrics.half_open_calls == 0
    assert len(events) > 10
    check_chain(events, breaker)


def test_snapshots_taken_meanwhile_only_grow(hammer):
    clock = ManualClock()
    breaker = CircuitBreaker("netflix", failure_threshold=4, timeout_duration=3,
                             exclude=LookupError, clock=clock)  # fmt: skip
    work, totals = mixed(breaker, clock, 2000), ("successes", "failures", "ignored", "rejected", "opened")

    def watch(number):
        if number:
            return work(number)
        seen = [breaker.metrics() for _ in range(2000)]
        for before, after in pairwise(seen):
            assert all(getattr(before, name) <= getattr(after, name) for name in totals)
        return Counter()

    counted = sum(hammer(watch), Counter())
    assert breaker.metrics().calls == counted.total() - counted["rejected"]


def test_threads_that_fail_at_once_open_the_circuit_once(hammer):
    breaker = CircuitBreaker("netflix", failure_threshold=8)
    events, rounds = [], threading.Barrier(8, timeout=60)
    breaker.on_transition(lambda event: events.append(str(event.new_state)))

    def work(_):
        for _ in range(200):
            permit = breaker.acquire()
            if rounds.wait() == 0:
                events.clear()
            rounds.wait()
            permit.failure()
            if rounds.wait() == 0:
                assert events == ["open"]
                breaker.reset()
            rounds.wait()

    hammer(work)
    metrics = breaker.metrics()
    assert (metrics.opened, metrics.failures) == (200, 1600)


def test_more_failures_than_needed_open_it_once_too(hammer):
    breaker = CircuitBreaker("netflix", failure_threshold=3)
    events, rounds = [], threading.Barrier(8, timeout=60)
    breaker.on_transition(events.append)

    def work(_):
        for _ in range(200):
            permit = breaker.acquire()
            rounds.wait()
            permit.failure()
            if rounds.wait() == 0:
                breaker.reset()
            rounds.wait()

    hammer(work)
    assert len(events) == 400
    check_chain(events, breaker)


def test_probes_in_flight_never_pass_the_limit(hammer):
    clock = ManualClock()
    breaker = CircuitBreaker("netflix", failure_threshold=1, success_threshold=10**9,
                             half_open_max_calls=3, clock=clock)  # fmt: skip
    breaker.acquire().failure()
    clock.advance(30)
    in_flight, most, lock = set(), [0], threading.Lock()

    def work(number):
        admitted = 0
        for turn in range(3000):
            try:
                permit = breaker.acquire()
            except CircuitOpenError:
                continue
            admitted += 1
            with lock:
                in_flight.add(number)
                most[0] = max(most[0], len(in_flight))
            with lock:
                in_flight.discard(number)
            permit.success() if turn % 2 else permit.release()
        return admitted

    admitted = sum(hammer(work))
    assert 1 <= most[0] <= 3
    metrics = breaker.metrics()
    assert (metrics.calls, metrics.half_open_calls) == (admitted + 1, 0)
    assert metrics.rejected == 8 * 3000 - admitted


def test_at_the_deadline_as_many_as_the_limit_get_through(hammer):
    clock = ManualClock()
    breaker = CircuitBreaker("netflix", failure_threshold=1, success_threshold=10**9,
                             half_open_max_calls=3, clock=clock)  # fmt: skip
    rounds, probes = threading.Barrier(8, timeout=60), []

    def work(_):
        for _ in range(100):
            if rounds.wait() == 0:
                breaker.reset()
                breaker.acquire().failure()
                clock.advance(30)
                probes.clear()
            rounds.wait()
            try:
                probes.append(breaker.acquire())
            except CircuitOpenError:
                pass
            if rounds.wait() == 0:
                assert len(probes) == 3
                assert breaker.metrics().half_open_calls == 3

    hammer(work)
    for probe in probes:
        probe.release()


def test_permits_are_resolved_in_other_threads(hammer):
    breaker = CircuitBreaker("netflix", failure_threshold=10**9)
    waiting = SimpleQueue()

    def work(number):
        if number % 2:
            for _ in range(2000):
                waiting.put(breaker.acquire())
            return Counter()
        counted = Counter()
        for turn in range(2000):
            permit = waiting.get(timeout=60)
            how = ("success", "failure", "release")[turn % 3]
            getattr(permit, how)()
            counted[how] += 1
        return counted

    counted = sum(hammer(work), Counter())
    metrics = breaker.metrics()
    assert metrics.successes == counted["success"]
    assert (metrics.failures, metrics.ignored) == (counted["failure"], counted["release"])


def test_the_reader_of_a_streak_and_its_writers(hammer):
    """A streak that is read while it grows and ends is never seen above its limit or below zero."""
    breaker = CircuitBreaker("netflix", failure_threshold=10**9)

    def work(number):
        for _ in range(3000):
            if number == 0:
                assert 0 <= breaker.failure_count <= 3 * 3000
            elif number < 4:
                breaker.acquire().failure()
            else:
                breaker.acquire().success()

    hammer(work)
    breaker.acquire().success()
    assert breaker.failure_count == 0
