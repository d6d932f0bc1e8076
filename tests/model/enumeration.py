"""Every state that a circuit can come to, and every step from each.

Two circuits are taken for the same if they differ only in the numbers of their generations and
probes, and by a shift of time. That leaves finitely many: deadlines that have passed are all
alike, and so are probes whose slot went to another, beyond as many as could close the circuit.

A circuit in a fleet has two more things to it, and more that can happen: the fleet decides, and an
operator speaks to all. What a fleet says isn't held to any rule here: every verdict may come at any time.

A circuit that ramps up has one more: a call may be shed, or not, while it does.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from circuitry import machine
from circuitry.machine import Admission, Circuit
from circuitry.states import CircuitState, FleetVerdict, Limits, Outcome, Probe, Reason, Rejection

from .reference import (
    CLOSED,
    DISABLED,
    FORCED_OPEN,
    HALF_OPEN,
    OPEN,
    SHADOW,
    Called,
    Decided,
    Ended,
    Happening,
    Ordered,
)

#: Seconds are whole numbers here: a tick is one.
TIMEOUT, PROBE_TIMEOUT = 2, 2

#: What a fleet may say: its state, an operator's word to it, and why. One that rejects or admits all is
#: shown with each state, since a circuit must not go by it.
DECISIONS = (
    (CLOSED, None, "recovered"),
    (CLOSED, None, "reset"),
    (OPEN, None, "tripped"),
    (HALF_OPEN, None, "timed_out"),
    (CLOSED, SHADOW, "shadowed"),
    (OPEN, SHADOW, "tripped"),
    (HALF_OPEN, SHADOW, "timed_out"),
    (OPEN, FORCED_OPEN, "forced_open"),
    (HALF_OPEN, DISABLED, "disabled"),
)


class Node(NamedTuple):
    """A circuit, up to names and the time."""

    judged: CircuitState
    mode: CircuitState | None
    fleet_mode: CircuitState | None
    followed: bool
    streak: int | None
    left: float  # until the deadline
    cause: str | None
    successes: int
    slots: tuple[float, ...]  # what is left of each; 0 if it has lapsed
    lost: int  # probes whose slot went to another
    climb: float  # until the ramp is over

    @property
    def order(self) -> CircuitState | None:
        """The operator's word that holds."""
        return self.mode or self.fleet_mode


@dataclass(frozen=True)
class Example:
    """A circuit that stands for all of its node, and how it came there."""

    circuit: Circuit
    now: float
    history: tuple[Happening, ...] = ()
    probes: tuple[tuple[Probe, int], ...] = ()  # those out, in this generation, and their call's number
    calls: int = 0


class Step(NamedTuple):
    """One move, from one example to another."""

    move: str
    before: Example
    after: Example
    verdict: Admission | Rejection | FleetVerdict | None = None


class Space:
    """All nodes of a circuit with these limits, and the steps between them; `shared`, in a fleet."""

    def __init__(
        self,
        failure_threshold: int,
        success_threshold: int,
        probes: int,
        shared: bool = False,
        ramp_up: int = 0,
    ) -> None:
        self.numbers = (failure_threshold, success_threshold, probes)
        self.shared = shared
        numbers = (failure_threshold, success_threshold, TIMEOUT, probes, PROBE_TIMEOUT)
        self.limits = Limits(*numbers, ramp_up=ramp_up)
        first = Example(machine.new(self.limits), 0)
        self.examples = {self.node(first): first}
        self.steps: list[Step] = []
        unexplored = deque([first])
        while unexplored:
            for step in self._steps(unexplored.popleft()):
                self.steps.append(step)
                node = self.node(step.after)
                if node not in self.examples:
                    self.examples[node] = step.after
                    unexplored.append(step.after)

    def node(self, example: Example) -> Node:
        circuit, now = example.circuit, example.now
        slots = tuple(max(0, slot.deadline - now) for slot in circuit.slots)
        useful = self.limits.success_threshold - circuit.successes
        return Node(
            circuit.judged,
            circuit.mode,
            circuit.fleet_mode,
            circuit.followed,
            circuit.evidence.failures if circuit.evidence else None,
            max(0, circuit.deadline - now),
            circuit.cause,
            circuit.successes,
            slots,
            min(len(example.probes) - len(slots), useful),
            max(0, circuit.full_at - now),
        )

    # -- Moves -----------------------------------------------------------------------------------------

    def _steps(self, example: Example) -> Iterator[Step]:
        yield Step("tick", example, replace(branch(example), now=example.now + 1))
        if example.now < example.circuit.full_at:
            yield self._call(example, lot=0.0)
        if example.circuit.evidence is not None:
            for outcome in Outcome:
                yield self._whole_call(example, outcome)
        else:
            yield self._call(example)
        for place in range(len(example.probes)):
            for outcome in Outcome:
                yield self._end(example, place, outcome)
        for reason in machine.ADMINISTRATIVE:
            yield self._administer(example, reason)
        if self.shared:
            for reason in machine.ADMINISTRATIVE:
                yield self._administer(example, reason, of_fleet=True)
            for decision in DECISIONS:
                yield self._follow(example, *decision)

    def _call(self, example: Example, lot: float = 1.0) -> Step:
        fresh = branch(example)
        circuit, verdict = machine.admit(fresh.circuit, self.limits, fresh.now, lot)
        probes = fresh.probes
        if isinstance(verdict, Probe):
            probes = (*probes, (verdict, fresh.calls))
        history = (*fresh.history, Called(fresh.now, lot))
        after = Example(circuit, fresh.now, history, probes, fresh.calls + 1)
        return Step("call", example, after, verdict)

    def _whole_call(self, example: Example, outcome: Outcome) -> Step:
        """A call of a closed circuit. It is all the same when it began."""
        called = self._call(example)
        after = self._ended(called.after, called.verdict, example.calls, outcome)
        return Step(f"a call's {outcome.value}", example, after, called.verdict)

    def _end(self, example: Example, place: int, outcome: Outcome) -> Step:
        probe, call = example.probes[place]
        kept = example.probes[:place] + example.probes[place + 1 :]
        after = self._ended(replace(branch(example), probes=kept), probe, call, outcome)
        held = any(slot.number == probe.number for slot in machine.in_flight(example.circuit, example.now))
        return Step(f"a {'' if held else 'lost '}probe's {outcome.value}", example, after, probe)

    def _ended(self, example: Example, admission: Admission, call: int, outcome: Outcome) -> Example:
        cause = "refused" if outcome is Outcome.FAILURE else None
        circuit = machine.record(example.circuit, self.limits, admission, outcome, example.now, cause)
        history = (*example.history, Ended(example.now, call, outcome, cause))
        return moved(example, circuit, history)

    def _administer(self, example: Example, reason: Reason, of_fleet: bool = False) -> Step:
        circuit = machine.administer(example.circuit, self.limits, reason, of_fleet=of_fleet)
        history = (*example.history, Ordered(example.now, reason, of_fleet))
        whose = "a fleet's operator" if of_fleet else "an operator"
        return Step(f"{whose}'s {reason}", example, moved(example, circuit, history))

    def _follow(self, example: Example, state: CircuitState, mode: CircuitState | None, reason: str) -> Step:
        wait, cause = (TIMEOUT, "theirs") if state is OPEN else (0, None if state is CLOSED else "theirs")
        verdict = FleetVerdict(state, mode, reason, example.now + wait, cause)
        circuit = machine.follow(example.circuit, self.limits, verdict)
        history = (*example.history, Decided(example.now, state, mode, reason, wait, cause))
        move = f"a fleet that is {mode or state}" + (" by reset" if reason == "reset" else "")
        return Step(move, example, moved(example, circuit, history), verdict)


def moved(example: Example, circuit: Circuit, history: tuple[Happening, ...]) -> Example:
    same = circuit.generation == example.circuit.generation
    return replace(example, circuit=circuit, history=history, probes=example.probes if same else ())


def branch(example: Example) -> Example:
    """The same, with evidence of its own: that is the one part of a circuit that moves."""
    circuit = example.circuit
    return replace(example, circuit=circuit._replace(evidence=copy.copy(circuit.evidence)))
