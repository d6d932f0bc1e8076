"""What a run of the fleet came to, counted and timed: nothing in it is estimated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from circuitry import CircuitState
from circuitry.cli.demo.fleet.stage import AWAY, FROZEN, UP
from circuitry.cli.demo.fleet.worker import PROBE_ALONE, PROBE_FOR_ALL
from circuitry.cli.demo.platforms import PLATFORMS, SICK
from circuitry.cli.demo.report import FAULTS, percentile
from circuitry.cli.demo.scenario import Fault

if TYPE_CHECKING:
    from collections.abc import Iterable

    from circuitry.cli.demo.fleet.crew import Member
    from circuitry.cli.demo.fleet.stage import FleetStage

LONG = 0.01  # seconds: a call to which more was added has waited


@dataclass(frozen=True, slots=True)
class Waits:
    """What circuit and cache added to calls, in seconds: all but the time at the platform itself."""

    calls: int
    median: float | None
    p99: float | None
    longest: float | None
    waited: int  # calls to which more than 10 ms was added


@dataclass(frozen=True, slots=True)
class Added:
    """The calls by how Redis was when they began; those to be probes, perhaps, are counted by themselves."""

    redis_up: Waits
    to_ask_for_a_probe: Waits  # while Redis was up, and the fleet was half-open: these may wait for it
    redis_frozen: Waits
    redis_away: Waits


@dataclass(frozen=True, slots=True)
class Opening:
    """The first outage: how soon after the first worker the last one opened, in seconds."""

    workers: int
    spread: float | None
    requests: int  # that had reached the platform by then


@dataclass(frozen=True, slots=True)
class Probes:
    """The most probes that were at the sick platform at once, and how many there were in all."""

    at_once_for_the_fleet: int
    at_once_while_workers_were_alone: int
    in_all: int


@dataclass(frozen=True, slots=True)
class Recovery:
    """After a worker was killed with the probe in its hands; seconds since then, None for never."""

    killed: str
    lease: float
    next_probe_by: str | None
    next_probe: float | None
    all_closed: float | None
    replacement: str | None
    replacement_knew: str | None


@dataclass(frozen=True, slots=True)
class Pages:
    """What the visitors got."""

    asked: int
    served: int
    with_cached_row: int
    asked_while_sick: int
    served_while_sick: int


@dataclass(frozen=True, slots=True)
class FleetReport:
    """A whole run."""

    seconds: float
    workers: int
    redis: str
    redis_disturbed: bool
    sick_platform: str
    sick_for: float
    requests_while_sick: int
    requests_without_circuits: int  # one for each page that was asked for
    opening: Opening
    probes: Probes
    recovery: Recovery | None
    added: Added
    pages: Pages
    states: dict[str, dict[str, str]]  # of each worker, by platform
    fleet: dict[str, str] | None  # as Redis has it; None if it couldn't be read
    all_agree: bool
    all_closed: bool
    news: list[tuple[float, str]]


def report_on(stage: FleetStage, fleet: dict[str, str] | None) -> FleetReport:
    """Sum up a run that has ended."""
    pages = _pages(stage)
    states = {it.name: {name: state for name, (state, _) in it.states.items()} for it in stage.alive}
    everywhere = [*states.values(), *([fleet] if fleet is not None else [])]
    outages = [(start, end) for start, end, fault in _spans(stage.faults, stage.now()) if fault in FAULTS]
    return FleetReport(
        seconds=stage.now(),
        workers=stage.plan.workers,
        redis=stage.redis.title,
        redis_disturbed=stage.plan.disturbs_redis,
        sick_platform=SICK.id,
        sick_for=sum(end - start for start, end in outages),
        requests_while_sick=_reached(stage),
        requests_without_circuits=pages.asked_while_sick,
        opening=_opening(stage),
        probes=_probes(stage),
        recovery=_recovery(stage),
        added=_added(stage),
        pages=pages,
        states=states,
        fleet=fleet,
        all_agree=all(one == everywhere[0] for one in everywhere),
        all_closed=all(state == CircuitState.CLOSED for one in everywhere for state in one.values()),
        news=[(news.moment, news.text) for news in stage.news],
    )


def read_fleet(url: str, prefix: str) -> dict[str, str] | None:
    """The circuits as Redis has them, by platform: read as an onlooker, which joins no fleet.

    A circuit of which Redis knows nothing is closed.
    """
    from circuitry.redis import RedisStore, StoreUnavailableError

    with RedisStore(url, prefix=f"{prefix}circuit:") as store:
        try:
            circuits = store.circuits()
        except StoreUnavailableError:
            return None
    known = {name.removeprefix("normalizer-"): str(view.shown) for name, view in circuits.items()}
    return {platform.id: known.get(platform.id, str(CircuitState.CLOSED)) for platform in PLATFORMS}


def waits(calls: Iterable[float]) -> Waits:
    """Sum up what was added to these calls."""
    added = sorted(calls)
    return Waits(
        calls=len(added),
        median=percentile(added, 0.5),
        p99=percentile(added, 0.99),
        longest=added[-1] if added else None,
        waited=sum(seconds > LONG for seconds in added),
    )


def _added(stage: FleetStage) -> Added:
    spans = _spans(stage.redis_states, stage.now())

    def while_it_was(wanted: str, *, to_probe: bool | None = None) -> Waits:
        stretches = [(start, end) for start, end, state in spans if state == wanted]
        return waits(
            added
            for member in stage.members
            for began, added, may_probe in member.calls
            if to_probe in (None, may_probe)
            and any(start <= began - stage.start < end for start, end in stretches)
        )

    return Added(
        while_it_was(UP, to_probe=False),
        while_it_was(UP, to_probe=True),
        while_it_was(FROZEN),
        while_it_was(AWAY),
    )


def _spans(changes: list[tuple[float, str]] | list[tuple[float, Fault]], now: float) -> list[Span]:
    """Stretches of time with what held in each."""
    ends = [*(moment for moment, _ in changes[1:]), now]
    return [(start, end, what) for (start, what), end in zip(changes, ends, strict=True)]


Span = tuple[float, float, str]


def _reached(stage: FleetStage) -> int:
    """Requests that the sick platform got while it was sick, of whatever worker."""
    return sum(count for (_, fault), count in stage.sick.requests.items() if fault is not Fault.NONE)


def _opening(stage: FleetStage) -> Opening:
    began = next((moment for moment, fault in stage.faults if fault in FAULTS), stage.now())
    opened = [_first(it, stage, CircuitState.OPEN, began) for it in stage.members[: stage.plan.workers]]
    known = [moment for moment in opened if moment is not None]
    spread = max(known) - min(known) if len(known) == len(opened) else None
    until = max(known, default=began)
    return Opening(len(known), spread, sum(began <= moment <= until for moment in stage.sick.failed_at))


def _probes(stage: FleetStage) -> Probes:
    most = stage.sick.most_probes
    return Probes(most.get(PROBE_FOR_ALL, 0), most.get(PROBE_ALONE, 0), len(stage.sick.probed))


def _recovery(stage: FleetStage) -> Recovery | None:
    killed = stage.killed
    if killed is None or killed.ended_at is None:
        return None
    at = killed.ended_at
    later = [(moment, name) for moment, name in stage.sick.probed if moment > at]
    survivors = [it for it in stage.members[: stage.plan.workers] if it is not killed]
    closed = [_first(it, stage, CircuitState.CLOSED, at) for it in survivors]
    known = [moment for moment in closed if moment is not None]
    new = stage.replacement
    return Recovery(
        killed=killed.name,
        lease=stage.plan.open_for,
        next_probe_by=later[0][1] if later else None,
        next_probe=later[0][0] - at if later else None,
        all_closed=max(known) - at if known and len(known) == len(closed) else None,
        replacement=new.name if new is not None else None,
        replacement_knew=new.knew if new is not None else None,
    )


def _first(member: Member, stage: FleetStage, state: CircuitState, since: float) -> float | None:
    """When this worker's circuit of the sick platform first came to a state since then."""
    moments = (
        turn.moment - stage.start
        for turn in member.turns
        if turn.platform_id == SICK.id and turn.new_state == state
    )
    return min((moment for moment in moments if moment >= since), default=None)


def _pages(stage: FleetStage) -> Pages:
    visits = [visit for it in stage.members if it.visitors is not None for visit in it.visitors.visits]
    sick = [visit for visit in visits if visit.fault in FAULTS]
    return Pages(
        asked=len(visits),
        served=sum(visit.served for visit in visits),
        with_cached_row=sum(bool(visit.cached) for visit in visits),
        asked_while_sick=len(sick),
        served_while_sick=sum(visit.served for visit in sick),
    )
