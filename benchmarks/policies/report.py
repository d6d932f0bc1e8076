"""The figures, told to a terminal and to docs/: the same tables."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .bars import Results, Verdict
from .contenders import Policy
from .measures import Measures, middle
from .scenarios import BEGIN, CROWDED, OVERRUN, PRUDENT, RETRYING, Scenario
from .world import ERROR_AFTER, LATENCY, SHARDS, SPREAD, Fleet

Row = Sequence[str]
Table = Callable[[Row, Iterable[Row]], str]


@dataclass(frozen=True)
class Run:
    """What a reader must know to repeat it. No host, no path."""

    version: str
    seeds: Sequence[int]
    noise: float
    scenarios: Sequence[Scenario]
    policies: Sequence[Policy]


def percent(share: float) -> str:
    """A share in words. What is said to be nothing or all of it, is."""
    if math.isinf(share):
        return "-"
    if share >= 2:
        return f"{share:.1f} times"
    if 0 < share < 0.001:
        return "< 0.1 %"
    if 0.999 < share < 1:
        return "> 99.9 %"
    return f"{share * 100:.1f} %".replace(".0 %", " %")


def seconds(time: float, otherwise: str = "never") -> str:
    return otherwise if math.isinf(time) else f"{time:.1f} s".replace(".0 s", " s")


def assumptions(run: Run) -> list[str]:
    """What all of it rests on."""
    usual = Fleet()
    seeds = f"seed {run.seeds[0]}" if len(run.seeds) == 1 else f"seeds {run.seeds[0]} to {run.seeds[-1]}"
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return ASSUMPTIONS.format(
        version=run.version,
        python=python,
        seeds=seeds,
        noise=percent(run.noise),
        usual=usual,
        shards=SHARDS,
        latency=LATENCY * 1000,
        spread=SPREAD,
        error=ERROR_AFTER * 1000,
        begin=BEGIN,
        crowded=CROWDED,
        overrun=OVERRUN,
        prudent=PRUDENT,
        refusal=percent(PRUDENT.refusal),
        retrying=RETRYING,
    ).splitlines()


ASSUMPTIONS = """\
circuitry {version}, {python}, {seeds}. Real circuits on a virtual clock. All policies see the same calls. \
Tables show the median of the runs; bars are judged by the worst.
A fleet of {usual.processes} processes, each with circuits of its own; {usual.rate:g} calls a second each, \
at random moments (Poisson), to {shards} shards alike.
An answer takes {latency:g} ms in the median (log-normal, sigma {spread:g}), an error {error:g} ms; {noise} \
of the calls fail on a good day. Nobody tries again.
Each scenario begins with {begin:g} good seconds, and ends with at least as many. Shares are of the calls \
that come in from the beginning of the fault to its end.
Where shards hang, callers give up after {crowded.timeout:g} s. Each process has {crowded.workers} workers, \
and {crowded.other_rate:g} pieces of other work a second, which need one and no dependency. What finds no \
worker free is lost.
In the overload, the cold start and the brownout all shards stand on one server: {overrun.capacity:g} calls \
a second, first come, first served. Callers give up after {retrying.timeout:g} s, and the server works it \
off all the same. They make {retrying.attempts} attempts, {retrying.pause:g} s apart, but none after a \
rejection.
In the overload and the cold start it lets calls wait for up to {overrun.queue:g} s, and what is judged goes \
on for 120 s after the trigger. In the brownout it turns away who would wait for more than \
{prudent.queue:g} s, which costs it {refusal} of serving one."""

FIGURES = (
    "policy",
    "calls that succeed",
    "against nothing",
    "rejected",
    "sent into the fault",
    "opens after",
    "rejections end after",
    "well again after",
    "false opens",
)


def figures(name: str, measures: Measures, scenario: Scenario) -> Row:
    """One policy in one scenario."""
    fault, beyond = scenario.fault, f"> {scenario.end - scenario.fault.end:g} s"
    sent = f"{measures.sent} ({percent(measures.sent_share)})" if fault.harms else "-"
    return (
        name,
        percent(measures.goodput),
        percent(measures.kept),
        percent(measures.rejected),
        sent,
        seconds(measures.opens_after, "-"),
        seconds(measures.rejects_until, beyond),
        seconds(measures.well_after, beyond),
        str(measures.false_opens),
    )


def verdict(judged: Verdict) -> str:
    """A cell of the matrix; in parentheses where it isn't asked."""
    value = seconds(judged.value) if judged.bar.unit == "s" else percent(judged.value)
    if judged.is_asked:
        return f"{'met' if judged.is_met else 'MISSED'}: {value}"
    return f"({'met' if judged.is_met else 'missed'}: {value})"


def matrix(verdicts: Sequence[Verdict]) -> tuple[Row, list[Row]]:
    """Policies by bars."""
    bars = list(dict.fromkeys(judged.bar.name for judged in verdicts))
    policies = dict.fromkeys(judged.policy.name for judged in verdicts)
    rows: list[Row] = [
        [name, *(verdict(judged) for judged in verdicts if judged.policy.name == name)] for name in policies
    ]
    return ["policy", *bars], rows


def missed(verdicts: Sequence[Verdict]) -> list[str]:
    """What is asked and missed, and why."""
    return [
        f"{judged.policy.name}, {judged.bar.name}: {judged.reason}"
        for judged in verdicts
        if judged.is_asked and not judged.is_met
    ]


def as_text(head: Row, rows: Iterable[Row]) -> str:
    """A table for a terminal."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def as_markdown(head: Row, rows: Iterable[Row]) -> str:
    """The same for docs/."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def told(policy: Policy, mark: str) -> str:
    """A policy's settings, with a mark around what is code."""
    if policy.settings is None:
        return "no breaker"
    return f"{mark}{policy.code}{mark}" if policy.code else "as it comes"


def report(run: Run, results: Results, verdicts: Sequence[Verdict], table: Table) -> str:
    """All of it."""
    heading = "### " if table is as_markdown else "== "
    mark = "`" if table is as_markdown else ""
    settings = [(policy.name, told(policy, mark)) for policy in run.policies]
    parts = [
        f"{heading}What it rests on",
        "\n".join(f"- {line}" for line in assumptions(run)),
        table(("policy", "settings"), settings),
    ]
    if verdicts:
        bars = dict.fromkeys(judged.bar for judged in verdicts)
        parts += [
            f"{heading}Bars",
            table(("bar", "what is asked", "of"), [(bar.name, bar.title, bar.of_whom) for bar in bars]),
            table(*matrix(verdicts)),
            "In parentheses: it isn't asked. What is missed, and why:",
            "\n".join(f"- {line}" for line in missed(verdicts)) or "- nothing",
        ]
    for scenario in run.scenarios:
        runs = {policy.name: results[scenario.name, policy.name] for policy in run.policies}
        rows = [figures(name, middle(each), scenario) for name, each in runs.items()]
        parts += [f"{heading}{scenario.name}: {scenario.title}", table(FIGURES, rows)]
    return "\n\n".join(parts)
