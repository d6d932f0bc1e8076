"""The run as a picture that moves, for a terminal with rich installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from circuitry.cli.demo.platforms import SICK
from circuitry.cli.demo.scenario import Fault
from circuitry.cli.demo.stage import WITH
from circuitry.cli.demo.summary import duration, headline, recovery_line, summary_rows
from circuitry.cli.demo.view import COLOURS, view_circuit, view_side, view_states, view_visits

if TYPE_CHECKING:
    from rich.console import JustifyMethod

    from circuitry.cli.demo.report import Report
    from circuitry.cli.demo.stage import News, Stage
    from circuitry.cli.demo.view import Cell

_SIGNS = {"closed": "●", "half_open": "◐", "open": "○"}
_STRIPS = {"closed": "─", "half_open": "▒", "open": "█"}
_LEVELS = " ▁▂▃▄▅▆▇█"
_LABELS = 16  # columns before a strip
_WIDEST = 110


class RichDisplay:
    """Circuits, timelines, visitors and news, redrawn several times a second; then the summary as a table."""

    _stage: Stage

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="crop")

    def open(self, stage: Stage) -> None:
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

    def report(self, report: Report) -> None:
        """Print the table below the last picture."""
        table = Table(box=None, padding=(0, 2, 0, 0))
        table.add_column()
        table.add_column("with circuits", justify="right", style="green")
        table.add_column("without", justify="right", style="red")
        for row in summary_rows(report):
            table.add_row(*row)
        self._console.print(Group("", headline(report), "", table, "", recovery_line(report)))

    def _picture(self) -> Group:
        return Group(
            self._title(), "", self._circuits(), "", self._timelines(), "", self._visitors(), "", self._news()
        )

    def _title(self) -> Text:
        stage = self._stage
        now = min(stage.now(), stage.scenario.seconds)
        return Text.assemble(
            ("circuitry demo", "bold"),
            f"  {now:4.1f} of {stage.scenario.seconds:g} s  ",
            (f"curl '127.0.0.1:{stage.ports[WITH]}/catalog?region=DE'", "dim"),
            (f"\n{stage.scenario.pages_per_second:g} visitors a second ask two media gateways", "dim"),
            (" for the same pages, both at once", "dim"),
        )

    def _circuits(self) -> Table:
        table = _table("circuit", ("", 24), (">calls", 5), (">rejected", 8), (">from cache", 10), (">age", 8))
        for circuit in self._stage.circuits:
            view = view_circuit(self._stage, circuit)
            note = f", {view.note}" if view.note else ""
            age = "" if view.cached_for is None else duration(view.cached_for)
            state = Text(f"{_SIGNS[view.state]} {view.shown_state}{note}", COLOURS[view.state])
            figures = (view.calls, view.rejected, view.from_cache)
            table.add_row(view.name, state, *map(str, figures), Text(age, "cyan"))
        return table

    def _timelines(self) -> Group:
        stage = self._stage
        cells = max(1, min(self._console.width, _WIDEST) - _LABELS - 1)
        sick = next(circuit for circuit in stage.circuits if circuit.platform is SICK)
        with_circuits, without = stage.sides
        return Group(
            _line(f"{SICK.name} is", self._fault_strip(cells)),
            _line("its circuit is", _state_strip(view_states(stage, sick, cells))),
            _line("with circuits", _visit_strip(view_visits(stage, with_circuits, cells))),
            _line("without", _visit_strip(view_visits(stage, without, cells))),
            _legend(),
        )

    def _fault_strip(self, cells: int) -> Text:
        strip, per_second = Text(), cells / self._stage.scenario.seconds
        for phase in self._stage.scenario.phases:
            width = round(phase.end * per_second) - len(strip)
            label = "" if phase.fault is Fault.NONE else f" {phase.fault} "
            style = COLOURS[phase.fault] if phase.start <= self._stage.now() else "dim"
            strip.append(label.center(width, "─"), style)
        return strip

    def _visitors(self) -> Table:
        lately = ((">pages lately", 12), (">median wait", 11), (">waiting now", 11))
        table = _table("visitors", *lately, (">pages in all", 14))
        for label, side in zip(("with circuits", "without"), self._stage.sides, strict=True):
            view = view_side(self._stage, side)
            pages = f"{view.served} of {view.answered}"
            in_all = f"{view.served_in_all} of {view.asked_in_all}"
            table.add_row(label, pages, duration(view.median), str(view.waiting), in_all)
        return table

    def _news(self) -> Group:
        room = max(3, min(8, self._console.height - 19))
        latest = self._stage.news[-room:]
        lines = [Text(_line_of(news), COLOURS.get(news.about, ""), no_wrap=True) for news in latest]
        return Group(*lines, *[""] * (room - len(lines)))


def _table(first: str, *others: tuple[str, int]) -> Table:
    """A table without lines. Widths are fixed, so that nothing jumps; a header with `>` is flush right."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(first, min_width=_LABELS - 2, no_wrap=True)
    for header, width in others:
        flush: JustifyMethod = "right" if header.startswith(">") else "left"
        table.add_column(header.removeprefix(">"), min_width=width, justify=flush, no_wrap=True)
    return table


def _line(label: str, strip: Text) -> Text:
    return Text.assemble(label.ljust(_LABELS), strip, no_wrap=True)


def _line_of(news: News) -> str:
    return f"{news.moment:5.1f} s  {news.text.replace('->', '→')}"


def _state_strip(states: list[str | None]) -> Text:
    return Text.assemble(*((_STRIPS[state], COLOURS[state]) for state in states if state))


def _visit_strip(cells: list[Cell | None]) -> Text:
    return Text.assemble(*(_visit_cell(cell) for cell in cells))


def _visit_cell(cell: Cell | None) -> tuple[str, str]:
    if cell is None:
        return " ", ""
    ground = "yellow" if cell.slow else "cyan" if cell.cached else "green"
    return _LEVELS[round(cell.unserved * (len(_LEVELS) - 1))], f"red on {ground}"


def _legend() -> Text:
    grounds = (("green", "page"), ("cyan", "page with a cached row"), ("yellow", "late page"))
    pages = (part for ground, label in grounds for part in ((" ", f"on {ground}"), f" {label}  "))
    return Text.assemble(" " * _LABELS, ("▇", "red"), " no page  ", *pages)
