"""Who probes: users' calls or, in their place, a health check.

Beside the machine, which doesn't know who is asking. A health check's probe is a probe like any other: it
is admitted by the machine, has its slot and its outcome. What is different is what users' calls are told
meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from circuitry import machine
from circuitry.machine import Admission, Circuit
from circuitry.states import CircuitState, Limits, Rejection

#: Says whether a call may go out now: `machine.admit`, or one of those here.
Admit: TypeAlias = Callable[[Circuit, Limits, float, float], tuple[Circuit, Admission | Rejection]]


def admit(
    circuit: Circuit, limits: Limits, now: float, lot: float = 1.0
) -> tuple[Circuit, Admission | Rejection]:
    """May a user's call go out now, where a health check takes the probes? It is never one of them."""
    if circuit.evidence is not None:
        return machine.admit(circuit, limits, now, lot)
    return circuit, machine.refuse(circuit, retry_after(circuit, limits, now))


def probe(
    circuit: Circuit, limits: Limits, now: float, lot: float = 1.0
) -> tuple[Circuit, Admission | Rejection]:
    """May the health check be asked now? Its probe, or why not: a closed circuit has none to give."""
    if circuit.evidence is None:
        return machine.admit(circuit, limits, now)
    return circuit, machine.refuse(circuit, 0.0)


def retry_after(circuit: Circuit, limits: Limits, now: float) -> float:
    """Seconds, >= 0, after which a user's call that is rejected now may be admitted.

    Where that is for a health check to find out, the time between two checks is the best guess.
    """
    left = machine.retry_after(circuit, limits, now)
    if limits.check_interval is None or circuit.order is not None:
        return left
    is_waiting = circuit.judged is CircuitState.CLOSED or (circuit.judged is CircuitState.OPEN and left > 0)
    return left if is_waiting else limits.check_interval


def is_wanted(circuit: Circuit) -> bool:
    """Whether there is something to find out. What a test has staged isn't (see `testing.forced`)."""
    return circuit.judged is not CircuitState.CLOSED and circuit.generation >= 0
