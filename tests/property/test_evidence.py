"""Evidence, counters and rates against lists that are counted anew."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuitry.metrics import Counter, Totals
from circuitry.windows import Streak

pytestmark = pytest.mark.core

outcomes = st.lists(st.sampled_from(["failure", "success"]), max_size=30)


def run_of(outcomes):
    """How many failures in a row a list ends with."""
    failures = 0
    while failures < len(outcomes) and outcomes[-1 - failures] == "failure":
        failures += 1
    return failures


@given(st.integers(1, 6), outcomes)
def test_a_streak_is_the_failures_at_the_end(limit, outcomes):
    streak = Streak(limit)
    for number, outcome in enumerate(outcomes, 1):
        answer = getattr(streak, outcome)()
        run = run_of(outcomes[:number])
        assert streak.failures == run
        assert streak.run is (run > 0)
        assert answer is (outcome == "failure" and run >= limit)


@given(outcomes, outcomes)
def test_a_copy_of_a_streak_goes_on_from_there_by_itself(before, after):
    streak = Streak(100)
    for outcome in before:
        getattr(streak, outcome)()
    other = copy.copy(streak)
    for outcome in after:
        getattr(other, outcome)()
    assert streak.failures == run_of(before)
    assert other.failures == run_of(before + after)


@given(st.lists(st.sampled_from(["add", "read"])))
def test_a_counter_reads_how_often_it_was_added_to(moves):
    counter, added = Counter(), 0
    for move in moves:
        if move == "add":
            counter.add()
            added += 1
        else:
            assert counter.read() == added
    assert counter.read() == added


@given(st.lists(st.sampled_from(["failure", "success", "closing", "read"])))
def test_the_failure_rate_is_of_what_came_since_the_last_closing(moves):
    totals, since = Totals(), []
    for move in moves:
        if move == "closing":
            totals.closing()
            since.clear()
        elif move != "read":
            (totals.failures if move == "failure" else totals.successes).add()
            since.append(move)
        rate = totals.failure_rate(totals.successes.read(), totals.failures.read())
        assert rate == (since.count("failure") / len(since) if since else 0.0)
