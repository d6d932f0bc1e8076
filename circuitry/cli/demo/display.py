"""How a run is shown: as plain lines, as one JSON object, or (in `rich_display`) as a picture."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

from circuitry.cli.demo.stage import WITH
from circuitry.cli.demo.summary import duration, headline, recovery_line, summary_rows
from circuitry.cli.demo.view import COLOURS, view_circuit, view_side

if TYPE_CHECKING:
    from collections.abc import Callable

    from circuitry.cli.demo.report import Report
    from circuitry.cli.demo.stage import Stage
    from circuitry.cli.demo.view import CircuitView, SideView

STATUS_EVERY = 1.0  # seconds

_CODES = {"green": 32, "yellow": 33, "red": 31, "magenta": 35, "cyan": 36}


StageT = TypeVar("StageT", contravariant=True)
ReportT = TypeVar("ReportT", contravariant=True)
DisplayT = TypeVar("DisplayT")


class Display(Protocol[StageT, ReportT]):
    """Shows one run. `close` is called however the run ends."""

    def open(self, stage: StageT) -> None:
        """Begin: all servers are up."""
        ...

    def refresh(self) -> None:
        """Show what is new; called several times a second."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was."""
        ...

    def report(self, report: ReportT) -> None:
        """Show the summary."""
        ...


class JsonDisplay:
    """Silent until the end; then one JSON object on stdout, its numbers with so many digits."""

    def __init__(self, digits: int = 4) -> None:
        self._digits = digits

    def open(self, stage: object) -> None:
        """Nothing to show yet."""

    def refresh(self) -> None:
        """Nothing to show yet."""

    def close(self) -> None:
        """Nothing to put back."""

    def report(self, report: Any) -> None:
        """Print the report."""
        text = json.dumps(asdict(report))
        rounded = json.loads(text, parse_float=lambda number: round(float(number), self._digits))
        print(json.dumps(rounded, indent=2), flush=True)


class LineDisplay:
    """One line for each thing that happens, and the state of things once a second. Plain ASCII."""

    _stage: Stage

    def __init__(self, *, colour: bool) -> None:
        self._colour = colour
        self._told = 0
        self._next_status = STATUS_EVERY

    def open(self, stage: Stage) -> None:
        """Say what is about to be seen."""
        self._stage = stage
        for line in introduction(stage):
            self._print(line)

    def refresh(self) -> None:
        """Tell what has happened since, and how things are if it's time to."""
        for news in self._stage.news[self._told :]:
            self._print(f"{news.moment:5.1f} s  {self._coloured(news.about, news.text)}")
        self._told = len(self._stage.news)
        if self._stage.now() >= self._next_status:
            self._next_status += STATUS_EVERY
            self._print_status()

    def close(self) -> None:
        """Nothing to put back."""

    def report(self, report: Report) -> None:
        """Print the table."""
        self._print(f"\n{headline(report)}\n")
        self._print(f"{'':46}{'with circuits':>17}{'without':>17}")
        for row in summary_rows(report):
            self._print(f"{row.label:46}{row.with_circuits:>17}{row.without_circuits:>17}")
        self._print(f"\n{recovery_line(report)}")

    def _print_status(self) -> None:
        stage = self._stage
        circuits = (self._circuit(view_circuit(stage, circuit)) for circuit in stage.circuits)
        self._print(f"{stage.now():5.1f} s  {'; '.join(circuits)}")
        with_circuits, without = (_side(view_side(stage, side)) for side in stage.sides)
        self._print(f"         pages lately with circuits {with_circuits}; without {without}")

    def _circuit(self, view: CircuitView) -> str:
        parts = [self._coloured(view.state, f"{view.name} {view.shown_state}")]
        if view.note:
            parts.append(view.note)
        if view.rejected:
            parts.append(f"{view.rejected} rejected")
        if view.cached_for is not None:
            parts.append(f"serves a cache {duration(view.cached_for)} old")
        return ", ".join(parts)

    def _coloured(self, about: str, text: str) -> str:
        return coloured(COLOURS.get(about) if self._colour else None, text)

    def _print(self, line: str) -> None:
        print(line, flush=True)


def coloured(colour: str | None, text: str) -> str:
    """Text in a colour, as terminals take it."""
    return text if colour is None else f"\x1b[{_CODES[colour]}m{text}\x1b[0m"


def introduction(stage: Stage) -> list[str]:
    """Say who plays, and how to take part."""
    scenario = stage.scenario
    return [
        f"circuitry demo, {scenario.seconds:g} s: two media gateways ask Netflix, Prime Video and Disney+,",
        f"one with circuits and one without. {scenario.pages_per_second:g} visitors a second ask each.",
        f"Be one yourself: curl 'http://127.0.0.1:{stage.ports[WITH]}/catalog?region=DE'",
        "",
    ]


class Kinds(NamedTuple, Generic[DisplayT]):
    """The ways to show a run. To ask for the picture may raise ModuleNotFoundError."""

    json: Callable[[], DisplayT]
    lines: Callable[[bool], DisplayT]  # in colour?
    picture: Callable[[], DisplayT]


def choose_display(*, as_json: bool, plain: bool) -> Display[Stage, Report]:
    """Choose what suits stdout: a picture only for a terminal, and only with rich installed."""
    return choose(Kinds(JsonDisplay, _lines, _picture), as_json=as_json, plain=plain)


def choose(kinds: Kinds[DisplayT], *, as_json: bool, plain: bool) -> DisplayT:
    """Choose among these kinds."""
    if as_json:
        return kinds.json()
    terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    if terminal and not plain and sys.stdout.encoding.lower().startswith("utf"):
        try:
            return kinds.picture()
        except ModuleNotFoundError:
            pass
    return kinds.lines(terminal and not plain and not os.environ.get("NO_COLOR"))


def _lines(colour: bool) -> Display[Stage, Report]:
    return LineDisplay(colour=colour)


def _picture() -> Display[Stage, Report]:
    from circuitry.cli.demo.rich_display import RichDisplay

    return RichDisplay()


def _side(view: SideView) -> str:
    waiting = f", {view.waiting} waiting" if view.waiting else ""
    return f"{view.served} of {view.answered}, median {duration(view.median)}{waiting}"
