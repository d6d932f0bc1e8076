"""What happened, counted; and what it comes to."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from statistics import median_low

from .scenarios import Scenario
from .world import Call

BIN = 5  # seconds
WELL = 0.95  # of what comes in succeeds
QUIET = 5.0  # seconds at the end: who rejects in them, will do so later, too


@dataclass
class Tally:
    """What happened. Calls count at the time when they came in; the judged ones in the totals."""

    scenario: Scenario
    came: Counter[int] = field(default_factory=Counter[int])
    """By bins of `BIN` seconds."""
    went_well: Counter[int] = field(default_factory=Counter[int])
    requests: int = 0
    successes: int = 0
    attempts: int = 0
    rejections: int = 0
    sent_into_fault: int = 0
    kept_from_fault: int = 0
    last_rejection: float = -math.inf
    openings: list[tuple[str, float, float]] = field(default_factory=list[tuple[str, float, float]])
    """Whose, when, and which share of the calls would have succeeded then."""
    watched: set[str] = field(default_factory=set[str])
    """The circuits that guard something that will have a fault."""

    def arrived(self, call: Call) -> None:
        self.came[int(call.at) // BIN] += 1
        self.requests += self.scenario.is_judged(call.at)

    def sent(self, call: Call, is_into_fault: bool) -> None:
        self.attempts += self.scenario.is_judged(call.at)
        self.sent_into_fault += is_into_fault

    def rejected(self, call: Call, now: float, is_into_fault: bool) -> None:
        self.rejections += self.scenario.is_judged(call.at)
        self.kept_from_fault += is_into_fault
        self.last_rejection = now

    def succeeded(self, call: Call) -> None:
        self.went_well[int(call.at) // BIN] += 1
        self.successes += self.scenario.is_judged(call.at)

    def opened(self, name: str, now: float, health: float) -> None:
        self.openings.append((name, now, health))

    def shares(self) -> list[tuple[float, float]]:
        """Which share of what came in succeeded, by the middle of each bin in seconds from the fault on."""
        begin, last = self.scenario.fault.begin, int(self.scenario.end) // BIN
        bins = (number for number in range(last) if self.came[number])
        return [((number + 0.5) * BIN - begin, self.went_well[number] / self.came[number]) for number in bins]


@dataclass(frozen=True)
class Measures:
    """What a policy comes to in a scenario. Shares are 0 to 1, times are seconds."""

    goodput: float
    """The share of calls that succeed, from the beginning of the fault to its end (or its aftermath's)."""
    kept: float
    """Calls that succeed, for each that would without a breaker."""
    rejected: float
    """The share of calls that are rejected."""
    sent: int
    """Calls that go out into the fault."""
    sent_share: float
    """Of those that would."""
    opens_after: float
    """The median of the circuits it concerns; infinite if fewer than half open while the fault is there."""
    rejects_until: float
    """After the fault's end. Infinite if there is no end to it."""
    well_after: float
    """The fault's end: then calls succeed again, for good. Infinite if they don't."""
    false_opens: int
    """Openings in which most of the calls turned away would have succeeded."""


def measure(tally: Tally, without: Tally) -> Measures:
    """What it comes to, beside what happened `without` a breaker."""
    tried = tally.attempts + tally.rejections
    concerned = tally.sent_into_fault + tally.kept_from_fault
    return Measures(
        goodput=tally.successes / tally.requests,
        kept=tally.successes / without.successes if without.successes else math.inf,
        rejected=tally.rejections / tried,
        sent=tally.sent_into_fault,
        sent_share=tally.sent_into_fault / concerned,
        opens_after=_opens_after(tally),
        rejects_until=_rejects_until(tally),
        well_after=_well_after(tally),
        false_opens=sum(health >= 0.5 for _, _, health in tally.openings),
    )


def middle(runs: Sequence[Measures]) -> Measures:
    """Of several runs, the median of each figure."""
    return Measures(
        **{
            figure.name: median_low([getattr(run, figure.name) for run in runs])
            for figure in fields(Measures)
        }
    )


def _opens_after(tally: Tally) -> float:
    fault = tally.scenario.fault
    firsts: dict[str, float] = {}
    for name, at, _ in tally.openings:
        if name in tally.watched and fault.begin <= at < fault.end:
            firsts.setdefault(name, at - fault.begin)
    never = [math.inf] * (len(tally.watched) - len(firsts))
    return median_low([*firsts.values(), *never]) if tally.watched else math.inf


def _rejects_until(tally: Tally) -> float:
    scenario = tally.scenario
    if tally.last_rejection > scenario.end - QUIET:
        return math.inf
    return max(0.0, tally.last_rejection - scenario.fault.end)


def _well_after(tally: Tally) -> float:
    fault = tally.scenario.fault
    shares = tally.shares()
    ill = [time + BIN / 2 - (fault.end - fault.begin) for time, share in shares if share < WELL]
    if ill and shares[-1][1] < WELL:
        return math.inf
    return max([0.0, *ill])
