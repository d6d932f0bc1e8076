"""What a person would want to see of a run in progress, before it is put into lines or pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from circuitry import CircuitState
from circuitry.cli.demo.report import figures
from circuitry.cli.demo.scenario import Fault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from circuitry.cli.demo.stage import Circuit, Side, Stage
    from circuitry.cli.demo.traffic import Visit

#: A colour for each circuit's state, and for each way the sick platform can be.
COLOURS: dict[str, str] = {
    CircuitState.CLOSED: "green",
    CircuitState.HALF_OPEN: "yellow",
    CircuitState.OPEN: "red",
    Fault.NONE: "green",
    Fault.ERRORS: "magenta",
    Fault.HANGING: "magenta",
    Fault.SLOW: "magenta",
}
LATELY = 1.0  # seconds
LONG_WAIT = 1.0  # seconds, for a page


class CircuitView(NamedTuple):
    """A circuit now, and its calls so far.

    `cached_for` is the age of what visitors lately got from its cache, None if they got nothing from it.
    """

    name: str
    state: str
    shown_state: str
    note: str
    calls: int
    rejected: int
    from_cache: int
    cached_for: float | None


class SideView(NamedTuple):
    """A gateway's visitors, lately and in all: how many were answered, how many with a page, how soon."""

    answered: int
    served: int
    median: float | None
    waiting: int
    asked_in_all: int
    served_in_all: int


class Cell(NamedTuple):
    """A stretch of time: the share of its visitors who got no page, and how it was for the others."""

    unserved: float
    slow: bool
    cached: bool


def view_circuit(stage: Stage, circuit: Circuit) -> CircuitView:
    """Look at a circuit, through its metrics and its visitors' eyes."""
    metrics = circuit.breaker.metrics()
    due = f"in {metrics.retry_after:.1f} s" if metrics.retry_after else "is due"
    notes = {CircuitState.OPEN: f"probe {due}", CircuitState.HALF_OPEN: "probing"}
    return CircuitView(
        name=circuit.platform.name,
        state=metrics.state,
        shown_state=metrics.state.replace("_", "-"),
        note=notes.get(metrics.state, ""),
        calls=metrics.calls,
        rejected=metrics.rejected,
        from_cache=metrics.fallbacks,
        cached_for=_cached_for(stage, circuit),
    )


def view_side(stage: Stage, side: Side) -> SideView:
    """Look at a gateway's visitors."""
    visits, now = side.visitors.visits, stage.now()
    lately, in_all = figures(_answered_lately(visits, now), now), figures(visits, now)
    return SideView(
        answered=lately.asked,
        served=lately.served,
        median=lately.median,
        waiting=in_all.unanswered,
        asked_in_all=in_all.asked,
        served_in_all=in_all.served,
    )


def view_states(stage: Stage, circuit: Circuit, cells: int) -> list[str | None]:
    """Cut a circuit's run into cells: the most telling state of each, None for what is still to come."""
    now, width = stage.now(), stage.scenario.seconds / cells
    ends = [*(moment for moment, _ in circuit.history[1:]), now]
    stays = [(start, end, state) for (start, state), end in zip(circuit.history, ends, strict=True)]
    starts = [number * width for number in range(cells)]
    return [_most_telling(stays, start, start + width) if start <= now else None for start in starts]


def view_visits(stage: Stage, side: Side, cells: int) -> list[Cell | None]:
    """Cut a gateway's run into cells: how its visitors fared, None where there were none yet."""
    width = stage.scenario.seconds / cells
    visits: list[list[Visit]] = [[] for _ in range(cells)]
    for visit in side.visitors.visits:
        visits[min(cells - 1, int(visit.asked_at / width))].append(visit)
    return [_fared(those) if those else None for those in visits]


def _most_telling(stays: Sequence[tuple[float, float, str]], start: float, end: float) -> str:
    """Half-open is short and open is rare: either tells more than closed."""
    states = {state for began, ended, state in stays if began < end and ended >= start}
    order = (CircuitState.HALF_OPEN, CircuitState.OPEN)
    return next((state for state in order if state in states), CircuitState.CLOSED)


def _fared(visits: Sequence[Visit]) -> Cell:
    served = [visit for visit in visits if visit.served]
    return Cell(
        unserved=1 - len(served) / len(visits),
        slow=any(visit.seconds is not None and visit.seconds > LONG_WAIT for visit in served),
        cached=any(visit.cached for visit in served),
    )


def _answered_lately(visits: Sequence[Visit], now: float) -> list[Visit]:
    return [
        visit
        for visit in visits
        if visit.seconds is not None and visit.asked_at + visit.seconds > now - LATELY
    ]


def _cached_for(stage: Stage, circuit: Circuit) -> float | None:
    """The age of the newest cached row of this platform that a visitor got lately."""
    lately = _answered_lately(stage.sides[0].visitors.visits, stage.now())
    ages = (visit.cached.get(circuit.platform.id) for visit in reversed(lately))
    return next((age for age in ages if age is not None), None)
