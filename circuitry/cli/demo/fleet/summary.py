"""The fleet's summary in words: what the displays print when a run has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from circuitry.cli.demo.platforms import SICK
from circuitry.cli.demo.summary import duration

if TYPE_CHECKING:
    from circuitry.cli.demo.fleet.report import FleetReport, Waits


class Line(NamedTuple):
    """One line of the summary, and what was measured."""

    label: str
    figure: str


def summary_lines(report: FleetReport) -> list[Line]:
    """What the fleet did as one."""
    opening, probes, pages = report.opening, report.probes, report.pages
    alone = f", {probes.at_once_while_workers_were_alone} while each was on its own"
    return [
        Line(f"requests that reached {SICK.name} while sick", str(report.requests_while_sick)),
        Line("  without circuits, one for each page", str(report.requests_without_circuits)),
        Line("failed requests until the first opening", f"{opening.requests}, of the whole fleet"),
        Line(
            f"  open in {opening.workers} workers",
            f"{duration(opening.spread, 'never')} after it was open in the first",
        ),
        Line(
            "probes at once, at most",
            f"{probes.at_once_for_the_fleet} in the whole fleet{alone if report.redis_disturbed else ''}",
        ),
        *_recovery(report),
        Line("pages served", f"{pages.served} of {pages.asked}, {pages.with_cached_row} with a cached row"),
        Line("  asked for while it was sick", f"{pages.served_while_sick} of {pages.asked_while_sick}"),
        Line("in the end", _in_the_end(report)),
    ]


def waits_table(report: FleetReport) -> list[tuple[str, ...]]:
    """What circuit and cache added to calls, by how Redis was; the first row is the head."""
    added = report.added
    rows = [("Redis was up", added.redis_up), ("  and the fleet half-open", added.to_ask_for_a_probe)]
    if report.redis_disturbed:
        rows += [("Redis was frozen", added.redis_frozen), ("Redis was away", added.redis_away)]
    head = ("added to each call while", "calls", "median", "p99", "longest", "> 10 ms")
    return [head, *((label, *_cells(waits)) for label, waits in rows)]


def headline(report: FleetReport) -> str:
    """Say what was measured."""
    return (
        f"{report.workers} processes shared their circuits on {report.redis}. "
        f"In {report.sick_for:.1f} of {report.seconds:.1f} s {SICK.name} was sick."
    )


def _cells(waits: Waits) -> tuple[str, ...]:
    figures = (duration(seconds) for seconds in (waits.median, waits.p99, waits.longest))
    return (str(waits.calls), *figures, str(waits.waited))


def _recovery(report: FleetReport) -> list[Line]:
    it = report.recovery
    if it is None:
        return [Line("a worker killed while it probed", "none: none probed in time")]
    knew = (it.replacement_knew or "nothing").replace("_", "-")
    return [
        Line(
            f"after {it.killed} was killed with the probe",
            f"{duration(it.next_probe, 'never')} to the next one, by {it.next_probe_by or 'nobody'} "
            f"(a lease lasts {duration(it.lease)})",
        ),
        Line("  closed everywhere", f"after {duration(it.all_closed, 'never')}"),
        Line(f"  {it.replacement or 'nobody'} began in its place", f"and knew at once: {knew}"),
    ]


def _in_the_end(report: FleetReport) -> str:
    whose = "all workers and Redis" if report.fleet is not None else "all workers (Redis is away)"
    if report.all_agree:
        return f"{whose} agree: {'every circuit is closed' if report.all_closed else report.states}"
    return f"{whose} do not agree: {report.states}, Redis {report.fleet}"
