"""The share that `Adaptive` sheds, and the share of a ramp, against lists that are counted anew."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuitry.machine import admit, new, record, shed_share, staged
from circuitry.policies import Adaptive, last, within
from circuitry.states import CircuitState, Limits, Outcome, Rejection
from circuitry.testing import ManualClock
from circuitry.tripping import Policy

pytestmark = pytest.mark.core

SUCCESS, FAILURE, IGNORED = Outcome.SUCCESS, Outcome.FAILURE, Outcome.IGNORED

ks = st.sampled_from([1.0, 1.5, 2.0, 3]) | st.floats(1.0, 100.0)
windows = st.sampled_from([last(1), last(4), last(9), within(3.0), within(0.1)])
lots = st.sampled_from([0.0, 0.25, 0.5, 0.9999]) | st.floats(0.0, 1.0, exclude_max=True)
#: Seconds before each call, what is drawn for it, and how it ends if it is let through.
calls = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.0, 0.01, 0.3, 1.0, 3.0, 100.0]),
        lots,
        st.sampled_from([SUCCESS, FAILURE, IGNORED]),
    ),
    max_size=60,
)


def in_window(came, window, now):
    """The outcomes that are in the window, of all (time, accepted)."""
    if window.size is not None:
        return [accepted for _, accepted in came[-window.size :]]
    width = window.seconds / 30
    return [accepted for at, accepted in came if at // width > now // width - 30]


def formula(k, latest):
    """From the book, with the naive list."""
    requests, accepts = len(latest), sum(latest)
    return max(0.0, (requests - k * accepts) / (requests + 1))


@given(ks, windows, calls)
def test_what_adaptive_sheds_is_the_formula_of_the_list(k, window, calls):
    clock, came, drawn = ManualClock(1000.0), [], []
    rule = Adaptive(k, window)
    limits = Limits(rule=Policy(rule, repr(rule), drawn.pop), clock=clock)
    circuit = first = new(limits)
    for passed, lot, outcome in calls:
        clock.advance(passed)
        share = formula(k, in_window(came, window, clock()))
        assert shed_share(circuit, limits, clock()) == share < 1
        drawn[:] = [lot]
        circuit, admission = admit(circuit, limits, clock())
        assert isinstance(admission, Rejection) == (lot < share)
        assert (drawn == []) == (share > 0)  # nothing is drawn where none is shed
        if isinstance(admission, Rejection):
            assert admission == (CircuitState.CLOSED, 0.0, None)
            came.append((clock(), False))
        elif outcome is not IGNORED:
            if outcome is FAILURE or admission.run:  # what needn't be told, isn't
                circuit = record(circuit, limits, admission, outcome, clock())
            came.append((clock(), outcome is SUCCESS))
        assert circuit.evidence.failures == in_window(came, window, clock()).count(False)
        assert circuit is first  # it never trips, and takes no step


@given(ks, windows, calls)
def test_its_entrance_admits_just_where_none_is_shed(k, window, calls):
    clock = ManualClock(1000.0)
    limits = Limits(rule=Policy(Adaptive(k, window), "", lambda: 1.0), clock=clock)
    evidence = new(limits).evidence
    for passed, _, outcome in calls:
        clock.advance(passed)
        assert (evidence.entrance() is evidence) == (evidence.shed_share == 0)
        evidence.failure() if outcome is FAILURE else evidence.success()


@given(st.sampled_from([1.0, 30.0, 0.3]), st.floats(-0.5, 1.5), lots)
def test_a_ramp_is_a_line_from_a_tenth_to_all(ramp_up, passed, lot):
    limits = Limits(ramp_up=ramp_up)
    circuit = staged(limits, CircuitState.CLOSED, 7, 0.0)._replace(full_at=100.0 + ramp_up)
    now = 100.0 + passed * ramp_up
    gone = min(max(Fraction(0), (Fraction(now) - 100) / Fraction(ramp_up)), Fraction(1))
    share = shed_share(circuit, limits, now)
    assert share == pytest.approx(float(Fraction(9, 10) * (1 - gone)), abs=1e-9)
    assert isinstance(admit(circuit, limits, now, lot)[1], Rejection) == (lot < share)
