"""The machine: its words, and the states that a circuit begins in or is brought to."""

from __future__ import annotations

import copy

import pytest

from circuitry import machine
from circuitry.machine import ADMINISTRATIVE, TRANSITIONS, WAIVED, Circuit
from circuitry.states import CircuitState, Limits, Outcome, Probe, Reason
from circuitry.windows import Streak, Unjudged

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


class TestWords:
    def test_the_states_are_texts(self):
        assert [str(state) for state in CircuitState] == [
            "closed",
            "open",
            "half_open",
            "forced_open",
            "disabled",
            "shadow",
        ]

    def test_the_reasons_are_texts(self):
        assert [str(reason) for reason in Reason] == [
            "tripped",
            "timed_out",
            "recovered",
            "probe_failed",
            "reset",
            "forced_open",
            "disabled",
            "shadowed",
        ]

    def test_the_outcomes(self):
        assert [outcome.value for outcome in Outcome] == ["success", "failure", "ignored"]

    def test_what_a_circuit_decides_by_itself(self):
        assert TRANSITIONS == {
            (CLOSED, Reason.TRIPPED): OPEN,
            (OPEN, Reason.TIMED_OUT): HALF_OPEN,
            (HALF_OPEN, Reason.RECOVERED): CLOSED,
            (HALF_OPEN, Reason.PROBE_FAILED): OPEN,
        }

    def test_what_an_operator_decides(self):
        assert ADMINISTRATIVE == {
            Reason.RESET: CLOSED,
            Reason.FORCED_OPEN: FORCED_OPEN,
            Reason.DISABLED: DISABLED,
            Reason.SHADOWED: SHADOW,
        }

    def test_the_limits_are_by_default_those_of_the_preset_platform_api(self):
        assert Limits()[:5] == (5, 3, 30.0, 3, 30.0)

    def test_the_fields_of_a_circuit_are_at_rest_by_default(self):
        assert Circuit(OPEN, None, 1, Reason.TRIPPED)[4:] == (None, 0.0, None, 0, (), 0, None, False, 0, 0.0)

    def test_the_end_of_a_probe_always_takes_a_step(self):
        probe = Probe(1, 0)
        assert probe.run is True
        assert probe.success() is True
        assert probe.failure() is True

    def test_a_call_that_a_shadow_would_have_rejected_counts_nowhere(self):
        assert isinstance(WAIVED, Unjudged)


class TestNew:
    def test_it_is_closed_and_at_rest(self):
        circuit = machine.new(LIMITS)
        assert circuit._replace(evidence=None) == Circuit(CLOSED, None, 0, Reason.RESET)

    @pytest.mark.parametrize(("reason", "state"), list(ADMINISTRATIVE.items())[1:])
    def test_or_in_an_administrative_state(self, reason, state):
        circuit = machine.new(LIMITS, state)
        assert circuit._replace(evidence=None) == Circuit(CLOSED, state, 0, reason)
        assert circuit.state is state

    @pytest.mark.parametrize("state", [CLOSED, SHADOW])
    def test_it_counts_failures_in_a_streak_of_its_own(self, state):
        evidence = machine.new(LIMITS, state).evidence
        assert isinstance(evidence, Streak)
        assert evidence.limit == 2
        assert evidence is not machine.new(LIMITS, state).evidence

    def test_disabled_it_judges_nothing(self):
        assert isinstance(machine.new(LIMITS, DISABLED).evidence, Unjudged)

    def test_forced_open_it_has_no_evidence(self):
        assert machine.new(LIMITS, FORCED_OPEN).evidence is None

    @pytest.mark.parametrize(("reason", "state"), ADMINISTRATIVE.items())
    def test_the_reason_for_each_such_state(self, reason, state):
        assert machine.reason_for(state) is reason

    @pytest.mark.parametrize("state", [OPEN, HALF_OPEN])
    def test_there_is_none_for_the_others(self, state):
        with pytest.raises(StopIteration):
            machine.reason_for(state)


class TestState:
    def test_without_an_operators_word_it_is_the_circuits_own(self):
        assert opened().state is OPEN

    def test_an_operators_word_comes_first(self):
        circuit = opened(mode=SHADOW)
        assert (circuit.judged, circuit.state) == (OPEN, SHADOW)


class TestAdminister:
    @pytest.mark.parametrize(("reason", "state"), ADMINISTRATIVE.items())
    def test_from_any_state_it_begins_a_new_generation_with_nothing_of_the_old(self, reason, state):
        mode = None if state is CLOSED else state
        for circuit in (machine.new(LIMITS, state), opened(), half_open()[0], opened(mode=SHADOW)):
            after = machine.administer(circuit, LIMITS, reason)
            number = circuit.generation + 1
            assert after._replace(evidence=None) == Circuit(CLOSED, mode, number, reason)
            assert after.evidence is None or after.evidence is not circuit.evidence


class TestStaged:
    """A circuit for tests, as if it had just come to a state."""

    @pytest.mark.parametrize(("reason", "state"), ADMINISTRATIVE.items())
    def test_in_an_administrative_state_it_is_as_new(self, reason, state):
        staged = machine.staged(LIMITS, state, 7, 100.0)
        assert staged.generation == 7
        assert staged._replace(generation=0, evidence=None) == machine.new(LIMITS, state)._replace(
            evidence=None
        )
        assert type(staged.evidence) is type(machine.new(LIMITS, state).evidence)

    def test_open_it_waits_for_its_timeout(self):
        assert machine.staged(LIMITS, OPEN, 7, 100.0) == Circuit(
            OPEN, None, 7, Reason.TRIPPED, deadline=110.0
        )

    def test_half_open_it_has_all_its_slots(self):
        assert machine.staged(LIMITS, HALF_OPEN, 7, 100.0) == Circuit(HALF_OPEN, None, 7, Reason.TIMED_OUT)


class TestAdjust:
    def test_a_closed_generation_goes_by_other_limits_from_its_next_failure_on(self):
        circuit = machine.new(LIMITS)
        limits = LIMITS._replace(failure_threshold=3)
        assert machine.adjust(circuit, LIMITS, limits) is circuit
        outcomes = [machine.record(circuit, limits, circuit.evidence, FAILURE, 100.0) for _ in range(3)]
        assert [after.judged for after in outcomes] == [CLOSED, CLOSED, OPEN]

    @pytest.mark.parametrize("state", [FORCED_OPEN, DISABLED])
    def test_where_nothing_is_counted_nothing_changes(self, state):
        circuit = machine.new(LIMITS, state)
        before = copy.copy(circuit)
        assert machine.adjust(circuit, LIMITS, LIMITS._replace(failure_threshold=3)) == before


class TestBarrier:
    def test_an_open_circuit_rejects_all_until_its_deadline(self):
        assert machine.barrier(opened()) == (110.0, "refused")

    def test_no_other_does(self):
        others = [half_open()[0], opened(mode=SHADOW)]
        others += [machine.new(LIMITS, state) for state in ADMINISTRATIVE.values()]
        assert [machine.barrier(circuit) for circuit in others] == [None] * 6
