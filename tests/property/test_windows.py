"""Windows and trees of rules against lists that are counted anew."""

from __future__ import annotations

import operator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuitry.machine import new, record
from circuitry.policies import ConsecutiveFailures, FailureRate, MinimumCalls, last, within
from circuitry.states import Limits, Outcome
from circuitry.testing import ManualClock
from circuitry.tripping import Policy, rules_in
from circuitry.windows import LastCalls, WithinSeconds

pytestmark = pytest.mark.core

shares = st.sampled_from([0.1, 0.25, 0.3, 0.5, 0.9, 1.0]) | st.floats(min_value=1e-3, max_value=1.0)
outcomes = st.lists(st.booleans(), max_size=60)
#: Seconds before each outcome: nothing, little, about a window, and far more.
timed = st.lists(
    st.tuples(st.sampled_from([0.0, 0.0, 0.3, 1.0, 2.9, 3.0, 3.1, 100.0]) | st.floats(0, 7), st.booleans()),
    max_size=60,
)


def too_many(latest, share, minimum):
    return len(latest) >= minimum and sum(latest) / len(latest) >= share


@given(st.integers(1, 12), shares, st.integers(1, 12), outcomes)
def test_the_last_calls_are_the_end_of_the_list(size, share, minimum, outcomes):
    window = LastCalls(size, share, minimum)
    for number, bad in enumerate(outcomes, 1):
        answer = window.add(bad)
        latest = outcomes[:number][-size:]
        assert (window.calls, window.bad, window.failures) == (len(latest), sum(latest), sum(latest))
        assert bool(answer) is window.holds() is too_many(latest, share, minimum)
        assert (answer is None) == (len(latest) == size and not any(latest) and not answer)


@given(st.integers(1, 6), shares, st.integers(1, 6), outcomes)
def test_what_it_calls_no_news_is_none(size, share, minimum, outcomes):
    """With those good ones left out, the answers to all others are the same."""
    told, spared = LastCalls(size, share, minimum), LastCalls(size, share, minimum)
    quiet = False
    for bad in outcomes:
        answer = told.add(bad)
        if bad or not quiet:
            quiet = spared.add(bad) is None
        assert spared.bad == told.bad
        assert spared.calls == told.calls
        assert spared.holds() is told.holds() is bool(answer)


@given(st.sampled_from([3.0, 0.1, 7.5, 60.0]), shares, st.integers(1, 5), st.floats(0, 1e6), timed)
def test_what_is_within_seconds_is_the_parts_of_the_list_that_are_young(
    seconds, share, minimum, start, moves
):
    clock, width, came = ManualClock(start), seconds / 30, []
    window = WithinSeconds(seconds, clock, share, minimum)
    for passed, bad in moves:
        clock.advance(passed * seconds / 3)
        here = clock() // width

        def young(here=here):
            return [each for part, each in came if part > here - 30]

        assert window.failures == sum(young())
        assert window.calls == len(young())
        came.append((here, bad))
        assert window.add(bad) is too_many(young(), share, minimum)
        assert window.holds() is too_many(young(), share, minimum)


@given(st.floats(0, 1e6), timed)
def test_an_outcome_is_within_them_for_29_thirtieths_at_least_and_for_all_of_them_at_most(start, moves):
    clock, came = ManualClock(start), []
    window = WithinSeconds(3.0, clock, 0.5, 1)
    for passed, bad in moves:
        clock.advance(passed)
        came.append(clock())
        window.add(bad)
        now, slack = clock(), 1e-6
        surely = sum(now - at <= 2.9 - slack for at in came)
        maybe = sum(now - at <= 3.0 + slack for at in came)
        assert surely <= window.calls <= maybe


# -- Trees ---------------------------------------------------------------------------------------------

rates = st.builds(
    FailureRate,
    shares,
    st.sampled_from([last(3), last(5), last(8), within(3.0)]),
    st.integers(1, 3),
)
trees = st.recursive(
    rates | st.builds(ConsecutiveFailures, st.integers(1, 4)),
    lambda inner: st.builds(operator.and_, inner, inner) | st.builds(operator.or_, inner, inner),
    max_leaves=5,
)


def holds(rule, came, now):
    """What a rule says, from the whole list of (time, failed)."""
    name = type(rule).__name__
    if name == "AnyOf":
        return any(holds(part, came, now) for part in rule.rules)
    if name == "AllOf":
        return all(holds(part, came, now) for part in rule.rules)
    said = [failed for _, failed in came]
    if name == "ConsecutiveFailures":
        return len(said) >= rule.threshold and all(said[-rule.threshold :])
    if rule.window.size is not None:
        latest = said[-rule.window.size :]
    else:
        width = rule.window.seconds / 30
        latest = [failed for at, failed in came if at // width > now // width - 30]
    return too_many(latest, rule.threshold, rule.minimum_calls)


@given(trees, timed)
def test_a_tree_of_rules_opens_the_circuit_when_the_list_says_so(tree, moves):
    clock, came = ManualClock(1000.0), []
    limits = Limits(rule=Policy(tree, repr(tree)), clock=clock)
    circuit = new(limits)
    for passed, failed in moves:
        clock.advance(passed)
        came.append((clock(), failed))
        evidence = circuit.evidence
        if failed or evidence.run:  # what needn't be told, isn't
            outcome = Outcome.FAILURE if failed else Outcome.SUCCESS
            circuit = record(circuit, limits, evidence, outcome, clock(), "down" if failed else None)
        assert (circuit.state == "open") is holds(tree, came, clock())
        if circuit.evidence is None:
            assert circuit.cause == ("down" if failed else repr(tree))
            break


@given(rates, trees, st.integers(1, 3))
def test_a_minimum_goes_into_each_rate_that_it_stands_beside(rate, tree, calls):
    for rule in (MinimumCalls(calls) & rate & tree, rate & tree & MinimumCalls(calls)):
        parts = rules_in(rule)
        assert not any(isinstance(part, MinimumCalls) for part in parts)
        assert next(part for part in parts if isinstance(part, FailureRate)).minimum_calls >= calls
