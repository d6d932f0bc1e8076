"""How a fleet's run is shown: as plain lines, as one JSON object, or (in `rich_display`) as a picture."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

from circuitry.cli.demo.display import STATUS_EVERY, Display, JsonDisplay, Kinds, choose, coloured
from circuitry.cli.demo.fleet.chorus import MOMENT
from circuitry.cli.demo.fleet.summary import headline, summary_lines, waits_table
from circuitry.cli.demo.fleet.view import COLOURS, view_members
from circuitry.cli.demo.platforms import SICK

if TYPE_CHECKING:
    from circuitry.cli.demo.fleet.report import FleetReport
    from circuitry.cli.demo.fleet.stage import FleetStage
    from circuitry.cli.demo.fleet.view import MemberView
    from circuitry.cli.demo.stage import News

_LABELS = 48  # columns


class FleetLines:
    """One line for each thing that happens, and each worker once a second. Plain ASCII."""

    _stage: FleetStage

    def __init__(self, *, colour: bool) -> None:
        self._colour = colour
        self._told: set[News] = set()
        self._waiting: list[tuple[float, list[str]]] = []  # for what may still come from before it
        self._next_status = STATUS_EVERY

    def open(self, stage: FleetStage) -> None:
        """Say what is about to be seen."""
        self._stage = stage
        for line in introduction(stage):
            print(line, flush=True)

    def refresh(self) -> None:
        """Tell what has happened since, and how things are if it's time to."""
        for news in [news for news in self._stage.news if news not in self._told]:
            self._told.add(news)
            self._waiting.append((news.moment, [self._coloured(news.about, news.text)]))
        if self._stage.now() >= self._next_status:
            self._next_status += STATUS_EVERY
            self._waiting.append((self._stage.now(), self._status()))
        self._print_until(self._stage.now() - 2 * MOMENT)

    def close(self) -> None:
        """Tell the rest."""
        self._print_until(math.inf)

    def report(self, report: FleetReport) -> None:
        """Print the summary."""
        print(f"\n{headline(report)}\n")
        for line in summary_lines(report):
            print(f"{line.label:{_LABELS}}{line.figure}")
        print()
        for first, *rest in waits_table(report):
            print(f"{first:{_LABELS}}" + "".join(f"{cell:>10}" for cell in rest))
        sys.stdout.flush()

    def _print_until(self, moment: float) -> None:
        self._waiting.sort(key=lambda entry: entry[0])
        while self._waiting and self._waiting[0][0] <= moment:
            at, (first, *rest) = self._waiting.pop(0)
            print("\n".join([f"{at:5.1f} s  {first}", *(f"         {line}" for line in rest)]), flush=True)

    def _status(self) -> list[str]:
        how = f"Redis {self._stage.redis_state}, {SICK.name} {self._stage.fault()}"
        return [how, *map(self._member, view_members(self._stage))]

    def _member(self, view: MemberView) -> str:
        if not view.is_alive:
            return f"{view.name}: killed"
        circuits = (
            self._coloured(it.state, f"{it.platform} {it.shown_state}{'*' if it.by_fleet else ''}")
            for it in view.circuits
        )
        probes = f", probes {view.probes}" if view.probes else ""
        cached = f", {view.from_cache} with a cached row" if view.from_cache else ""
        return (
            f"{view.name}: {', '.join(circuits)}{probes}; {view.pages} pages lately{cached}; link {view.link}"
        )

    def _coloured(self, about: str, text: str) -> str:
        return coloured(COLOURS.get(about) if self._colour else None, text)


def introduction(stage: FleetStage) -> list[str]:
    """Say who plays."""
    plan = stage.plan
    per_second = f"{plan.pages_per_second:g}"
    lines = [
        f"circuitry demo, {plan.seconds:g} s: {plan.workers} processes ask Netflix, Prime Video and Disney+,",
        f"and share their circuits on {stage.redis.title}. {per_second} visitors a second ask each.",
        look_yourself(stage),
    ]
    if not plan.disturbs_redis:
        lines.append("It was given, so it is neither frozen nor killed here.")
    return [
        *lines,
        "A state with * is the fleet's verdict; one without is the worker's own, as it is when alone.",
        "",
    ]


def look_yourself(stage: FleetStage) -> str:
    """How to read the verdict without circuitry."""
    key = f"{stage.redis.prefix}circuit:normalizer-{SICK.id}:state"
    return f"Look yourself: redis-cli {stage.redis.option} get {key}"


def choose_fleet_display(*, as_json: bool, plain: bool) -> Display[FleetStage, FleetReport]:
    """Choose what suits stdout: a picture only for a terminal, and only with rich installed."""
    return choose(Kinds(_json, _lines, _picture), as_json=as_json, plain=plain)


def _json() -> Display[Any, Any]:
    return JsonDisplay(digits=6)


def _lines(colour: bool) -> Display[FleetStage, FleetReport]:
    return FleetLines(colour=colour)


def _picture() -> Display[FleetStage, FleetReport]:
    from circuitry.cli.demo.fleet.rich_display import FleetPicture

    return FleetPicture()
