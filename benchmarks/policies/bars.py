"""What is asked of policies, and whether they do it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .contenders import NOTHING, Policy
from .measures import Measures

#: By the names of scenario and policy; one for each seed.
Results = Mapping[tuple[str, str], Sequence[Measures]]
DEAD = ("dead-1", "dead-3", "dead-6")


@dataclass(frozen=True)
class Bar:
    """A limit for one figure, in the worst run of one scenario or several."""

    name: str
    title: str
    scenarios: tuple[str, ...]
    figure: Callable[[Measures], float]
    limit: float
    at_least: bool
    of_whom: str
    is_asked: Callable[[Policy], bool]
    """Of others the figure is shown, too."""
    unit: str = "%"

    def value(self, results: Results, policy: Policy) -> float:
        """The figure of the worst run."""
        runs = [run for scenario in self.scenarios for run in results[scenario, policy.name]]
        values = [self.figure(run) for run in runs]
        return min(values) if self.at_least else max(values)

    def is_met(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit

    def can_be_judged(self, results: Results) -> bool:
        """Whether its scenarios were run."""
        return {scenario for scenario, _ in results}.issuperset(self.scenarios)


def _everyone(_: Policy) -> bool:
    return True


def _keyed(policy: Policy) -> bool:
    return policy.is_keyed


def _adaptive(policy: Policy) -> bool:
    return policy.is_adaptive


BARS = (
    Bar(
        "healthy kept",
        "1, 3 and 6 of 10 shards dead: all of the healthy goodput is kept",
        DEAD, lambda m: m.kept, 1.0, True, "keyed circuits", _keyed,
    ),
    Bar(
        "dead cut",
        "1, 3 and 6 of 10 shards dead: at least 80 % of the calls to them are cut",
        DEAD, lambda m: 1 - m.sent_share, 0.8, True, "keyed circuits", _keyed,
    ),
    Bar(
        "errors",
        "20 % errors for 300 s: at least 90 % of the healthy goodput is kept",
        ("errors",), lambda m: m.kept, 0.9, True, "Adaptive", _adaptive,
    ),
    Bar(
        "ramp",
        "a ramp to 5 % errors: at most 5 % of the calls are rejected",
        ("ramp",), lambda m: m.rejected, 0.05, False, "everyone", _everyone,
    ),
    Bar(
        "outage",
        "total outage of 20 s: at most 40 % of the calls go out",
        ("outage",), lambda m: m.sent_share, 0.4, False, "everyone", _everyone,
    ),
    Bar(
        "recovery",
        "after it: rejections end at most 60 s after the recovery",
        ("outage",), lambda m: m.rejects_until, 60.0, False, "everyone", _everyone, unit="s",
    ),
)  # fmt: skip

#: Why a policy misses what is asked of it, by the names of bar and policy.
REASONS: dict[tuple[str, str], str] = {
    ("outage", NOTHING.name): "it holds nothing back: this is what a breaker is for.",
    ("recovery", "ramp-up"): (
        "30 s open and 30 s of ramp end 41 s after an outage of 20 s; a probe that meets one of the "
        "errors of a good day adds 30 s. A shorter `ramp_up`, or a shorter wait before it, meets it."
    ),
    ("outage", "adaptive"): (
        "its window of 30 s is full of successes when the outage begins, and until half of them have left"
        " it, 15 s later, it sheds nothing. It is for what is overloaded rather than down."
    ),
    ("recovery", "adaptive, 10 s"): (
        "the outage is longer than its window, so there is no success left in it to begin from: it comes "
        "back from single calls, and what it lets through doubles each 0.43 windows at best."
    ),
    ("errors", "adaptive, k=1.1"): (
        "what it lets through is k times what succeeds, and 1.1 x 0.8 is less than 1: each call that is "
        "shed makes it shed more, down to a trickle. k has to be above 1 / (1 - the worst error rate to "
        "be borne)."
    ),
    ("ramp", "adaptive, k=1.1"): (
        "it bears 9 % errors; at 5 % some process sees more than that in its window by chance, and stays "
        "below."
    ),
    ("outage", "adaptive, k=1.1"): (
        "its window remembers the good seconds before the outage: it sheds from the third second on, but "
        "no more than what has left the window."
    ),
    ("recovery", "adaptive, k=1.1"): (
        "each window it lets through only a tenth more than succeeded in the last."
    ),
}


@dataclass(frozen=True)
class Verdict:
    """One policy at one bar."""

    bar: Bar
    policy: Policy
    value: float

    @property
    def is_met(self) -> bool:
        return self.bar.is_met(self.value)

    @property
    def is_asked(self) -> bool:
        return self.bar.is_asked(self.policy)

    @property
    def reason(self) -> str:
        """Why it is missed."""
        return REASONS.get((self.bar.name, self.policy.name), "no reason is written down")


def judge(results: Results, policies: Sequence[Policy]) -> list[Verdict]:
    """Every policy at every bar whose scenarios were run.

    Raises:
        AssertionError: a policy that does nothing meets every bar, so the bars are worth nothing.
    """
    bars = [bar for bar in BARS if bar.can_be_judged(results)]
    verdicts = [Verdict(bar, policy, bar.value(results, policy)) for policy in policies for bar in bars]
    idle = [verdict.is_met for verdict in verdicts if verdict.policy is NOTHING]
    if len(bars) == len(BARS) and all(idle):
        raise AssertionError("a policy that does nothing meets every bar: the bars are worth nothing")
    return verdicts
