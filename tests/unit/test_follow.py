"""The machine in a fleet: what it does when the fleet has decided, and when an operator speaks to all."""

from __future__ import annotations

import pytest

from circuitry import machine
from circuitry.machine import ADMINISTRATIVE, Circuit
from circuitry.states import CircuitState, FleetVerdict, Limits, Outcome, Reason, Rejection
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


def says(state, mode=None, reason="tripped", deadline=0.0, cause=None):
    return FleetVerdict(state, mode, reason, deadline, cause)


TRIPPED = says(OPEN, deadline=107.0, cause="theirs")
PROBING = says(HALF_OPEN, reason="timed_out", cause="theirs")
RECOVERED = says(CLOSED, reason="recovered")
RESET = says(CLOSED, reason="reset")
FORCED = says(OPEN, FORCED_OPEN, "forced_open")  # a server shows it so
SHADOWED = says(CLOSED, SHADOW, "shadowed")


def follow(circuit, *verdicts):
    for verdict in verdicts:
        circuit = machine.follow(circuit, LIMITS, verdict)
    return circuit


def told(*reasons, circuit=None):
    """A circuit after operators' words here."""
    circuit = circuit or machine.new(LIMITS)
    for reason in reasons:
        circuit = machine.administer(circuit, LIMITS, reason)
    return circuit


def told_to_all(reason, circuit=None):
    return machine.administer(circuit or machine.new(LIMITS), LIMITS, reason, of_fleet=True)


def tripped(circuit=None):
    """A circuit that opened by itself at 100."""
    circuit = circuit or machine.new(LIMITS)
    evidence = circuit.evidence
    for _ in range(2):
        circuit = machine.record(circuit, LIMITS, evidence, FAILURE, 100.0, "ours")
    return circuit


def bare(circuit):
    return circuit._replace(evidence=None)


class TestFollow:
    """Do what the fleet has decided."""

    def test_an_open_fleet_opens_it_until_the_fleets_deadline_and_for_its_cause(self):
        after = follow(machine.new(LIMITS), TRIPPED)
        assert after == Circuit(OPEN, None, 1, "tripped", None, 107.0, "theirs", followed=True)
        assert machine.admit(after, LIMITS, 106.5)[1] == Rejection(OPEN, 0.5, "theirs")
        assert machine.barrier(after) == (107.0, "theirs")

    def test_a_half_open_fleet_makes_it_half_open_with_all_slots_free(self):
        after = follow(machine.new(LIMITS), PROBING._replace(deadline=50.0))
        assert after == Circuit(HALF_OPEN, None, 1, "timed_out", cause="theirs", followed=True)
        assert machine.vacant(after, LIMITS, 100.0)

    def test_a_fleet_that_recovered_closes_what_it_opened(self):
        after = follow(machine.new(LIMITS), TRIPPED, PROBING, RECOVERED._replace(deadline=50.0, cause="old"))
        assert bare(after) == Circuit(CLOSED, None, 3, "recovered", followed=True)
        assert (after.evidence.failures, after.evidence.limit) == (0, 2)

    def test_the_fleets_deadline_goes_before_the_circuits_own(self):
        after = follow(tripped(), TRIPPED)
        assert (after.deadline, after.cause, after.generation) == (107.0, "theirs", 2)

    def test_a_fleet_that_recovered_leaves_a_closed_circuit_its_streak(self):
        circuit = machine.new(LIMITS)
        circuit.evidence.failure()
        assert follow(circuit, RECOVERED) is circuit

    def test_it_may_probe_after_the_deadline_without_the_fleet(self):
        circuit, probe = machine.admit(follow(machine.new(LIMITS), TRIPPED), LIMITS, 107.0)
        assert (circuit.judged, circuit.cause, circuit.followed) == (HALF_OPEN, "theirs", False)
        assert machine.record(circuit, LIMITS, probe, FAILURE, 108.0).deadline == 118.0


class TestAsANewGeneration:
    """As a new generation: what is out was admitted by another."""

    @pytest.mark.parametrize("verdict", [TRIPPED, PROBING, RESET, FORCED, SHADOWED])
    @pytest.mark.parametrize("outcome", Outcome)
    def test_a_call_from_before_counts_nowhere(self, verdict, outcome):
        circuit = machine.new(LIMITS)
        before = circuit.evidence
        before.failure()
        after = follow(circuit, verdict)
        assert after.generation == 1
        assert machine.record(after, LIMITS, before, outcome, 100.0, "late") is after
        assert after.evidence is None or after.evidence.failures == 0

    @pytest.mark.parametrize("verdict", [TRIPPED, PROBING, RECOVERED, RESET])
    @pytest.mark.parametrize("outcome", Outcome)
    def test_a_probe_from_before_counts_nowhere(self, verdict, outcome):
        circuit, probe = machine.admit(follow(machine.new(LIMITS), PROBING), LIMITS, 100.0)
        after = follow(circuit, verdict)
        assert after.generation == 2
        assert machine.record(after, LIMITS, probe, outcome, 101.0, "late") is after

    def test_successes_and_slots_begin_anew(self):
        circuit, probe = machine.admit(follow(machine.new(LIMITS), PROBING), LIMITS, 100.0)
        circuit = machine.record(circuit, LIMITS, probe, SUCCESS, 101.0)
        circuit, _ = machine.admit(circuit, LIMITS, 101.0)
        assert follow(circuit, PROBING)[7:10] == (0, (), 0)

    def test_the_same_verdict_twice_is_two_generations(self):
        assert follow(machine.new(LIMITS), TRIPPED, TRIPPED).generation == 2


class TestAnOperatorsWordHere:
    """What an operator said here alone goes first."""

    @pytest.mark.parametrize("reason", [Reason.FORCED_OPEN, Reason.DISABLED])
    @pytest.mark.parametrize("verdict", [TRIPPED, PROBING, RECOVERED, RESET, FORCED, SHADOWED])
    def test_where_it_rejects_or_admits_all_the_fleets_word_is_only_noted(self, reason, verdict):
        circuit = told(reason)
        after = follow(circuit, verdict)
        assert after == circuit._replace(fleet_mode=verdict.mode)
        assert after.state is ADMINISTRATIVE[reason]

    @pytest.mark.parametrize("reason", [Reason.FORCED_OPEN, Reason.DISABLED])
    def test_and_what_is_known_changes_nothing(self, reason):
        circuit = follow(told(reason), FORCED)
        assert follow(circuit, FORCED) is circuit
        assert follow(circuit, RESET).fleet_mode is None

    def test_a_shadow_here_judges_with_the_fleet_and_rejects_nothing(self):
        after = follow(told(Reason.SHADOWED), TRIPPED)
        assert (after.judged, after.mode, after.state, after.followed) == (OPEN, SHADOW, SHADOW, True)
        assert machine.barrier(after) is None

    @pytest.mark.parametrize("mode", [FORCED_OPEN, DISABLED])
    def test_a_shadow_here_goes_on_judging_under_a_fleet_that_rejects_or_admits_all(self, mode):
        after = follow(told(Reason.SHADOWED), says(CLOSED, mode, mode))
        assert (after.judged, after.state, after.fleet_mode) == (CLOSED, SHADOW, mode)
        assert isinstance(after.evidence, Streak)

    def test_taken_back_here_what_was_said_to_the_fleet_holds_again(self):
        circuit = told(Reason.RESET, circuit=follow(told(Reason.DISABLED), FORCED))
        assert (circuit.mode, circuit.state, circuit.evidence) == (None, FORCED_OPEN, None)
        assert follow(circuit, FORCED) is circuit  # it is there already


class TestAClosedFleet:
    """A fleet that is closed closes nothing that it didn't open: what this circuit has seen stands."""

    def test_a_circuit_that_opened_by_itself_stays_open(self):
        circuit = tripped()
        assert follow(circuit, RECOVERED) is circuit

    def test_also_after_the_fleet_was_open_once(self):
        circuit = tripped(follow(machine.new(LIMITS), TRIPPED, RECOVERED))
        assert follow(circuit, RECOVERED) is circuit

    def test_and_one_that_probes_by_itself_goes_on(self):
        circuit, _ = machine.admit(tripped(), LIMITS, 110.0)
        assert follow(circuit, RECOVERED) is circuit

    @pytest.mark.parametrize("reason", ["created", "healed", "lost", "expired"])
    def test_whatever_else_made_the_fleet_closed(self, reason):
        circuit = tripped()
        assert follow(circuit, says(CLOSED, reason=reason)) is circuit

    def test_a_shadow_that_opened_by_itself_stays_so(self):
        circuit = tripped(told(Reason.SHADOWED))
        assert follow(circuit, RECOVERED) is circuit

    def test_a_reset_of_the_fleet_closes_it(self):
        after = follow(tripped(), RESET)
        assert bare(after) == Circuit(CLOSED, None, 2, "reset", followed=True)

    def test_a_reset_ends_the_streak_of_a_closed_one(self):
        circuit = machine.new(LIMITS)
        circuit.evidence.failure()
        after = follow(circuit, RESET)
        assert (after.generation, after.evidence.failures) == (1, 0)

    def test_so_does_a_new_word_of_an_operator(self):
        after = follow(tripped(), SHADOWED)
        assert bare(after) == Circuit(CLOSED, None, 2, "shadowed", fleet_mode=SHADOW, followed=True)

    def test_and_the_end_of_one(self):
        circuit = tripped(follow(machine.new(LIMITS), SHADOWED))
        after = follow(circuit, says(CLOSED, reason="expired"))
        assert (after.judged, after.state, after.reason) == (CLOSED, CLOSED, "expired")

    def test_a_word_that_is_known_does_not(self):
        circuit = tripped(follow(machine.new(LIMITS), SHADOWED))
        assert (circuit.judged, circuit.fleet_mode) == (OPEN, SHADOW)
        assert follow(circuit, SHADOWED) is circuit


class TestAnOrderToTheFleet:
    """forced_open and disabled, said to all."""

    @pytest.mark.parametrize("state", [CLOSED, OPEN, HALF_OPEN])
    def test_forced_open_it_is_closed_beneath_and_rejects_all_whatever_the_fleet_shows(self, state):
        verdict = says(state, FORCED_OPEN, "forced_open", deadline=107.0, cause="theirs")
        after = follow(tripped(), verdict)
        assert after == Circuit(CLOSED, None, 2, "forced_open", fleet_mode=FORCED_OPEN, followed=True)
        assert after.state is FORCED_OPEN
        assert machine.admit(after, LIMITS, 100.0)[1] == Rejection(FORCED_OPEN, 10.0, None)

    @pytest.mark.parametrize("state", [CLOSED, OPEN, HALF_OPEN])
    def test_disabled_it_judges_nothing(self, state):
        after = follow(tripped(), says(state, DISABLED, "disabled"))
        assert (after.judged, after.state) == (CLOSED, DISABLED)
        assert isinstance(after.evidence, Unjudged)

    def test_said_again_it_changes_nothing(self):
        circuit = follow(machine.new(LIMITS), FORCED)
        assert follow(circuit, FORCED) is circuit

    def test_another_takes_its_place(self):
        after = follow(machine.new(LIMITS), FORCED, says(CLOSED, DISABLED, "disabled"))
        assert (after.state, after.generation) == (DISABLED, 2)

    def test_a_fleet_in_shadow_judges_and_rejects_nothing(self):
        after = follow(machine.new(LIMITS), SHADOWED, TRIPPED._replace(mode=SHADOW))
        assert (after.judged, after.state, after.deadline) == (OPEN, SHADOW, 107.0)

    def test_the_end_of_a_forced_state_closes_it(self):
        after = follow(machine.new(LIMITS), FORCED, says(CLOSED, reason="expired"))
        assert (after.state, after.generation) == (CLOSED, 2)
        assert isinstance(after.evidence, Streak)


class TestAdministerTheFleet:
    """`of_fleet`: it is said to the whole fleet, and takes back what was said here alone."""

    @pytest.mark.parametrize(("reason", "state"), ADMINISTRATIVE.items())
    def test_it_holds_here_at_once(self, reason, state):
        after = told_to_all(reason, tripped())
        said = None if state is CLOSED else state
        assert bare(after) == Circuit(CLOSED, None, 2, reason, fleet_mode=said)
        assert after.state is state

    @pytest.mark.parametrize(
        ("reason", "kind"),
        [
            (Reason.RESET, Streak),
            (Reason.SHADOWED, Streak),
            (Reason.DISABLED, Unjudged),
            (Reason.FORCED_OPEN, type(None)),
        ],
    )
    def test_calls_count_as_it_says(self, reason, kind):
        assert type(told_to_all(reason).evidence) is kind

    @pytest.mark.parametrize("here", [Reason.FORCED_OPEN, Reason.DISABLED, Reason.SHADOWED])
    def test_it_takes_back_what_was_said_here(self, here):
        after = told_to_all(Reason.RESET, told(here))
        assert (after.mode, after.fleet_mode, after.state) == (None, None, CLOSED)

    @pytest.mark.parametrize(("reason", "state"), ADMINISTRATIVE.items())
    def test_what_is_said_here_goes_before_it_and_takes_nothing_from_it(self, reason, state):
        after = told(reason, circuit=told_to_all(Reason.FORCED_OPEN))
        assert after.fleet_mode is FORCED_OPEN
        assert after.state is (FORCED_OPEN if state is CLOSED else state)

    def test_the_circuit_keeps_it_through_its_own_steps(self):
        circuit = tripped(told_to_all(Reason.SHADOWED))
        assert (circuit.judged, circuit.state, circuit.fleet_mode) == (OPEN, SHADOW, SHADOW)
        circuit, probe = machine.admit(circuit, LIMITS, 110.0)
        for _ in range(2):
            circuit = machine.record(circuit, LIMITS, probe, SUCCESS, 111.0)
        assert (circuit.judged, circuit.fleet_mode) == (CLOSED, SHADOW)

    def test_a_shadow_of_the_fleet_waives_what_it_would_have_rejected(self):
        circuit = tripped(told_to_all(Reason.SHADOWED))
        assert machine.admit(circuit, LIMITS, 105.0) == (circuit, machine.WAIVED)
        assert machine.retry_after(circuit, LIMITS, 105.0) == 0.0

    def test_it_is_this_process_that_decided_not_the_fleet(self):
        assert not told_to_all(Reason.RESET, follow(machine.new(LIMITS), TRIPPED)).followed


@pytest.mark.parametrize("state", [OPEN, HALF_OPEN])
def test_how_often_it_has_opened_is_the_fleets_number_until_it_closes(state):
    opened = follow(machine.new(LIMITS), says(state)._replace(openings=3))
    assert opened.openings == 3
    assert follow(opened, RECOVERED._replace(openings=3)).openings == 0
