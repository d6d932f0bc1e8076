"""The fleet's run as a picture that moves, for a terminal with rich installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from circuitry.cli.demo.fleet.display import look_yourself
from circuitry.cli.demo.fleet.summary import headline, summary_lines, waits_table
from circuitry.cli.demo.fleet.view import (
    COLOURS,
    CircuitView,
    view_faults,
    view_members,
    view_redis_states,
    view_sick_states,
)
from circuitry.cli.demo.platforms import PLATFORMS, SICK

if TYPE_CHECKING:
    from circuitry.cli.demo.fleet.report import FleetReport
    from circuitry.cli.demo.fleet.stage import FleetStage
    from circuitry.cli.demo.fleet.view import MemberView
    from circuitry.cli.demo.stage import News

_SIGNS = {"closed": "●", "half_open": "◐", "open": "○"}
_STRIPS = {
    "closed": "─",
    "half_open": "▒",
    "open": "█",
    "healthy": "─",
    "up": "─",
    "frozen": "▒",
    "away": "█",
}
_LABELS = 16  # columns before a strip
_WIDEST = 110


class FleetPicture:
    """Workers, timelines and news, redrawn several times a second; then the summary."""

    _stage: FleetStage

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="crop")

    def open(self, stage: FleetStage) -> None:
        """Draw the first picture."""
        self._stage = stage
        self._live.start()
        self.refresh()

    def refresh(self) -> None:
        """Draw the picture anew."""
        self._live.update(self._picture(), refresh=True)

    def close(self) -> None:
        """Leave the last picture where it is, and give the cursor back."""
        self._live.stop()

    def report(self, report: FleetReport) -> None:
        """Print the summary below the last picture."""
        facts = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        facts.add_column(style="dim", no_wrap=True)
        facts.add_column()
        for line in summary_lines(report):
            facts.add_row(*line)
        head, *rows = waits_table(report)
        waits = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for number, title in enumerate(head):
            waits.add_column(title, justify="right" if number else "left", no_wrap=True)
        for row in rows:
            waits.add_row(*row)
        self._console.print(Group("", headline(report), "", facts, "", waits))

    def _picture(self) -> Group:
        return Group(self._title(), "", self._workers(), "", self._timelines(), "", self._news())

    def _title(self) -> Text:
        stage = self._stage
        now = min(stage.now(), stage.plan.seconds)
        return Text.assemble(
            ("circuitry demo", "bold"),
            f"  {now:4.1f} of {stage.plan.seconds:g} s  ",
            f"{stage.plan.workers} processes, one verdict; Redis is ",
            (stage.redis_state, COLOURS[stage.redis_state]),
            ("\n" + look_yourself(stage), "dim"),
            no_wrap=True,
        )

    def _workers(self) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        table.add_column("worker", min_width=_LABELS - 2, no_wrap=True)
        for platform in PLATFORMS:  # so wide that nothing jumps
            table.add_column(platform.name, min_width=17 if platform is SICK else 11, no_wrap=True)
        for title in ("pages", "cached"):
            table.add_column(title, min_width=5, justify="right", no_wrap=True)
        table.add_column("link", min_width=4, no_wrap=True)
        for view in view_members(self._stage):
            table.add_row(*_row(view))
        return table

    def _timelines(self) -> Group:
        stage = self._stage
        cells = max(1, min(self._console.width, _WIDEST) - _LABELS - 1)
        workers = (
            _line(member.name, _strip(view_sick_states(stage, member, cells)))
            for member in stage.members
            if member.port
        )
        return Group(
            _line(f"{SICK.name} is", _strip(view_faults(stage, cells))),
            _line("Redis is", _strip(view_redis_states(stage, cells))),
            Text(f"{SICK.name}'s circuit in each worker: closed ─, open █, half-open ▒", "dim"),
            *workers,
        )

    def _news(self) -> Group:
        room = max(3, min(10, self._console.height - 15 - 2 * len(self._stage.members)))
        latest = self._stage.news[-room:]
        lines = [Text(_line_of(news), COLOURS.get(news.about, ""), no_wrap=True) for news in latest]
        return Group(*lines, *[""] * (room - len(lines)))


def _row(view: MemberView) -> list[Text | str]:
    if not view.is_alive:
        return [Text(view.name, "dim"), Text("✗ killed", "magenta"), "", "", "", "", ""]
    circuits = [_circuit(circuit, view.probes) for circuit in view.circuits]
    return [view.name, *circuits, str(view.pages), str(view.from_cache or ""), _link(view.link)]


def _circuit(view: CircuitView, probes: str | None) -> Text:
    note = " probes" if view.platform == probes else ""
    whose = " fleet" if view.by_fleet else ""
    return Text(f"{_SIGNS[view.state]} {view.shown_state}{note or whose}", COLOURS[view.state])


def _link(link: str) -> Text:
    return Text(link, "green" if link == "up" else "cyan")


def _line(label: str, strip: Text) -> Text:
    return Text.assemble(label.ljust(_LABELS), strip, no_wrap=True)


def _strip(cells: list[str | None]) -> Text:
    return Text.assemble(*((_STRIPS.get(what, "█"), COLOURS[what]) if what else (" ", "") for what in cells))


def _line_of(news: News) -> str:
    return f"{news.moment:5.1f} s  {news.text.replace('->', '→')}"
