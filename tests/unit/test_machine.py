"""The machine: each step that a circuit can take by itself."""

from __future__ import annotations

import pytest

from circuitry import machine
from circuitry.machine import WAIVED, Circuit
from circuitry.states import CircuitState, Limits, Outcome, Probe, Reason, Rejection, Slot
from circuitry.windows import Streak

pytestmark = pytest.mark.core

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
FORCED_OPEN, DISABLED, SHADOW = CircuitState.FORCED_OPEN, CircuitState.DISABLED, CircuitState.SHADOW
SUCCESS, FAILURE, IGNORED = Outcome.SUCCESS, Outcome.FAILURE, Outcome.IGNORED

LIMITS = Limits(
    failure_threshold=2,
    success_threshold=2,
    timeout_duration=10.0,
    half_open_max_calls=2,
    probe_timeout=4.0,
)


def opened(limits=LIMITS, mode=CLOSED):
    """A circuit that was opened by "refused" at 100, with its deadline at 110."""
    circuit = machine.new(limits, mode)
    evidence = circuit.evidence
    for _ in range(limits.failure_threshold):
        circuit = machine.record(circuit, limits, evidence, FAILURE, 100.0, "refused")
    return circuit


def half_open(limits=LIMITS, probes=1, mode=CLOSED):
    """A circuit that became half-open at 110, with as many probes out."""
    circuit, admissions = opened(limits, mode), []
    for _ in range(probes):
        circuit, admission = machine.admit(circuit, limits, 110.0)
        admissions.append(admission)
    return circuit, *admissions


class TestAdmit:
    @pytest.mark.parametrize("state", [CLOSED, SHADOW, DISABLED])
    def test_a_closed_circuit_admits_by_its_evidence_and_stays_as_it_is(self, state):
        circuit = machine.new(LIMITS, state)
        after, admission = machine.admit(circuit, LIMITS, 100.0)
        assert after is circuit
        assert admission is circuit.evidence

    def test_an_open_one_rejects_before_its_deadline(self):
        circuit = opened()
        after, verdict = machine.admit(circuit, LIMITS, 109.5)
        assert after is circuit
        assert verdict == Rejection(OPEN, 0.5, "refused")

    @pytest.mark.parametrize("now", [110.0, 1000.0])
    def test_at_its_deadline_or_later_it_becomes_half_open_and_admits_the_first_probe(self, now):
        after, admission = machine.admit(opened(), LIMITS, now)
        assert admission == Probe(2, 0)
        slots = (Slot(0, now + 4.0),)
        probing = Circuit(HALF_OPEN, None, 2, Reason.TIMED_OUT, cause="refused", openings=1)
        assert after == probing._replace(slots=slots, probes=1)

    def test_a_half_open_one_admits_a_probe_while_there_is_a_slot(self):
        circuit, _ = half_open()
        after, admission = machine.admit(circuit, LIMITS, 111.0)
        assert admission == Probe(2, 1)
        assert after == circuit._replace(slots=(Slot(0, 114.0), Slot(1, 115.0)), probes=2)

    def test_with_all_slots_taken_it_rejects_until_the_first_can_lapse(self):
        circuit, *_ = half_open(probes=2)
        after, verdict = machine.admit(circuit, LIMITS, 113.0)
        assert after is circuit
        assert verdict == Rejection(HALF_OPEN, 1.0, "refused")

    def test_a_slot_that_has_lapsed_goes_to_the_next(self):
        circuit, _ = half_open()
        circuit, _ = machine.admit(circuit, LIMITS, 112.0)
        after, admission = machine.admit(circuit, LIMITS, 114.0)
        assert admission == Probe(2, 2)
        assert after.slots == (Slot(1, 116.0), Slot(2, 118.0))

    def test_forced_open_it_rejects_with_the_timeout_as_a_hint(self):
        circuit = machine.new(LIMITS, FORCED_OPEN)
        after, verdict = machine.admit(circuit, LIMITS, 100.0)
        assert after is circuit
        assert verdict == Rejection(FORCED_OPEN, 10.0, None)

    def test_a_shadow_waives_what_an_open_circuit_would_have_rejected(self):
        circuit = opened(mode=SHADOW)
        after, admission = machine.admit(circuit, LIMITS, 109.5)
        assert after is circuit
        assert admission is WAIVED

    def test_and_what_a_full_half_open_one_would_have(self):
        circuit, *_ = half_open(probes=2, mode=SHADOW)
        assert machine.admit(circuit, LIMITS, 111.0) == (circuit, WAIVED)

    def test_a_shadow_sends_probes_like_any_other(self):
        circuit, probe = half_open(mode=SHADOW)
        assert probe == Probe(2, 0)
        assert (circuit.judged, circuit.mode) == (HALF_OPEN, SHADOW)


class TestRecordClosed:
    def test_failures_below_the_threshold_leave_it_as_it_is(self):
        circuit = machine.new(LIMITS)
        assert machine.record(circuit, LIMITS, circuit.evidence, FAILURE, 100.0, "refused") is circuit
        assert circuit.evidence.failures == 1

    def test_the_threshold_opens_it_with_its_deadline_and_cause(self):
        assert opened() == Circuit(OPEN, None, 1, Reason.TRIPPED, deadline=110.0, cause="refused", openings=1)

    def test_a_threshold_of_one_opens_it_at_once(self):
        limits = LIMITS._replace(failure_threshold=1)
        circuit = machine.new(limits)
        assert machine.record(circuit, limits, circuit.evidence, FAILURE, 100.0).judged is OPEN

    def test_a_success_ends_the_streak(self):
        circuit = machine.new(LIMITS)
        for outcome in (FAILURE, SUCCESS, FAILURE):
            assert machine.record(circuit, LIMITS, circuit.evidence, outcome, 100.0) is circuit
        assert circuit.evidence.failures == 1

    def test_what_is_ignored_does_not(self):
        circuit = machine.new(LIMITS)
        for outcome in (FAILURE, IGNORED):
            assert machine.record(circuit, LIMITS, circuit.evidence, outcome, 100.0) is circuit
        assert circuit.evidence.failures == 1

    def test_a_failure_of_another_closed_generation_changes_nothing(self):
        circuit, stale = machine.new(LIMITS), Streak(1)
        assert machine.record(circuit, LIMITS, stale, FAILURE, 100.0, "late") is circuit

    def test_nor_does_one_that_trips_an_open_circuit_again(self):
        circuit = machine.new(LIMITS)
        evidence = circuit.evidence
        for _ in range(2):
            circuit = machine.record(circuit, LIMITS, evidence, FAILURE, 100.0, "refused")
        assert machine.record(circuit, LIMITS, evidence, FAILURE, 105.0, "late") is circuit

    def test_disabled_it_never_opens(self):
        circuit = machine.new(LIMITS, DISABLED)
        for _ in range(5):
            assert machine.record(circuit, LIMITS, circuit.evidence, FAILURE, 100.0) is circuit

    def test_a_shadow_opens_in_its_own_judgement(self):
        assert opened(mode=SHADOW)[:4] == (OPEN, SHADOW, 1, Reason.TRIPPED)


class TestTrip:
    def test_it_opens_the_generation_whose_evidence_demands_it(self):
        circuit = machine.new(LIMITS)
        after = machine.trip(circuit, LIMITS, circuit.evidence, 100.0, "refused")
        assert after == Circuit(OPEN, None, 1, Reason.TRIPPED, deadline=110.0, cause="refused", openings=1)

    def test_and_no_other(self):
        circuit = machine.new(LIMITS)
        assert machine.trip(circuit, LIMITS, Streak(1), 100.0, "late") is circuit


class TestRecordProbe:
    def test_a_success_counts_and_gives_the_slot_back(self):
        circuit, first, _ = half_open(probes=2)
        after = machine.record(circuit, LIMITS, first, SUCCESS, 111.0)
        assert after == circuit._replace(successes=1, slots=(Slot(1, 114.0),))

    def test_as_many_as_the_threshold_close_the_circuit(self):
        circuit, first, second = half_open(probes=2)
        circuit = machine.record(circuit, LIMITS, second, SUCCESS, 111.0)
        closed = machine.record(circuit, LIMITS, first, SUCCESS, 112.0)
        assert closed._replace(evidence=None) == Circuit(CLOSED, None, 3, Reason.RECOVERED)
        assert closed.evidence.failures == 0
        assert closed.evidence.limit == 2

    def test_the_threshold_may_be_above_the_limit_of_probes(self):
        limits = LIMITS._replace(half_open_max_calls=1, success_threshold=3)
        circuit = opened(limits)
        for _ in range(3):
            circuit, probe = machine.admit(circuit, limits, 110.0)
            circuit = machine.record(circuit, limits, probe, SUCCESS, 110.0)
        assert circuit.judged is CLOSED

    def test_one_failure_opens_it_again_with_a_new_deadline_and_cause(self):
        circuit, _, second = half_open(probes=2)
        circuit = machine.record(circuit, LIMITS, second, SUCCESS, 110.0)
        after = machine.record(circuit, LIMITS, Probe(2, 0), FAILURE, 112.0, "timed out")
        again = Circuit(OPEN, None, 3, Reason.PROBE_FAILED, deadline=122.0, cause="timed out")
        assert after == again._replace(openings=2)

    def test_what_is_ignored_gives_the_slot_back_and_changes_nothing_else(self):
        circuit, first, _ = half_open(probes=2)
        after = machine.record(circuit, LIMITS, first, IGNORED, 111.0, "cancelled")
        assert after == circuit._replace(slots=(Slot(1, 114.0),))

    def test_numbers_are_not_used_again(self):
        circuit, first = half_open()
        circuit = machine.record(circuit, LIMITS, first, IGNORED, 111.0)
        assert machine.admit(circuit, LIMITS, 111.0)[1] == Probe(2, 1)

    @pytest.mark.parametrize("outcome", Outcome)
    @pytest.mark.parametrize("generation", [0, 1, 3])
    def test_the_probe_of_another_generation_changes_nothing(self, outcome, generation):
        circuit, _ = half_open()
        assert machine.record(circuit, LIMITS, Probe(generation, 0), outcome, 111.0, "late") is circuit

    def test_a_probe_that_lost_its_slot_counts_and_frees_no_other(self):
        limits = LIMITS._replace(half_open_max_calls=1)
        circuit, lost = half_open(limits)
        circuit, _ = machine.admit(circuit, limits, 114.0)
        after = machine.record(circuit, limits, lost, SUCCESS, 115.0)
        assert after == circuit._replace(successes=1)
        assert after.slots == (Slot(1, 118.0),)

    def test_a_shadow_closes_in_its_own_judgement(self):
        limits = LIMITS._replace(success_threshold=1)
        circuit, probe = half_open(limits, mode=SHADOW)
        after = machine.record(circuit, limits, probe, SUCCESS, 111.0)
        assert after[:4] == (CLOSED, SHADOW, 3, Reason.RECOVERED)
        assert isinstance(after.evidence, Streak)


class TestInFlight:
    def test_a_slot_is_held_until_its_deadline(self):
        circuit, _ = half_open()
        assert machine.in_flight(circuit, 113.5) == (Slot(0, 114.0),)
        assert machine.in_flight(circuit, 114.0) == ()

    def test_one_that_lapsed_leaves_the_others(self):
        circuit, _ = half_open()
        circuit, _ = machine.admit(circuit, LIMITS, 112.0)
        assert machine.in_flight(circuit, 114.0) == (Slot(1, 116.0),)

    @pytest.mark.parametrize(("probes", "vacant"), [(1, True), (2, False)])
    def test_there_is_room_below_the_limit(self, probes, vacant):
        assert machine.vacant(half_open(probes=probes)[0], LIMITS, 111.0) is vacant

    def test_and_when_one_has_lapsed(self):
        assert machine.vacant(half_open(probes=2)[0], LIMITS, 114.0)


class TestRetryAfter:
    @pytest.mark.parametrize(("now", "seconds"), [(100.0, 10.0), (109.5, 0.5), (110.0, 0.0), (111.0, 0.0)])
    def test_open_it_is_until_the_deadline_and_never_negative(self, now, seconds):
        assert machine.retry_after(opened(), LIMITS, now) == seconds

    def test_half_open_it_is_0_while_there_is_a_slot(self):
        assert machine.retry_after(half_open()[0], LIMITS, 111.0) == 0.0

    def test_else_until_the_first_of_those_in_flight_can_lapse(self):
        circuit, _ = half_open()
        circuit, _ = machine.admit(circuit, LIMITS, 112.0)
        assert machine.retry_after(circuit, LIMITS, 113.0) == 1.0

    @pytest.mark.parametrize(
        ("state", "seconds"), [(CLOSED, 0.0), (FORCED_OPEN, 10.0), (DISABLED, 0.0), (SHADOW, 0.0)]
    )
    def test_by_an_operators_word(self, state, seconds):
        assert machine.retry_after(machine.new(LIMITS, state), LIMITS, 100.0) == seconds

    def test_in_a_shadow_it_is_0_whatever_the_shadow_thinks(self):
        assert machine.retry_after(opened(mode=SHADOW), LIMITS, 100.0) == 0.0

    def test_a_rejection_tells_it_with_the_state_and_the_cause(self):
        circuit, *_ = half_open(probes=2)
        assert machine.refuse(circuit, 2.0) == Rejection(HALF_OPEN, 2.0, "refused")
