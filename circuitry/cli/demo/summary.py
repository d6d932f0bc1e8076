"""The summary in words: what the displays print when a run has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from circuitry.cli.demo.platforms import SICK

if TYPE_CHECKING:
    from collections.abc import Callable

    from circuitry.cli.demo.report import Figures, Report, SideReport


class SummaryRow(NamedTuple):
    """One line of the table."""

    label: str
    with_circuits: str
    without_circuits: str


def summary_rows(report: Report) -> list[SummaryRow]:
    """Put the two gateways side by side."""

    def row(label: str, figure: Callable[[SideReport], str]) -> SummaryRow:
        return SummaryRow(label, figure(report.with_circuits), figure(report.without_circuits))

    return [
        row(f"requests that reached {SICK.name} while sick", lambda it: str(it.requests_while_sick)),
        row("pages served", lambda it: share(it.whole_run)),
        row("  with a row from the cache", lambda it: str(it.whole_run.served_with_cached_row)),
        row("  the oldest such row", lambda it: duration(it.whole_run.oldest_cached_row)),
        row("  asked for while it was sick", lambda it: share(it.while_sick)),
        row("wait while it was sick, median", lambda it: duration(it.while_sick.median)),
        row("  99th percentile", lambda it: duration(it.while_sick.p99)),
        row("wait in the whole run, median", lambda it: duration(it.whole_run.median)),
        row("  99th percentile", lambda it: duration(it.whole_run.p99)),
    ]


def headline(report: Report) -> str:
    """Say what was measured."""
    asked = report.with_circuits.whole_run.asked
    return (
        f"{asked} visitors asked each gateway for a page, both at the same moments. "
        f"In {report.sick_for:.1f} of {report.seconds:.1f} s {SICK.name} was sick."
    )


def recovery_line(report: Report) -> str:
    """Say how soon the circuit was closed again after each fault."""
    times = (f"{it.fault} {duration(it.seconds, 'never')}" for it in report.recoveries)
    return f"closed again after the platform was well: {', '.join(times)}"


def share(figures: Figures) -> str:
    """Pages served of pages asked for."""
    return f"{figures.served} of {figures.asked}, {figures.served / max(1, figures.asked):.0%}"


def duration(seconds: float | None, missing: str = "-") -> str:
    """Seconds in the unit a person would use."""
    if seconds is None:
        return missing
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"
