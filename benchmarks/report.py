"""The three ways to tell the figures: to a terminal, to a machine, and to docs/."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from .figures import Figure, Result

OURS = "circuitry"


@dataclass(frozen=True)
class Run:
    """What a reader must know to repeat it. No host, no path."""

    versions: Mapping[str, str]
    rounds: int
    calls: int
    missing: Sequence[str]

    @property
    def python(self) -> str:
        return f"{platform.python_implementation()} {platform.python_version()}"


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def _goal(result: Result) -> str:
    return f"{result.goal:g} ms" if result.unit == "ms" else f"{result.goal:.2f}"


def _range(figure: Figure) -> str:
    return f"{figure.low:.2f}-{figure.high:.2f}"


def block(result: Result) -> str:
    """One cell, every contender, cheapest first."""
    against = f", against {result.yardstick}" if result.yardstick else ""
    lines = [f"{result.title}{against}"]
    for name, figure in sorted(result.figures.items(), key=lambda item: item[1].cost):
        ratio = "" if figure.ratio is None else f"{figure.ratio:.3f}"
        verdict = f"  goal {_goal(result)}: {result.verdict(name)}" if name == OURS else ""
        cost = f"{figure.cost:9.1f} {result.unit}"
        lines.append(f"  {name:16}{cost} {ratio:>8}  ({_range(figure)}){verdict}")
    return "\n".join(lines)


def summary(results: Sequence[Result]) -> str:
    """Ours against the goals."""
    lines = [f"{'goals':42}{'goal':>8}{'ours':>9}  {'quartiles':12} verdict"]
    for result in results:
        figure = result.figures.get(OURS)
        ours = f"{figure.judged:9.3f}  {_range(figure):12}" if figure else f"{'-':>9}  {'':12}"
        lines.append(f"{result.title:42}{_goal(result):>8}{ours} {result.verdict(OURS)}")
    return "\n".join(lines)


def as_json(run: Run, results: Iterable[Result]) -> str:
    """Everything, for a machine."""
    cells = {}
    for result in results:
        cells[result.name] = asdict(result) | {"verdict": result.verdict(OURS)}
    told = {
        "date": _today(),
        "python": run.python,
        "versions": dict(run.versions),
        "rounds": run.rounds,
        "calls": run.calls,
        "missing": list(run.missing),
        "cells": cells,
    }
    return json.dumps(told, indent=2)


def _told(figure: Figure | None, unit: str) -> str:
    if figure is None:
        return "n/a"
    if figure.ratio is None:
        return f"{figure.cost:.1f} {unit}"
    return f"{figure.ratio:.2f} ({figure.cost:.0f})"


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _columns(results: Sequence[Result], names: Sequence[str]) -> list[str]:
    """Those who were measured anywhere, ours first."""
    measured = {name for result in results for name in result.figures}
    others = [name for name in names if name in measured and name != OURS]
    return [OURS, *others]


def _table(results: Sequence[Result], columns: Sequence[str]) -> list[str]:
    head = ["what one call costs", "goal", columns[0], "", *columns[1:]]
    lines = [_row(head), _row(["---"] * len(head))]
    for result in results:
        told = [_told(result.figures.get(name), result.unit) for name in columns]
        verdict = result.verdict(OURS)
        lines.append(_row([result.title, f"≤ {_goal(result)}", told[0], verdict, *told[1:]]))
    return lines


def markdown(run: Run, results: Sequence[Result], names: Sequence[str]) -> str:
    """The figures of docs/benchmarks.md."""
    versions = ", ".join(f"{name} {version}" for name, version in run.versions.items())
    lead = f"{run.python}, {_today()}: {run.rounds} rounds of {run.calls} calls. {versions}."
    absent = [f"Not installed, so not measured: {', '.join(run.missing)}.", ""] if run.missing else []
    table = _table(results, _columns(results, names))
    return "\n".join([lead, "", *absent, *table])
