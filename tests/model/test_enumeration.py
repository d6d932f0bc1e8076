"""Every state that a small circuit can come to, and every step from each: no sampling here."""

from __future__ import annotations

from collections import defaultdict
from itertools import product

import pytest

from circuitry import machine
from circuitry.machine import ADMINISTRATIVE, TRANSITIONS, WAIVED
from circuitry.states import CircuitState, Outcome, Probe, Rejection
from circuitry.windows import Streak

from .drivers import MachineDriver
from .enumeration import PROBE_TIMEOUT, TIMEOUT, Space, branch
from .reference import Reference, Rules

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
FORCED_OPEN, DISABLED, SHADOW = CircuitState.FORCED_OPEN, CircuitState.DISABLED, CircuitState.SHADOW

#: By failure_threshold, success_threshold and half_open_max_calls: how many states, and steps.
SIZES = {
    (1, 1, 1): (26, 222),
    (1, 1, 2): (46, 492),
    (1, 2, 1): (50, 492),
    (1, 2, 2): (100, 1212),
    (1, 3, 1): (82, 900),
    (1, 3, 2): (172, 2280),
    (2, 1, 1): (28, 238),
    (2, 1, 2): (48, 508),
    (2, 2, 1): (52, 508),
    (2, 2, 2): (102, 1228),
    (2, 3, 1): (84, 916),
    (2, 3, 2): (174, 2296),
    (3, 1, 1): (30, 254),
    (3, 1, 2): (50, 524),
    (3, 2, 1): (54, 524),
    (3, 2, 2): (104, 1244),
    (3, 3, 1): (86, 932),
    (3, 3, 2): (176, 2312),
}

#: The same for a circuit in a fleet.
SIZES_IN_A_FLEET = {
    (1, 1, 1): (166, 3610),
    (1, 1, 2): (306, 7320),
    (1, 2, 1): (334, 7684),
    (1, 2, 2): (684, 17274),
    (2, 1, 1): (178, 3862),
    (2, 1, 2): (318, 7572),
    (2, 2, 1): (346, 7936),
    (2, 2, 2): (696, 17526),
}

#: The same for one that ramps up for so many ticks, alone and in a fleet.
RAMP = 3
SIZES_WITH_A_RAMP = {
    ((1, 1, 1), False): (32, 276),
    ((2, 1, 1), False): (40, 346),
    ((2, 2, 2), False): (114, 1336),
    ((2, 1, 1), True): (226, 4918),
}

ALL_SIZES = {
    **{(numbers, False, 0): size for numbers, size in SIZES.items()},
    **{(numbers, True, 0): size for numbers, size in SIZES_IN_A_FLEET.items()},
    **{(*which, RAMP): size for which, size in SIZES_WITH_A_RAMP.items()},
}
SPACES = list(ALL_SIZES)
NAMES = [
    f"{'-'.join(map(str, numbers))}{'-shared' * shared}{'-ramp' * bool(ramp)}"
    for numbers, shared, ramp in SPACES
]


@pytest.fixture(scope="module", params=SPACES, ids=NAMES)
def space(request):
    numbers, shared, ramp_up = request.param
    return Space(*numbers, shared=shared, ramp_up=ramp_up)


@pytest.fixture(scope="module", params=list(SIZES), ids=str)
def alone(request):
    """For what isn't so in a fleet: test_enumeration_fleet.py has what is."""
    return Space(*request.param)


@pytest.fixture
def circuits(space):
    """Each state as a circuit, and the time."""
    return [(branch(example).circuit, example.now) for example in space.examples.values()]


def test_the_count_of_states_and_steps(space):
    size = ALL_SIZES[space.numbers, space.shared, space.limits.ramp_up]
    assert (len(space.examples), len(space.steps)) == size


# -- Steps -------------------------------------------------------------------------------------------


def test_every_step_is_what_the_reference_does(space):
    failure_threshold, success_threshold, probes = space.numbers
    rules = Rules(failure_threshold, success_threshold, TIMEOUT, probes, PROBE_TIMEOUT)
    rules = rules._replace(ramp_up=space.limits.ramp_up)
    driver = MachineDriver(rules, CLOSED)
    for step in space.steps:
        driver.circuit, driver.now = step.after.circuit, step.after.now
        reference = Reference(rules, CLOSED, step.after.now)
        reference.history = list(step.after.history)
        expected = reference.facts()
        seen = driver.facts()
        assert seen == {name: expected[name] for name in seen}, step
        if step.move == "call":
            rejected = reference.story().calls[-1].rejected
            assert (step.verdict == rejected) == isinstance(step.verdict, Rejection), step


def test_every_edge_of_the_tables_is_taken_and_no_other(alone):
    taken = defaultdict(set)
    for _, before, after, _ in alone.steps:
        old, new = before.circuit, after.circuit
        assert new.generation - old.generation in (0, 1)
        if new.generation == old.generation:
            assert (old.judged, old.mode, old.reason) == (new.judged, new.mode, new.reason)
        elif new.reason in ADMINISTRATIVE:
            assert new.judged is CLOSED
            taken[old.state, old.judged].add((new.reason, new.state))
        else:
            assert TRANSITIONS[old.judged, new.reason] is new.judged
            assert new.mode is old.mode
            taken[old.mode].add((old.judged, new.reason))
    anywhere = {(FORCED_OPEN, CLOSED), (DISABLED, CLOSED)}
    anywhere |= {(judged, judged) for judged in (CLOSED, OPEN, HALF_OPEN)}
    anywhere |= {(SHADOW, judged) for judged in (CLOSED, OPEN, HALF_OPEN)}
    legal = {where: set(ADMINISTRATIVE.items()) for where in anywhere}
    assert taken == {**legal, None: set(TRANSITIONS), SHADOW: set(TRANSITIONS)}


def test_only_a_call_a_result_or_an_operator_changes_a_state(alone):
    changing = {
        step.move for step in alone.steps if step.before.circuit.state is not step.after.circuit.state
    }
    assert changing == {
        "call",
        "a call's failure",
        "a probe's success",
        "a probe's failure",
        "a lost probe's success",
        "a lost probe's failure",
        *(f"an operator's {reason}" for reason in ADMINISTRATIVE),
    }


def test_an_ignored_call_changes_nothing_but_its_own_slot(space):
    for move, before, after, admission in space.steps:
        if move.endswith("ignored"):
            old, new = space.node(before), space.node(after)
            assert old._replace(slots=(), lost=0) == new._replace(slots=(), lost=0)
            kept = [
                slot for slot in before.circuit.slots if slot.number != getattr(admission, "number", None)
            ]
            assert list(after.circuit.slots) == kept


def test_the_result_of_a_lost_probe_frees_no_slot_of_another(space):
    for move, before, after, _ in space.steps:
        if move.startswith("a lost probe") and after.circuit.generation == before.circuit.generation:
            slots = machine.in_flight(before.circuit, before.now)
            assert machine.in_flight(after.circuit, after.now) == slots


def test_a_shadow_and_a_disabled_circuit_reject_nothing(space):
    for step in space.steps:
        if step.before.circuit.order in (SHADOW, DISABLED):
            assert not isinstance(step.verdict, Rejection)
        elif step.move == "call":
            assert step.verdict is not WAIVED


def test_a_ramp_sheds_nine_tenths_at_first_and_then_less_in_a_line(space, circuits):
    for circuit, now in circuits:
        if circuit.full_at:
            left = max(0, circuit.full_at - now) / RAMP
            assert machine.shed_share(circuit, space.limits, now) == pytest.approx(0.9 * left)
            assert machine.at_full(circuit, now).full_at == (circuit.full_at if left else 0)
            shed = machine.admit(circuit, space.limits, now, 0.0)[1]
            assert (shed == machine.refuse(circuit, 0.0)) == (left > 0)
        else:
            assert machine.at_full(circuit, now) is circuit
            assert machine.shed_share(circuit, space.limits, now) == 0.0


# -- States --------------------------------------------------------------------------------------------


def test_probes_in_flight_keep_to_their_limit(space, circuits):
    limit = space.limits.half_open_max_calls
    for circuit, now in circuits:
        flying = machine.in_flight(circuit, now)
        assert len(flying) <= len(circuit.slots) <= limit
        assert machine.vacant(circuit, space.limits, now) == (len(flying) < limit)
        assert len({slot.number for slot in circuit.slots}) == len(circuit.slots)
        assert all(slot.deadline - now <= PROBE_TIMEOUT for slot in circuit.slots)
        assert all(slot.number < circuit.probes for slot in circuit.slots)


def test_what_belongs_to_one_state_is_absent_in_the_others(space, circuits):
    for circuit, now in circuits:
        assert (circuit.evidence is not None) == (
            circuit.judged is CLOSED and circuit.order is not FORCED_OPEN
        )
        assert circuit.judged is CLOSED or circuit.order in (None, SHADOW)
        assert circuit.deadline - now <= TIMEOUT if circuit.judged is OPEN else circuit.deadline == 0
        assert (circuit.cause is None) == (circuit.judged is CLOSED)
        assert circuit.judged is HALF_OPEN or (circuit.successes, circuit.slots, circuit.probes) == (0, (), 0)
        ramps = circuit.judged is CLOSED and circuit.reason == "recovered" and space.limits.ramp_up
        assert circuit.full_at - now <= RAMP if ramps else circuit.full_at == 0


def test_a_threshold_that_is_met_is_acted_upon(space, circuits):
    for circuit, _ in circuits:
        assert circuit.successes < space.limits.success_threshold
        assert circuit.evidence is None or circuit.evidence.failures < space.limits.failure_threshold


def test_a_rejection_leaves_the_circuit_as_it_is_and_the_wait_is_as_long_as_told(space, circuits):
    for circuit, now in circuits:
        after, verdict = machine.admit(circuit, space.limits, now)
        if not isinstance(verdict, Rejection):
            continue
        assert after is circuit
        assert verdict == (circuit.state, machine.retry_after(circuit, space.limits, now), circuit.cause)
        assert verdict.retry_after > 0
        if circuit.order is FORCED_OPEN:
            assert verdict.retry_after == TIMEOUT
            continue
        for wait in range(1, verdict.retry_after + 1):
            later = machine.admit(circuit, space.limits, now + wait)[1]
            assert isinstance(later, Rejection) == (wait < verdict.retry_after)


def test_a_barrier_stands_just_where_an_open_circuit_rejects(space, circuits):
    for circuit, now in circuits:
        barrier = machine.barrier(circuit)
        verdict = machine.admit(circuit, space.limits, now)[1]
        rejects = isinstance(verdict, Rejection) and verdict.state is OPEN
        assert (barrier is not None and now < barrier[0]) == rejects
        assert not rejects or verdict == (OPEN, barrier[0] - now, barrier[1])


def test_stale_admissions_change_nothing(space, circuits):
    limits = space.limits
    for circuit, now in circuits:
        stale = [
            *(Probe(circuit.generation - 1, number) for number in range(3)),
            Probe(circuit.generation + 1, 0),
            Streak(limits.failure_threshold, limits.failure_threshold - 1),
            WAIVED,
        ]
        for admission, outcome in product(stale, Outcome):
            assert machine.record(circuit, limits, admission, outcome, now, "late") is circuit


def test_nobody_is_ever_stuck(space):
    """From every state time and calls lead to closed, also if no result is ever heard of those in flight."""
    ways = {"tick", "call", "a probe's success"}
    back = defaultdict(set)
    for move, before, after, _ in space.steps:
        if move in ways:
            back[space.node(after)].add(space.node(before))
    saved = {node for node in space.examples if node.judged is CLOSED and node.order is not FORCED_OPEN}
    found = set(saved)
    while found:
        found = set().union(*(back[node] for node in found)) - saved
        saved |= found
    assert {node.order for node in set(space.examples) - saved} == {FORCED_OPEN}


def test_where_all_probes_are_lost_the_next_is_admitted_in_time(space, circuits):
    for circuit, now in circuits:
        if circuit.order is not FORCED_OPEN:
            verdict = machine.admit(circuit, space.limits, now + max(TIMEOUT, PROBE_TIMEOUT))[1]
            assert not isinstance(verdict, Rejection)
            assert verdict is not WAIVED
