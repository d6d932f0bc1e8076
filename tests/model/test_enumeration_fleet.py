"""Every state that a small circuit of a fleet can come to, and what the fleet's word does in each."""

from __future__ import annotations

import copy
from collections import defaultdict
from itertools import product

import pytest

from circuitry import machine
from circuitry.machine import ADMINISTRATIVE, TRANSITIONS
from circuitry.states import CircuitState, FleetVerdict, Outcome, Reason

from .enumeration import DECISIONS, TIMEOUT, Space

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
FORCED_OPEN, DISABLED, SHADOW = CircuitState.FORCED_OPEN, CircuitState.DISABLED, CircuitState.SHADOW


@pytest.fixture(scope="module", params=list(product((1, 2), (1, 2), (1, 2))), ids=str)
def space(request):
    return Space(*request.param, shared=True)


@pytest.fixture(scope="module")
def heard(space):
    """The fleet's verdicts: the circuit before, the circuit after, the verdict, and the probes then out."""
    return [
        (step.before.circuit, step.after.circuit, step.verdict, [probe for probe, _ in step.before.probes])
        for step in space.steps
        if isinstance(step.verdict, FleetVerdict)
    ]


@pytest.fixture(scope="module")
def followed(heard):
    """Those that began a generation."""
    return [step for step in heard if step[0].generation != step[1].generation]


def said(reason):
    return None if ADMINISTRATIVE[reason] is CLOSED else ADMINISTRATIVE[reason]


# -- Whose word goes first -------------------------------------------------------------------------------


def test_an_operators_word_here_goes_before_the_fleets(heard):
    for old, new, _, _ in heard:
        assert new.mode is old.mode
        assert new.mode is None or new.state is new.mode


def test_where_all_is_rejected_or_admitted_by_a_word_here_the_fleets_is_only_noted(heard):
    for old, new, verdict, _ in heard:
        if old.mode in (FORCED_OPEN, DISABLED):
            assert new == old._replace(fleet_mode=verdict.mode)


def test_the_fleets_operator_is_known_whatever_is_made_of_it(heard):
    for _, new, verdict, _ in heard:
        assert new.fleet_mode is verdict.mode


def test_a_word_here_takes_nothing_from_the_fleets_and_a_word_to_the_fleet_takes_back_the_one_here(space):
    for move, before, after, verdict in space.steps:
        old, new = before.circuit, after.circuit
        if move.startswith("a fleet's operator"):
            assert (new.mode, new.fleet_mode) == (None, said(new.reason))
        elif move.startswith("an operator"):
            assert (new.mode, new.fleet_mode) == (said(new.reason), old.fleet_mode)
        elif not isinstance(verdict, FleetVerdict):
            assert (new.mode, new.fleet_mode) == (old.mode, old.fleet_mode)


# -- What is followed --------------------------------------------------------------------------------------


def test_a_closed_fleet_closes_nothing_that_it_did_not_open_but_by_an_order(heard):
    for old, new, verdict, _ in heard:
        is_order = verdict.mode is not old.fleet_mode or verdict.reason == Reason.RESET
        if verdict.state is CLOSED and not is_order and not old.followed:
            assert new is old


def test_an_order_of_the_fleet_closes_whatever_opened_the_circuit(heard):
    for old, new, verdict, _ in heard:
        is_order = verdict.mode is not old.fleet_mode or verdict.reason == Reason.RESET
        if verdict.state is CLOSED and is_order and old.mode in (None, SHADOW):
            assert (new.judged, new.generation) == (CLOSED, old.generation + 1)


def test_a_fleet_that_recovered_closes_what_it_opened(heard):
    for old, new, verdict, _ in heard:
        if verdict.state is CLOSED and old.followed and old.judged is not CLOSED:
            assert (new.judged, new.generation) == (CLOSED, old.generation + 1)


def test_open_and_half_open_are_followed_wherever_calls_are_judged(heard):
    for old, new, verdict, _ in heard:
        judges = verdict.mode in (None, SHADOW) and old.mode in (None, SHADOW)
        if judges and verdict.state is not CLOSED:
            assert (new.judged, new.generation) == (verdict.state, old.generation + 1)


def test_a_fleet_that_rejects_or_admits_all_is_closed_beneath(followed):
    for _, new, verdict, _ in followed:
        if verdict.mode in (FORCED_OPEN, DISABLED):
            assert (new.judged, new.deadline, new.cause) == (CLOSED, 0.0, None)


# -- What following is ---------------------------------------------------------------------------------------


def test_each_verdict_that_is_followed_begins_a_generation_and_no_other_changes_more_than_the_note(heard):
    for old, new, verdict, _ in heard:
        if new.generation == old.generation:
            assert new is old or new == old._replace(fleet_mode=verdict.mode)
        else:
            assert new.generation == old.generation + 1
            assert (new.followed, new.reason) == (True, verdict.reason)


def test_what_changes_nothing_gives_the_very_same_circuit(heard):
    for old, new, _, _ in heard:
        assert new is old or new != old


def test_what_was_admitted_before_counts_nowhere(space, followed):
    for old, _, verdict, probes in followed:
        before = old._replace(evidence=copy.copy(old.evidence))
        after = machine.follow(before, space.limits, verdict)
        earlier = [*probes, *([] if before.evidence is None else [before.evidence])]
        for admission, outcome in product(earlier, Outcome):
            assert machine.record(after, space.limits, admission, outcome, 0, "late") is after
        assert after.evidence is None or after.evidence.failures == 0


def test_a_followed_generation_is_as_new(followed):
    for _, new, verdict, _ in followed:
        assert (new.successes, new.slots, new.probes) == (0, (), 0)
        assert new.evidence is None or new.evidence.failures == 0
        if new.judged is not CLOSED:
            assert new.cause == verdict.cause
        assert new.deadline == (verdict.deadline if new.judged is OPEN else 0)


def test_what_the_circuit_or_an_operator_here_decides_is_not_the_fleets(space):
    for _, before, after, verdict in space.steps:
        if after.circuit.generation != before.circuit.generation:
            assert after.circuit.followed == isinstance(verdict, FleetVerdict)
        else:
            assert after.circuit.followed == before.circuit.followed


# -- Edges ---------------------------------------------------------------------------------------------------


def test_every_edge_is_taken(space, followed):
    own, orders = defaultdict(set), defaultdict(set)
    for move, before, after, verdict in space.steps:
        old, new = before.circuit, after.circuit
        if new.generation == old.generation or isinstance(verdict, FleetVerdict):
            continue
        if "operator" in move:
            orders[move.startswith("a fleet"), old.mode, old.fleet_mode].add(new.reason)
        else:
            assert TRANSITIONS[old.judged, new.reason] is new.judged
            own[old.order].add((old.judged, new.reason))
    assert own == {None: set(TRANSITIONS), SHADOW: set(TRANSITIONS)}
    words = (None, FORCED_OPEN, DISABLED, SHADOW)
    assert orders == {place: set(ADMINISTRATIVE) for place in product((True, False), words, words)}
    led = {(old.judged, new.judged) for old, new, _, _ in followed}
    assert led == set(product((CLOSED, OPEN, HALF_OPEN), repeat=2))


def test_every_verdict_is_heard_in_every_state(space, heard):
    assert len(heard) == len(DECISIONS) * len(space.examples)


def test_only_calls_results_operators_and_the_fleet_change_a_state(space):
    changing = {
        step.move for step in space.steps if step.before.circuit.state is not step.after.circuit.state
    }
    assert changing == {
        *("call", "a call's failure", "a probe's success", "a probe's failure"),
        *(move for move in changing if move.startswith("a lost probe's")),
        *(f"{whose} operator's {reason}" for whose in ("an", "a fleet's") for reason in ADMINISTRATIVE),
        *("a fleet that is closed", "a fleet that is closed by reset"),
        *(f"a fleet that is {state}" for state in CircuitState if state is not CLOSED),
    }
    assert "a lost probe's ignored" not in changing


def test_deadlines_of_the_fleet_are_the_circuits_own(followed):
    waits = {new.deadline for _, new, _, _ in followed if new.judged is OPEN}
    assert min(waits) == TIMEOUT
    assert len(waits) > 1  # at other times, too
