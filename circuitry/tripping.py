"""Rules as circuits go by them: chosen by their settings, checked, and grown into evidence."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from circuitry.checks import refuse, shown
from circuitry.errors import ConfigurationError
from circuitry.policies import (
    Adaptive,
    AllOf,
    AnyOf,
    Clock,
    ConsecutiveFailures,
    FailureRate,
    Last,
    MinimumCalls,
    Rule,
    SlowCallRate,
    Within,
    last,
    within,
)
from circuitry.rates import RatesTogether, rates_of
from circuitry.throttling import Throttled, chance
from circuitry.watches import Leaf, Ruled, SlowWatch, Timed
from circuitry.windows import Evidence, Streak


class Policy(NamedTuple):
    """A rule as circuits go by it. Its text is made here, where no lock is held."""

    rule: Rule
    why: str
    draw: Callable[[], float] = chance  # what decides which calls are shed

    def evidence(self, clock: Clock, before: Evidence | None = None) -> Evidence:
        """What the calls of a generation are counted in: a new one, or one that was counted in `before`.

        Where it goes on, each part of the rule that counts what it counted before keeps its counts, and
        calls that are out are counted when they end.
        """
        leaves: list[Leaf] = []
        watch: Any = self.rule._grow(clock, _leaves_of(before), leaves)
        kind = _kind(leaves)
        if isinstance(before, Ruled) and type(before) is kind:
            before.become(watch, leaves, self.why)
            return before
        made = self._begun(kind, watch, leaves, clock)
        if isinstance(before, (Ruled, Streak)):
            before.hand_over(made)
        return made

    def empty(self, evidence: Evidence | None, clock: Clock) -> None:
        """Forget what is in the windows of this evidence, if it has any; what else it has counted stays."""
        if isinstance(evidence, Ruled):
            leaves: list[Leaf] = []
            kept = [leaf for leaf in evidence.leaves if rates_of(leaf.rule) is None]
            evidence.become(self.rule._grow(clock, kept, leaves), leaves, self.why)

    def together(self, evidence: Ruled) -> RatesTogether | None:
        """Its rates, to be judged on what several processes have counted; None if it has none."""
        rule = rates_of(self.rule)
        return None if rule is None else RatesTogether(rule, evidence)

    def _begun(self, kind: type[Ruled], watch: Any, leaves: Sequence[Leaf], clock: Clock) -> Ruled:
        if kind is Throttled:
            return Throttled(watch, leaves, self.why, self.draw)
        return Timed(watch, leaves, self.why, clock) if kind is Timed else Ruled(watch, leaves, self.why)


def _kind(leaves: Sequence[Leaf]) -> type[Ruled]:
    """What rules of these parts need: whether calls are shed, or their time is taken."""
    if any(isinstance(leaf.rule, Adaptive) for leaf in leaves):
        return Throttled
    return Timed if any(isinstance(leaf.watch, SlowWatch) for leaf in leaves) else Ruled


def _leaves_of(before: Evidence | None) -> list[Leaf]:
    """What was counted before, by the simple rule that it was counted for."""
    if isinstance(before, Ruled):
        return list(before.leaves)
    if isinstance(before, Streak):
        return [Leaf(ConsecutiveFailures(before.limit), copy.copy(before))]
    return []


def check_rule(name: str, value: object) -> Rule:
    """A rule that can trip.

    Raises:
        ConfigurationError: it isn't one, or can never be judged.
    """
    if not isinstance(value, Rule):
        refuse(name, value, "a rule of circuitry.policies, such as FailureRate(0.5, window=last(100))")
    parts: tuple[Rule, ...] = value.rules if isinstance(value, (AnyOf, AllOf)) else ()
    for minimum in (value, *parts):
        if isinstance(minimum, MinimumCalls):
            raise ConfigurationError(
                f"{name}={shown(value)} is not allowed: {minimum!r} counts in the window of a rate, and has "
                "none beside it: write MinimumCalls(20) & FailureRate(...)"
            )
    for part in parts:
        check_rule(name, part)
    return value


def rules_in(rule: Rule) -> list[Rule]:
    """The simple rules that it is made of."""
    if isinstance(rule, (AnyOf, AllOf)):
        return [part for inner in rule.rules for part in rules_in(inner)]
    return [rule]


def rule_of(
    failure_rate_threshold: float | None,
    slow_call_rate_threshold: float | None,
    slow_call_duration: float | timedelta | None,
    window: Last | Within | int | None,
    minimum_calls: int | None,
) -> Rule:
    """The rule that these settings spell out.

    Raises:
        ConfigurationError: a value isn't allowed, or two of them disagree.
    """
    if window is None:
        window = last(100)
    elif not isinstance(window, (Last, Within)):
        window = last(window)
    if minimum_calls is None:
        minimum_calls = min(20, window.size or 20)
    rules: list[Rule] = []
    if failure_rate_threshold is not None:
        rules.append(FailureRate(failure_rate_threshold, window, minimum_calls))
    if (slow_call_duration is None) != (slow_call_rate_threshold is None):
        raise ConfigurationError(
            f"slow_call_duration={slow_call_duration!r} and slow_call_rate_threshold="
            f"{slow_call_rate_threshold!r} disagree: one says what is slow and one how much of it is too much"
        )
    if slow_call_duration is not None and slow_call_rate_threshold is not None:
        rules.append(SlowCallRate(slow_call_rate_threshold, slow_call_duration, window, minimum_calls))
    if not rules:
        raise ConfigurationError(
            f"window={window!r} and minimum_calls={minimum_calls!r} belong to a rate: give "
            "failure_rate_threshold, or slow_call_duration and slow_call_rate_threshold"
        )
    return rules[0] if len(rules) == 1 else AnyOf(tuple(rules))


def window_of(text: str) -> Last | Within:
    """A window as text: "last(100)" or "within(60)".

    Raises:
        ConfigurationError: it doesn't read like one, or its number isn't allowed.
    """
    found = re.fullmatch(r"\s*(?:last\(\s*(\d+)\s*\)|within\(\s*(\d+\.?\d*)\s*\))\s*", text, re.ASCII)
    if found is None:
        refuse("window", text, 'a number of calls, "last(calls)" or "within(seconds)"')
    return last(int(found[1])) if found[1] else within(float(found[2]))
