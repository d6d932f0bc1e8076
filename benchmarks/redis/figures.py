"""What was measured, and the three ways to tell it: to a terminal, to a machine, and to docs/."""

from __future__ import annotations

import json
import platform
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from statistics import median, quantiles
from typing import Any

from .contenders import OURS

Values = Sequence[float]


@dataclass(frozen=True)
class Cell:
    """One contender in one row: as told, and all that was measured."""

    text: str
    data: Any = None
    met: bool | None = None  # only of ours is it asked


@dataclass
class Row:
    """One thing that is measured."""

    name: str
    title: str
    goal: str
    cells: dict[str, Cell] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        ours = self.cells.get(OURS)
        if ours is None or ours.met is None or not self.goal:
            return ""
        return "met" if ours.met else "MISSED"


@dataclass(frozen=True)
class Run:
    """What a reader must know to repeat it. No host, no path."""

    server: str
    versions: Mapping[str, str]
    missing: Mapping[str, str]
    lacks: Mapping[str, str]
    quick: bool
    seconds: float

    @property
    def lead(self) -> str:
        python = f"{platform.python_implementation()} {platform.python_version()}"
        day = datetime.now(UTC).date().isoformat()
        with_client = {"redis-py": metadata.version("redis")} | dict(self.versions)
        versions = ", ".join(f"{name} {version}" for name, version in with_client.items())
        size = "a quick run" if self.quick else "a full run"
        return f"{python}, {self.server} on loopback, {day}: {size}, {self.seconds:.0f} s. {versions}."


def p99(values: Values) -> float:
    """The 99th percentile; of few values the largest."""
    return quantiles(values, n=100, method="inclusive")[98] if len(values) > 1 else values[0]


def both(values: Values) -> tuple[float, float]:
    """Median and 99th percentile."""
    return median(values), p99(values)


def seconds(value: float) -> str:
    """A time, in the unit that suits it."""
    if value < 0.001:
        return f"{value * 1e6:.0f} µs"
    if value < 0.1:
        return f"{value * 1e3:.1f} ms"
    return f"{value:.2f} s" if value < 10 else f"{value:.0f} s"


# -- To a terminal -------------------------------------------------------------------------------------------


def block(row: Row) -> str:
    """One row, every contender."""
    goal = f"   goal {row.goal}: {row.verdict}" if row.goal else ""
    lines = [f"{row.title}{goal}"]
    lines += [f"  {name:14} {cell.text}" for name, cell in row.cells.items()]
    lines += textwrap.wrap(" ".join(row.notes), 100, initial_indent="  note: ", subsequent_indent="  ")
    return "\n".join(lines)


def summary(rows: Sequence[Row]) -> str:
    """Ours against the goals."""
    lines = [f"{'goals':66}{'goal':32}{'ours':60} verdict"]
    for row in rows:
        ours = row.cells.get(OURS)
        if row.goal and ours:
            lines.append(f"{row.title:66}{row.goal:32}{ours.text:60} {row.verdict}")
    return "\n".join(lines)


# -- To a machine --------------------------------------------------------------------------------------------


def as_json(run: Run, rows: Iterable[Row]) -> str:
    """Everything."""
    told = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        **asdict(run),
        "rows": {row.name: asdict(row) | {"verdict": row.verdict} for row in rows},
    }
    return json.dumps(told, indent=2)


# -- To docs/ ------------------------------------------------------------------------------------------------


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _table(head: str, rows: Sequence[Row], names: Sequence[str]) -> list[str]:
    columns = [head, "goal", OURS, "", *names]
    lines = [_line(columns), _line(["---"] * len(columns))]
    for row in rows:
        told = {name: cell.text for name, cell in row.cells.items()}
        others = [told.get(name, "n/a") for name in names]
        lines.append(_line([row.title, row.goal, told.get(OURS, "n/a"), row.verdict, *others]))
    return [*lines, ""]


def markdown(run: Run, rows: Sequence[Row]) -> str:
    """The figures of docs/benchmarks-redis.md: one table while the server is well, one for when it isn't."""
    measured = {name for row in rows for name in row.cells}
    names = [name for name in run.versions if name in measured and name != OURS]
    well = [row for row in rows if not row.name.startswith("outage")]
    away = [row for row in rows if row.name.startswith("outage")]
    lines = [run.lead, ""]
    if well:
        lines += _table("the server is well", well, names)
    if away:
        lines += _table("the server is ...", away, names)
    notes = [f"- {note}" for row in rows for note in row.notes]
    notes += [f"- {name}: {why}." for name, why in run.lacks.items()]
    notes += [f"- {name} was not measured: {why}." for name, why in run.missing.items()]
    return "\n".join([*lines, "What is missing there:", "", *dict.fromkeys(notes)] if notes else lines)
