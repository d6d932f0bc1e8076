"""At any time, however long or short the durations are: a wait is honest, and never negative."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuitry import machine
from circuitry.states import CircuitState, Limits, Outcome, Rejection

pytestmark = pytest.mark.core

seconds = st.floats(min_value=1e-9, max_value=1e9)
moments = st.floats(min_value=0.0, max_value=1e12)
limits = st.builds(
    Limits,
    failure_threshold=st.integers(1, 2),
    success_threshold=st.integers(1, 3),
    timeout_duration=seconds,
    half_open_max_calls=st.integers(1, 3),
    probe_timeout=seconds,
    rule=st.none(),
    clock=st.none(),
)
moves = st.lists(
    st.tuples(
        st.sampled_from(["call", "call", *Outcome]), st.sampled_from([0.0, 0.5, 1.0]) | st.floats(0, 2)
    ),
    max_size=30,
)


def play(limits, start, moves):
    """The circuit and the time after each move; time goes on by so many timeouts before it."""
    circuit, now, out = machine.new(limits), start, []
    for move, timeouts in moves:
        now += timeouts * limits.timeout_duration
        if move == "call" or not out:
            circuit, verdict = machine.admit(circuit, limits, now)
            out += [] if isinstance(verdict, Rejection) else [verdict]
        else:
            circuit = machine.record(circuit, limits, out.pop(), move, now, "refused")
        yield circuit, now


@given(limits, moments, moves)
def test_a_wait_is_never_negative_and_never_longer_than_what_is_waited_for(limits, start, moves):
    longest = max(limits.timeout_duration, limits.probe_timeout)
    for circuit, now in play(limits, start, moves):
        wait = machine.retry_after(circuit, limits, now)
        assert 0.0 <= wait <= longest + math.ulp(now + longest)


@given(limits, moments, moves)
def test_who_has_to_wait_is_rejected_and_who_has_not_is_admitted(limits, start, moves):
    for circuit, now in play(limits, start, moves):
        wait = machine.retry_after(circuit, limits, now)
        verdict = machine.admit(circuit, limits, now)[1]
        assert isinstance(verdict, Rejection) == (wait > 0)
        assert wait == 0 or verdict == (circuit.state, wait, circuit.cause)


@given(limits, moments, moves, st.floats(0, 1))
def test_time_alone_only_shortens_a_wait(limits, start, moves, part):
    for circuit, now in play(limits, start, moves):
        wait = machine.retry_after(circuit, limits, now)
        assert machine.retry_after(circuit, limits, now + part * wait) <= wait


@given(limits, moments, moves)
def test_after_the_wait_a_call_is_admitted(limits, start, moves):
    for circuit, now in play(limits, start, moves):
        wait = machine.retry_after(circuit, limits, now)
        later = math.nextafter(now + wait, math.inf)  # a sum of floats may fall short by a hair
        assert not isinstance(machine.admit(circuit, limits, later)[1], Rejection)


@given(limits, moments, moves)
def test_the_probes_in_flight_keep_to_their_limit(limits, start, moves):
    for circuit, now in play(limits, start, moves):
        assert len(machine.in_flight(circuit, now)) <= limits.half_open_max_calls
        assert circuit.judged is CircuitState.HALF_OPEN or not circuit.slots
