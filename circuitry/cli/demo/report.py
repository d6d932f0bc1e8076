"""What a run came to, counted and timed: nothing in it is estimated."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from circuitry import CircuitState
from circuitry.cli.demo.platforms import SICK
from circuitry.cli.demo.scenario import Fault

if TYPE_CHECKING:
    from collections.abc import Iterable

    from circuitry.cli.demo.stage import Circuit, Side, Stage
    from circuitry.cli.demo.traffic import Visit

FAULTS = tuple(fault for fault in Fault if fault is not Fault.NONE)


@dataclass(frozen=True, slots=True)
class Figures:
    """What some visitors saw. The waits, in seconds, are of them all: the unserved waited for a refusal."""

    asked: int
    served: int
    served_with_cached_row: int
    oldest_cached_row: float | None
    unanswered: int
    median: float | None
    p99: float | None


@dataclass(frozen=True, slots=True)
class SideReport:
    """One gateway: what it asked of the sick platform, and what its visitors saw."""

    name: str
    requests_to_sick_platform: int
    requests_while_sick: int
    whole_run: Figures
    while_sick: Figures
    by_fault: dict[str, Figures]


@dataclass(frozen=True, slots=True)
class CircuitReport:
    """One circuit: where it stands at the end, and what it did."""

    name: str
    platform: str
    state: str
    opened: int
    recovery_attempts: int
    successes: int
    failures: int
    rejected: int
    served_from_cache: int


@dataclass(frozen=True, slots=True)
class Recovery:
    """How long after a fault had ended the circuit closed again; None if it didn't, 0 if it wasn't open."""

    fault: str
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """A whole run. `ports` are those the servers listened on."""

    seconds: float
    ports: dict[str, int]
    sick_platform: str
    sick_for: float
    with_circuits: SideReport
    without_circuits: SideReport
    circuits: list[CircuitReport]
    recoveries: list[Recovery]
    recovered: bool


def report_on(stage: Stage) -> Report:
    """Sum up a run that has ended."""
    with_circuits, without_circuits = (_side(stage, side) for side in stage.sides)
    circuits = [_circuit(circuit) for circuit in stage.circuits]
    return Report(
        seconds=stage.now(),
        ports=stage.ports,
        sick_platform=SICK.id,
        sick_for=sum(end - start for _, start, end in _outages(stage)),
        with_circuits=with_circuits,
        without_circuits=without_circuits,
        circuits=circuits,
        recoveries=[Recovery(fault, _recovery(stage, end)) for fault, _, end in _outages(stage)],
        recovered=all(circuit.state == CircuitState.CLOSED for circuit in circuits),
    )


def figures(visits: Iterable[Visit], now: float) -> Figures:
    """Sum up what these visitors saw until now."""
    seen = list(visits)
    waits = sorted(visit.waited(now) for visit in seen)
    return Figures(
        asked=len(seen),
        served=sum(visit.served for visit in seen),
        served_with_cached_row=sum(bool(visit.cached) for visit in seen),
        oldest_cached_row=max((age for visit in seen for age in visit.cached.values()), default=None),
        unanswered=sum(visit.status is None for visit in seen),
        median=percentile(waits, 0.5),
        p99=percentile(waits, 0.99),
    )


def percentile(ascending: list[float], share: float) -> float | None:
    """Return the smallest value that at least that share of the values don't exceed (the nearest rank)."""
    return ascending[max(0, math.ceil(share * len(ascending)) - 1)] if ascending else None


def _side(stage: Stage, side: Side) -> SideReport:
    visits, now = side.visitors.visits, stage.now()
    return SideReport(
        name=side.name,
        requests_to_sick_platform=stage.sick.reached_by(side.name, while_sick=False),
        requests_while_sick=stage.sick.reached_by(side.name, while_sick=True),
        whole_run=figures(visits, now),
        while_sick=figures((visit for visit in visits if visit.fault in FAULTS), now),
        by_fault={fault: figures((it for it in visits if it.fault is fault), now) for fault in FAULTS},
    )


def _circuit(circuit: Circuit) -> CircuitReport:
    metrics = circuit.breaker.metrics()
    return CircuitReport(
        name=metrics.name,
        platform=circuit.platform.id,
        state=metrics.state,
        opened=metrics.opened,
        recovery_attempts=metrics.recovery_attempts,
        successes=metrics.successes,
        failures=metrics.failures,
        rejected=metrics.rejected,
        served_from_cache=metrics.fallbacks,
    )


def _outages(stage: Stage) -> list[tuple[Fault, float, float]]:
    """Each fault with the moments it began and ended."""
    pairs = zip(stage.faults, [*stage.faults[1:], (stage.now(), Fault.NONE)], strict=True)
    return [(fault, start, end) for (start, fault), (end, _) in pairs if fault is not Fault.NONE]


def _recovery(stage: Stage, healed: float) -> float | None:
    history = next(circuit.history for circuit in stage.circuits if circuit.platform is SICK)
    before = [state for moment, state in history if moment <= healed]
    if before[-1] == CircuitState.CLOSED:
        return 0.0
    closings = (moment for moment, state in history if moment > healed and state == CircuitState.CLOSED)
    return next((moment - healed for moment in closings), None)
