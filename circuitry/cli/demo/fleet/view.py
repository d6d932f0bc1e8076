"""What a person would want to see of a fleet in progress, before it is put into lines or pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from circuitry import CircuitState
from circuitry.cli.demo.fleet.stage import AWAY, FROZEN, UP
from circuitry.cli.demo.platforms import PLATFORMS, SICK
from circuitry.cli.demo.view import COLOURS as STATE_COLOURS
from circuitry.cli.demo.view import LATELY

if TYPE_CHECKING:
    from circuitry.cli.demo.fleet.crew import Member
    from circuitry.cli.demo.fleet.stage import FleetStage

COLOURS: dict[str, str] = {
    **STATE_COLOURS,
    UP: "green",
    FROZEN: "cyan",
    AWAY: "cyan",
    "lost": "cyan",
    "found": "cyan",
    "killed": "magenta",
    "hired": "green",
}


class CircuitView(NamedTuple):
    """A circuit in one worker: its state, and whether that is the fleet's word."""

    platform: str
    state: str
    shown_state: str
    by_fleet: bool


class MemberView(NamedTuple):
    """A worker now. `probes` is the platform that it probes, if it does; the pages are of the last second."""

    name: str
    is_alive: bool
    circuits: list[CircuitView]
    probes: str | None
    pages: int
    from_cache: int
    link: str


def view_members(stage: FleetStage) -> list[MemberView]:
    """Look at all workers, the killed ones too."""
    return [_view(stage, member) for member in stage.members if member.port]


def view_sick_states(stage: FleetStage, member: Member, cells: int) -> list[str | None]:
    """Cut a worker's run into cells: its circuit of the sick platform, None where it didn't run."""
    turns = [
        (turn.moment - stage.start, turn.new_state) for turn in member.turns if turn.platform_id == SICK.id
    ]
    began = (member.started_at, str(member.knew or CircuitState.CLOSED))
    until = stage.now() if member.ended_at is None else member.ended_at
    return _cut([began, *turns], until, stage.plan.seconds, cells)


def view_redis_states(stage: FleetStage, cells: int) -> list[str | None]:
    """Cut the run into cells: how Redis was."""
    return _cut(
        [(moment, state) for moment, state in stage.redis_states], stage.now(), stage.plan.seconds, cells
    )


def view_faults(stage: FleetStage, cells: int) -> list[str | None]:
    """Cut the run into cells: how the sick platform was."""
    return _cut(
        [(moment, str(fault)) for moment, fault in stage.faults], stage.now(), stage.plan.seconds, cells
    )


def _view(stage: FleetStage, member: Member) -> MemberView:
    probed = (
        server.platform.name for server in stage.servers for name, _ in server.probes if name == member.name
    )
    visits = member.visitors.visits if member.visitors is not None else []
    since = stage.now() - LATELY
    lately = [
        it for it in visits if it.served and it.seconds is not None and it.asked_at + it.seconds > since
    ]
    return MemberView(
        name=member.name,
        is_alive=member.is_alive,
        circuits=[_circuit(member, platform.id, platform.name) for platform in PLATFORMS],
        probes=next(probed, None),
        pages=len(lately),
        from_cache=sum(bool(visit.cached) for visit in lately),
        link=member.link,
    )


def _circuit(member: Member, platform_id: str, name: str) -> CircuitView:
    state, verdict = member.states[platform_id]
    return CircuitView(name, state, state.replace("_", "-"), verdict == "fleet")


def _cut(changes: list[tuple[float, str]], until: float, seconds: float, cells: int) -> list[str | None]:
    """The last of what began in each cell, or what held before it."""
    width = seconds / cells
    cut: list[str | None] = []
    for number in range(cells):
        start, end = number * width, (number + 1) * width
        begun = [(moment, what) for moment, what in changes if moment < end]
        within = [what for moment, what in begun if moment >= start]
        rarer = next((what for what in within if what != CircuitState.CLOSED), None)
        cut.append((rarer or begun[-1][1]) if begun and start <= until else None)
    return cut
