"""Every state that a circuit can come to, and every step from each.

Two circuits are taken for the same if they differ only in the numbers of their generations and
probes, and by a shift of time. That leaves finitely many: deadlines that have passed are all
alike, and so are probes whose slot went to another, beyond as many as could close the circuit.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from circuitry import machine
from circuitry.machine import Admission, Circuit, CircuitState, Limits, Outcome, Probe, Reason, Rejection

from .reference import Called, Ended, Ordered

#: Seconds are whole numbers here: a tick is one.
TIMEOUT, PROBE_TIMEOUT = 2, 2


class Node(NamedTuple):
    """A circuit, up to names and the time."""

    judged: CircuitState
    mode: CircuitState | None
    streak: int | None
    left: float  # until the deadline
    cause: str | None
    successes: int
    slots: tuple[float, ...]  # what is left of each; 0 if it has lapsed
    lost: int  # probes whose slot went to another


@dataclass(frozen=True)
class Example:
    """A circuit that stands for all of its node, and how it came there."""

    circuit: Circuit
    now: float
    history: tuple[Called | Ended | Ordered, ...] = ()
    probes: tuple[tuple[Probe, int], ...] = ()  # those out, in this generation, and their call's number
    calls: int = 0


class Step(NamedTuple):
    """One move, from one example to another."""

    move: str
    before: Example
    after: Example
    verdict: Admission | Rejection | None = None


class Space:
    """All nodes of a circuit with these limits, and the steps between them."""

    def __init__(self, failure_threshold: int, success_threshold: int, probes: int) -> None:
        self.limits = Limits(failure_threshold, success_threshold, TIMEOUT, probes, PROBE_TIMEOUT)
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
            circuit.evidence.failures if circuit.evidence else None,
            max(0, circuit.deadline - now),
            circuit.cause,
            circuit.successes,
            slots,
            min(len(example.probes) - len(slots), useful),
        )

    # -- Moves -----------------------------------------------------------------------------------------

    def _steps(self, example: Example) -> Iterator[Step]:
        yield Step("tick", example, replace(branch(example), now=example.now + 1))
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

    def _call(self, example: Example) -> Step:
        fresh = branch(example)
        circuit, verdict = machine.admit(fresh.circuit, self.limits, fresh.now)
        probes = fresh.probes
        if isinstance(verdict, Probe):
            probes = (*probes, (verdict, fresh.calls))
        history = (*fresh.history, Called(fresh.now))
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

    def _administer(self, example: Example, reason: Reason) -> Step:
        circuit = machine.administer(example.circuit, self.limits, reason)
        history = (*example.history, Ordered(example.now, reason))
        return Step(f"an operator's {reason}", example, moved(example, circuit, history))


def moved(example: Example, circuit: Circuit, history: tuple[Called | Ended | Ordered, ...]) -> Example:
    same = circuit.generation == example.circuit.generation
    return replace(example, circuit=circuit, history=history, probes=example.probes if same else ())


def branch(example: Example) -> Example:
    """The same, with evidence of its own: that is the one part of a circuit that moves."""
    circuit = example.circuit
    return replace(example, circuit=circuit._replace(evidence=copy.copy(circuit.evidence)))
