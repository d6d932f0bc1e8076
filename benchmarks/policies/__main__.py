"""`python -m benchmarks.policies`."""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path

from . import plots
from .bars import DEAD, Results, judge
from .contenders import NOTHING, POLICIES
from .measures import Measures, Tally, measure, middle
from .report import Run, as_markdown, as_text, report
from .scenarios import SCENARIOS, Scenario
from .simulation import live_through
from .world import NOISE

#: Of which scenarios there are plots, and who is in them: more lines than these can't be told apart.
DRAWN = {
    "errors": ("20 % errors for 300 s", (NOTHING.name, "classic 20 %", "default", "adaptive")),
    "hang": ("all shards hang for 60 s", (NOTHING.name, "default", "slow calls", "keyed", "adaptive")),
    "overload": (
        "an overload of 20 s, and callers that try again",
        (NOTHING.name, "default", "backoff", "adaptive", "adaptive, 10 s"),
    ),
    "cold-start": (
        "an outage of 20 s, and a dependency that comes back cold",
        (NOTHING.name, "default", "backoff", "ramp-up"),
    ),
}
DRAWN_DEAD = (NOTHING.name, "classic 20 %", "default", "rate 50 %", "keyed")


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def share(text: str) -> float:
    number = float(text)
    if not 0 <= number < 1:
        raise argparse.ArgumentTypeError(f"{text} is no share: it must be >= 0 and < 1")
    return number


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    names = [scenario.name for scenario in SCENARIOS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.policies", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first of them; default: %(default)s")
    parser.add_argument("--seeds", type=positive, default=3, help="how many; default: %(default)s")
    jobs = "processes to run it in; default: %(default)s, one a processor"
    parser.add_argument("--jobs", type=positive, default=os.cpu_count(), help=jobs)
    noise = "the share of calls that fail on a good day; default: %(default)s"
    parser.add_argument("--noise", type=share, default=NOISE, help=noise)
    parser.add_argument("--only", action="append", choices=names, metavar="SCENARIO", help=", ".join(names))
    parser.add_argument("--markdown", action="store_true", help="print the tables of docs/policies.md")
    parser.add_argument("--svg", type=Path, metavar="FOLDER", help="write the plots into FOLDER")
    return parser.parse_args(argv)


def run_all(
    scenarios: Sequence[Scenario], seeds: Sequence[int], noise: float, jobs: int
) -> Iterator[dict[str, Tally]]:
    """Each scenario with each seed, in that order."""
    pairs = [(scenario, seed) for scenario in scenarios for seed in seeds]
    given = ([scenario for scenario, _ in pairs], itertools.repeat(POLICIES), [seed for _, seed in pairs])
    if jobs == 1:
        yield from map(live_through, *given, itertools.repeat(noise))
        return
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(live_through, *given, itertools.repeat(noise))


def drawings(results: Results, firsts: Mapping[str, Mapping[str, Tally]]) -> dict[str, str]:
    """The plots for which there is something to draw, by the name of their file.

    Args:
        results: what each run comes to.
        firsts: what happened in the first run of each scenario.
    """
    drawn: dict[str, str] = {}
    if set(DEAD) <= set(firsts):
        kept = {name: [middle(results[scenario, name]).kept for scenario in DEAD] for name in DRAWN_DEAD}
        groups = ["1 of 10 shards dead", "3 of 10", "6 of 10"]
        words = "calls that succeed, for each hundred that do without a breaker"
        drawn["policies-shards.svg"] = plots.bars("Healthy goodput that is kept", groups, kept, words)
    for name in DRAWN.keys() & firsts.keys():
        title, policies = DRAWN[name]
        tallies, fault = firsts[name], firsts[name][NOTHING.name].scenario.fault
        series = {policy: tallies[policy].shares() for policy in policies}
        words = "from the beginning of the fault"
        drawing = plots.lines(f"Calls that succeed: {title}", series, fault.end - fault.begin, words)
        drawn[f"policies-{name}.svg"] = drawing
    return drawn


def main(argv: Sequence[str] | None = None) -> int:
    chosen = options(argv)
    scenarios = [scenario for scenario in SCENARIOS if scenario.name in (chosen.only or scenario.name)]
    seeds = range(chosen.seed, chosen.seed + chosen.seeds)
    results: dict[tuple[str, str], list[Measures]] = defaultdict(list)
    firsts: dict[str, dict[str, Tally]] = {}
    for tallies in run_all(scenarios, seeds, chosen.noise, chosen.jobs):
        nothing = tallies[NOTHING.name]
        print(f"{nothing.scenario.name}: done", file=sys.stderr, flush=True)
        for name, tally in tallies.items():
            results[nothing.scenario.name, name].append(measure(tally, nothing))
        firsts.setdefault(nothing.scenario.name, tallies)
    run = Run(version("circuitry-breaker"), seeds, chosen.noise, scenarios, POLICIES)
    print(report(run, results, judge(results, POLICIES), as_markdown if chosen.markdown else as_text))
    for name, drawing in drawings(results, firsts).items() if chosen.svg else ():
        (chosen.svg / name).write_text(drawing, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
