"""The memory of the last good results against a list of all that ever came."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuitry import CircuitBreaker, CircuitOpenError, last_good
from circuitry.testing import ManualClock, forced

pytestmark = pytest.mark.core

moves = st.lists(
    st.one_of(
        st.tuples(st.just("good"), st.integers(0, 4)),
        st.tuples(st.just("asked"), st.integers(0, 4)),
        st.tuples(st.just("waited"), st.sampled_from([1.0, 2.0, 3.0])),
    ),
    max_size=30,
)


def expected(history, asked, now, max_age, max_size):
    """The latest result for what is asked, if it is young, and one of the latest few renewed."""
    renewed = list(dict.fromkeys(argument for argument, _, _ in reversed(history)))[:max_size]
    latest = [(result, at) for argument, result, at in history if argument == asked]
    return latest[-1][0] if asked in renewed and now - latest[-1][1] <= max_age else None


@given(st.integers(1, 4), st.sampled_from([1.0, 3.0, 100.0]), moves)
def test_it_serves_the_last_good_result_of_the_same_arguments(max_size, max_age, moves):
    clock, history = ManualClock(1000.0), []
    breaker = CircuitBreaker("netflix", clock=clock)
    stand_in = last_good(max_age=max_age, max_size=max_size, clock=clock)

    def fetch(argument):
        return f"{argument} at move {len(history)}"

    for move, argument in moves:
        if move == "waited":
            clock.advance(argument)
        elif move == "good":
            result = breaker.call_with_fallback(fetch, stand_in, argument)
            history.append((argument, result, clock()))
        else:
            with forced(breaker, "open"):
                served = asked(breaker, fetch, stand_in, argument)
            assert served == expected(history, argument, clock(), max_age, max_size)


def asked(breaker, fetch, stand_in, argument):
    try:
        return breaker.call_with_fallback(fetch, stand_in, argument)
    except CircuitOpenError:
        return None
