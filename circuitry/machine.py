"""The circuit as a value, and every step it can take.

A circuit breaker is a small state machine with a subtle part: results come back late, out of
order, or never. So the machine lives here alone, as a value and functions from value to value.
It knows nothing of clocks (time is an argument, and so is chance), locks, threads, callables or
networks, and not who is asking. A step that changes nothing returns the very same value: whoever
holds a snapshot can try a step without a lock, and has only to commit when something changed.

House rules:

- All transitions are in the two tables below, and `_enter` is the only way through them.
- Each stay in one state is a *generation*. An admission belongs to the generation that gave it;
  a result that comes back to another generation is no news.
- Deadlines are stored, never start times: `now >= deadline` is the only comparison.
- The one moving part is the evidence of a closed generation (see `windows.py`): outcomes of
  closed calls go there, and the machine steps only when the evidence says so.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from circuitry.states import CircuitState, FleetVerdict, Limits, Outcome, Probe, Reason, Rejection, Slot
from circuitry.windows import Admitting, Evidence, Streak, Unjudged

#: What the circuit decides by itself.
TRANSITIONS: dict[tuple[CircuitState, Reason], CircuitState] = {
    (CircuitState.CLOSED, Reason.TRIPPED): CircuitState.OPEN,
    (CircuitState.OPEN, Reason.TIMED_OUT): CircuitState.HALF_OPEN,
    (CircuitState.HALF_OPEN, Reason.RECOVERED): CircuitState.CLOSED,
    (CircuitState.HALF_OPEN, Reason.PROBE_FAILED): CircuitState.OPEN,
}

#: What an operator decides, from any state.
ADMINISTRATIVE: dict[Reason, CircuitState] = {
    Reason.RESET: CircuitState.CLOSED,
    Reason.FORCED_OPEN: CircuitState.FORCED_OPEN,
    Reason.DISABLED: CircuitState.DISABLED,
    Reason.SHADOWED: CircuitState.SHADOW,
}


#: This share of calls is shed when a circuit has just recovered, if it ramps up.
RAMPED = 0.9

#: What an admitted call brings back with its outcome: its probe, or the evidence it counts in.
Admission: TypeAlias = Probe | Admitting

#: The admission of a call that a shadow would have rejected: it counts nowhere.
WAIVED = Unjudged()


class Circuit(NamedTuple):
    """One circuit at one moment.

    `judged` is what the circuit makes of its calls: closed, open or half_open. `mode` is what an
    operator made of the circuit, if anything; `fleet_mode` what one made of it in a whole fleet.
    Each field from `evidence` to `probes`, and `full_at`, belongs to one state and is at its default in the
    others.
    """

    judged: CircuitState
    mode: CircuitState | None
    generation: int
    reason: str  # a `Reason`, or one of a fleet's own
    evidence: Evidence | None = None  # closed: what the calls add up to
    deadline: float = 0.0  # open: when the first probe may go
    cause: str | None = None  # open, half_open: what opened the circuit
    successes: int = 0  # half_open: probes that succeeded
    slots: tuple[Slot, ...] = ()  # half_open: probes in flight
    probes: int = 0  # half_open: how many were admitted, to number them
    fleet_mode: CircuitState | None = None
    followed: bool = False  # this generation was begun by a fleet, not by this circuit
    openings: int = 0  # how often it, or its fleet, has opened by judgement since it was last closed
    full_at: float = 0.0  # closed: until then only a growing share of calls is admitted; 0 if all are

    @property
    def order(self) -> CircuitState | None:
        """The operator's word that holds: what was said here goes before what was said to the fleet."""
        return self.mode or self.fleet_mode

    @property
    def counted(self) -> Evidence | None:
        """What a fleet is told of; None of an open circuit, which still may tell by what it has opened."""
        return WAIVED if self.order is CircuitState.FORCED_OPEN else self.evidence

    @property
    def state(self) -> CircuitState:
        """What callers meet: the operator's word before the circuit's own."""
        return self.order or self.judged


def new(limits: Limits, initial: CircuitState = CircuitState.CLOSED) -> Circuit:
    """A circuit in its first generation, closed or in an administrative state."""
    return _ordered(0, reason_for(initial), _mode_of(initial), None, limits)


def reason_for(state: CircuitState) -> Reason:
    """What an operator does to bring a circuit to this administrative state, or to closed."""
    return next(reason for reason, reached in ADMINISTRATIVE.items() if reached is state)


def admit(
    circuit: Circuit, limits: Limits, now: float, lot: float = 1.0
) -> tuple[Circuit, Admission | Rejection]:
    """May a call go out now? Its admission, or why not.

    `lot` is what was drawn for it, from 0 up to 1: one below the share that is shed in a ramp is rejected.
    """
    if circuit.full_at and lot < shed_share(circuit, limits, now):
        return circuit, refuse(circuit, 0.0)
    if circuit.evidence is not None:
        admission = circuit.evidence.enter()
        if admission is not None:
            return circuit, admission
        if not circuit.evidence.is_due():
            return circuit, refuse(circuit, 0.0)
        circuit = trip(circuit, limits, circuit.evidence, now, circuit.evidence.why)
    if circuit.judged is CircuitState.OPEN and now >= circuit.deadline:
        circuit = _enter(circuit, Reason.TIMED_OUT, cause=circuit.cause)
    if circuit.judged is CircuitState.HALF_OPEN and vacant(circuit, limits, now):
        return _probe(circuit, limits, now)
    return circuit, refuse(circuit, retry_after(circuit, limits, now))


def refuse(circuit: Circuit, retry_after: float) -> Rejection | Unjudged:
    """What becomes of a call for which there is no place: a shadow lets it go, and doesn't judge it."""
    if circuit.order is CircuitState.SHADOW:
        return WAIVED
    return Rejection(circuit.state, retry_after, circuit.cause)


def shed_share(circuit: Circuit, limits: Limits, now: float) -> float:
    """The share of calls, >= 0 and < 1, that a closed circuit rejects now."""
    left = circuit.full_at - now
    if left > 0:
        return RAMPED * left / max(left, limits.ramp_up)
    return circuit.evidence.shed_share if circuit.evidence is not None else 0.0


def at_full(circuit: Circuit, now: float) -> Circuit:
    """The circuit without its ramp, if that is over."""
    return circuit if now < circuit.full_at or not circuit.full_at else circuit._replace(full_at=0.0)


def barrier(circuit: Circuit) -> tuple[float, str | None] | None:
    """Until when this circuit rejects every call and nothing changes, and why.

    Who keeps this beside the circuit can reject without asking `admit`.
    """
    if circuit.judged is CircuitState.OPEN and circuit.order is None:
        return circuit.deadline, circuit.cause
    return None


def record(
    circuit: Circuit,
    limits: Limits,
    admission: Admission,
    outcome: Outcome,
    now: float,
    cause: str | None = None,
) -> Circuit:
    """A call has ended: what becomes of the circuit."""
    if isinstance(admission, Probe):
        if admission.generation != circuit.generation:
            return circuit
        return _probed(circuit, limits, admission, outcome, now, cause)
    trips = outcome is not Outcome.IGNORED and (
        admission.failure() if outcome is Outcome.FAILURE else admission.success()
    )
    return trip(circuit, limits, admission.owner, now, cause) if trips else circuit


def trip(circuit: Circuit, limits: Limits, evidence: Evidence, now: float, cause: str | None) -> Circuit:
    """Open the circuit, if it is still the generation whose evidence demands it."""
    if circuit.evidence is not evidence:
        return circuit
    deadline = now + limits.timeout_duration
    return _enter(circuit, Reason.TRIPPED, deadline=deadline, cause=cause or evidence.why)


def administer(circuit: Circuit, limits: Limits, reason: Reason, *, of_fleet: bool = False) -> Circuit:
    """Do what an operator says: a new generation, whatever the state was.

    `of_fleet`: it is said to the whole fleet, and takes back what was said here alone.
    """
    said = _mode_of(ADMINISTRATIVE[reason])
    mode, fleet_mode = (None, said) if of_fleet else (said, circuit.fleet_mode)
    return _ordered(circuit.generation + 1, reason, mode, fleet_mode, limits)


def follow(circuit: Circuit, limits: Limits, verdict: FleetVerdict) -> Circuit:
    """Do what the fleet has decided, as a new generation: what is out was admitted by another.

    What an operator said here alone goes first. A fleet that is closed closes nothing that it didn't
    open: what this circuit has seen for itself stands.
    """
    if circuit.mode in (CircuitState.FORCED_OPEN, CircuitState.DISABLED):
        is_known = verdict.mode is circuit.fleet_mode
        return circuit if is_known else circuit._replace(fleet_mode=verdict.mode)
    ordered = verdict.mode in (CircuitState.FORCED_OPEN, CircuitState.DISABLED)
    judged = CircuitState.CLOSED if ordered else verdict.state
    if judged is CircuitState.CLOSED:
        is_order = verdict.mode is not circuit.fleet_mode or verdict.reason == Reason.RESET
        if not is_order and (circuit.judged is CircuitState.CLOSED or not circuit.followed):
            return circuit
    evidence = _evidence(circuit.mode or verdict.mode, limits) if judged is CircuitState.CLOSED else None
    recovers = judged is CircuitState.CLOSED and not ordered and verdict.reason == Reason.RECOVERED
    return Circuit(
        judged,
        circuit.mode,
        circuit.generation + 1,
        verdict.reason,
        evidence,
        deadline=verdict.deadline if judged is CircuitState.OPEN else 0.0,
        cause=verdict.cause if judged is not CircuitState.CLOSED else None,
        fleet_mode=verdict.mode,
        followed=True,
        openings=verdict.openings if judged is not CircuitState.CLOSED else 0,
        full_at=_full_at(limits, verdict.deadline) if recovers else 0.0,
    )


def staged(limits: Limits, state: CircuitState, generation: int, now: float) -> Circuit:
    """A circuit that has just come to `state`, as if by itself: for tests of what uses circuits."""
    if state in ADMINISTRATIVE.values():
        return new(limits, state)._replace(generation=generation)
    reason = Reason.TRIPPED if state is CircuitState.OPEN else Reason.TIMED_OUT
    deadline = now + limits.timeout_duration if state is CircuitState.OPEN else 0.0
    return Circuit(state, None, generation, reason, deadline=deadline)


def adjust(circuit: Circuit, old: Limits, limits: Limits) -> Circuit:
    """Let a circuit go by other limits from its next outcome on.

    What is counted stays counted, but for what another rule counts in another way. A ramp ends when it would
    have ended, or at once if there is to be none.
    """
    if circuit.full_at and not limits.ramp_up:
        circuit = circuit._replace(full_at=0.0)
    evidence = circuit.evidence
    if isinstance(evidence, Streak) and limits.rule is None:
        evidence.limit = limits.failure_threshold
        return circuit
    if evidence is None or isinstance(evidence, Unjudged) or old.rule == limits.rule:
        return circuit
    if limits.rule is not None:
        return circuit._replace(evidence=limits.rule.evidence(limits.clock, evidence))
    streak = Streak(limits.failure_threshold, evidence.row)
    evidence.hand_over(streak)
    return circuit._replace(evidence=streak)


def in_flight(circuit: Circuit, now: float) -> tuple[Slot, ...]:
    """The probes that hold a slot now: those whose slot hasn't lapsed."""
    return tuple(slot for slot in circuit.slots if now < slot.deadline)


def vacant(circuit: Circuit, limits: Limits, now: float) -> bool:
    """Whether one more probe may go out."""
    return len(in_flight(circuit, now)) < limits.half_open_max_calls


def retry_after(circuit: Circuit, limits: Limits, now: float) -> float:
    """Seconds, >= 0, after which a call that is rejected now may be admitted."""
    if circuit.order is not None:
        return limits.timeout_duration if circuit.order is CircuitState.FORCED_OPEN else 0.0
    if circuit.judged is CircuitState.OPEN:
        return circuit.deadline - now if now < circuit.deadline else 0.0
    if circuit.judged is CircuitState.HALF_OPEN and not vacant(circuit, limits, now):
        return min(slot.deadline for slot in in_flight(circuit, now)) - now
    return 0.0


def _enter(
    circuit: Circuit,
    reason: Reason,
    *,
    evidence: Evidence | None = None,
    deadline: float = 0.0,
    cause: str | None = None,
    full_at: float = 0.0,
) -> Circuit:
    """Go through the table: the next generation, with nothing left of the last."""
    judged, generation = TRANSITIONS[circuit.judged, reason], circuit.generation + 1
    openings = 0 if judged is CircuitState.CLOSED else circuit.openings + (judged is CircuitState.OPEN)
    here = Circuit(judged, circuit.mode, generation, reason, evidence, deadline, cause)
    return here._replace(fleet_mode=circuit.fleet_mode, openings=openings, full_at=full_at)


def _full_at(limits: Limits, now: float) -> float:
    """When all calls are admitted again, if the circuit has recovered now; 0 if they are at once."""
    return now + limits.ramp_up if limits.ramp_up else 0.0


def _mode_of(state: CircuitState) -> CircuitState | None:
    """An administrative state as a mode; closed is none."""
    return None if state is CircuitState.CLOSED else state


def _ordered(
    generation: int,
    reason: Reason,
    mode: CircuitState | None,
    fleet_mode: CircuitState | None,
    limits: Limits,
) -> Circuit:
    """A generation that an operator begins."""
    evidence = _evidence(mode or fleet_mode, limits)
    return Circuit(CircuitState.CLOSED, mode, generation, reason, evidence, fleet_mode=fleet_mode)


def _evidence(order: CircuitState | None, limits: Limits) -> Evidence | None:
    """What a new closed generation counts in."""
    if order is CircuitState.FORCED_OPEN:
        return None
    if order is CircuitState.DISABLED:
        return Unjudged()
    if limits.rule is not None:
        return limits.rule.evidence(limits.clock)
    return Streak(limits.failure_threshold)


def _probe(circuit: Circuit, limits: Limits, now: float) -> tuple[Circuit, Probe]:
    """Give the next probe its slot, in place of those that lapsed."""
    slot = Slot(circuit.probes, now + limits.probe_timeout)
    slots = (*in_flight(circuit, now), slot)
    return circuit._replace(slots=slots, probes=circuit.probes + 1), Probe(circuit.generation, slot.number)


def _probed(
    circuit: Circuit, limits: Limits, probe: Probe, outcome: Outcome, now: float, cause: str | None
) -> Circuit:
    """A probe has ended. It gives back its own slot, if it still holds it, and no other's."""
    if outcome is Outcome.FAILURE:
        deadline = now + limits.timeout_duration
        return _enter(circuit, Reason.PROBE_FAILED, deadline=deadline, cause=cause)
    successes = circuit.successes + (outcome is Outcome.SUCCESS)
    if successes >= limits.success_threshold:
        evidence, full_at = _evidence(None, limits), _full_at(limits, now)
        return _enter(circuit, Reason.RECOVERED, evidence=evidence, full_at=full_at)
    slots = tuple(slot for slot in circuit.slots if slot.number != probe.number)
    return circuit._replace(successes=successes, slots=slots)
