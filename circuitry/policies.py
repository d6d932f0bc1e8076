"""When a circuit trips: rules, and how they combine; and for how long it stays open.

    ConsecutiveFailures(5) | FailureRate(0.5, window=last(100), minimum_calls=20)
    SlowCallRate(0.3, slower_than=2.0, window=within(60.0), minimum_calls=20)
    MinimumCalls(20) & FailureRate(0.5, window=last(100))

A rule is a setting: frozen, comparable, checked when it is made. For each closed generation it makes a
*watch*, which is told of every outcome and says whether the rule holds. A rule of one's own is a class
with one method, `watch(clock)`, that returns an object with two, `add(failed)` and `holds()`:

    class EveryTenthFailure(Rule): ...

Rules are judged after every outcome: a rate that a success completes trips too.

One is apart from the others: `Adaptive` never trips, and sheds a share of the calls instead.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeAlias

from circuitry.checks import check_count, check_number, check_seconds, check_share, refuse, shown
from circuitry.errors import ConfigurationError
from circuitry.sizes import Last, Within, last, seconds_of, within
from circuitry.waiting import Exponential, retry_after_header
from circuitry.watches import AllWatch, AnyWatch, Leaf, Own, OwnWatch, SlowWatch, Watch
from circuitry.windows import Streak, Window

__all__ = [
    "Adaptive",
    "AllOf",
    "AnyOf",
    "ConsecutiveFailures",
    "Exponential",
    "FailureRate",
    "Last",
    "MinimumCalls",
    "Rule",
    "SlowCallRate",
    "Within",
    "last",
    "retry_after_header",
    "within",
]

Clock: TypeAlias = Callable[[], float]


# -- Rules -------------------------------------------------------------------------------------------


class Rule:
    """When to trip. `a | b` trips when either holds, `a & b` when both do at once.

    A rule of one's own derives from it and defines `watch`. It should be comparable, so that the same
    settings can be given twice: a frozen dataclass is.
    """

    def watch(self, clock: Clock) -> OwnWatch:
        """A new watch, for a closed generation that has begun.

        Args:
            clock: returns monotonic seconds.

        Returns:
            An object with `add(failed)`, which hears of each outcome, and `holds()`, which is asked after
            each. Threads may tell it at once, no lock is held, and what raises is logged and doesn't trip.
        """
        raise NotImplementedError

    def __or__(self, other: Rule) -> Rule:
        return AnyOf(_parts(AnyOf, self, other))

    def __and__(self, other: Rule) -> Rule:
        return _all_of(self, other)

    def _counts_as(self, other: Rule) -> bool:
        """Whether what `other` has counted is what this rule would have counted."""
        return self == other

    def _made(self, clock: Clock) -> Watch:
        """A watch with nothing counted."""
        return Own(lambda: self.watch(clock), self)

    def _tune(self, watch: Any) -> None:
        """Let a watch with such counts go by the numbers of this rule."""

    def _grow(self, clock: Clock, kept: list[Leaf], leaves: list[Leaf]) -> Watch:
        """The watch of this rule: one of those kept, or a new one. Its simple parts go to `leaves`."""
        for leaf in kept:
            if self._counts_as(leaf.rule):
                kept.remove(leaf)
                watch = leaf.watch
                self._tune(watch)
                break
        else:
            watch = self._made(clock)
        leaves.append(Leaf(self, watch))
        return watch


@dataclass(frozen=True)
class ConsecutiveFailures(Rule):
    """Trips at the `threshold`th failure in a row, >= 1.

    Raises:
        ConfigurationError: it isn't a whole number >= 1.
    """

    threshold: int

    def __post_init__(self) -> None:
        check_count("threshold", self.threshold)

    def _counts_as(self, other: Rule) -> bool:
        return isinstance(other, ConsecutiveFailures)

    def _made(self, clock: Clock) -> Watch:
        return Streak(self.threshold)

    def _tune(self, watch: Streak) -> None:
        watch.limit = self.threshold


@dataclass(frozen=True)
class FailureRate(Rule):
    """Trips when failures are at least this share of the calls in the window.

    Args:
        threshold: a share, > 0 and <= 1.
        window: `last(calls)` or `within(seconds)`.
        minimum_calls: so many calls must be in the window, >= 1; before that nothing is judged.

    Raises:
        ConfigurationError: a value isn't allowed, or `minimum_calls` never fits the window.
    """

    threshold: float
    window: Last | Within
    minimum_calls: int = 1

    def __post_init__(self) -> None:
        _check_rate(self.threshold, self.window, self.minimum_calls)

    def _counts_as(self, other: Rule) -> bool:
        return isinstance(other, FailureRate) and other.window == self.window

    def _made(self, clock: Clock) -> Watch:
        return self.window.begin(clock, self.threshold, self.minimum_calls)

    def _tune(self, watch: Window) -> None:
        watch.share, watch.minimum = self.threshold, self.minimum_calls


@dataclass(frozen=True)
class SlowCallRate(Rule):
    """Trips when slow calls are at least this share of the calls in the window.

    A call is slow when it has taken longer than `slower_than`, however it ends; also if its caller gives it
    up, and also while it is still under way: calls in flight are looked at when the next one comes.

    Args:
        threshold: a share, > 0 and <= 1.
        slower_than: seconds (or a `timedelta`), > 0.
        window: `last(calls)` or `within(seconds)`.
        minimum_calls: so many calls must be in the window, >= 1; before that nothing is judged.

    Raises:
        ConfigurationError: a value isn't allowed, or `minimum_calls` never fits the window.
    """

    threshold: float
    slower_than: float | timedelta
    window: Last | Within
    minimum_calls: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "slower_than", check_seconds("slower_than", self.slower_than))
        _check_rate(self.threshold, self.window, self.minimum_calls)

    @property
    def limit(self) -> float:
        """`slower_than` in seconds."""
        return seconds_of(self.slower_than)

    def _counts_as(self, other: Rule) -> bool:
        return (
            isinstance(other, SlowCallRate)
            and (other.window, other.slower_than) == (self.window, self.slower_than)
        )  # fmt: skip

    def _made(self, clock: Clock) -> Watch:
        return SlowWatch(self.window.begin(clock, self.threshold, self.minimum_calls), self.limit)

    def _tune(self, watch: SlowWatch) -> None:
        watch.window.share, watch.window.minimum = self.threshold, self.minimum_calls


@dataclass(frozen=True)
class MinimumCalls(Rule):
    """Holds once so many calls, >= 1, are in the window of the rates that it stands beside, by `&`.

    Raises:
        ConfigurationError: it isn't a whole number >= 1.
    """

    calls: int

    def __post_init__(self) -> None:
        check_count("calls", self.calls)


@dataclass(frozen=True)
class Adaptive(Rule):
    """Never trips: the circuit stays closed, and sheds the share of its calls that is too much.

    For a dependency that is overloaded rather than down. The share is that of client-side throttling, in
    "Site Reliability Engineering" (Google, 2016), chapter 21, "Handling Overload":

        max(0, (requests - k * accepts) / (requests + 1))

    Both are counted in the window, when calls end: a success is a request that was accepted, a failure one
    that wasn't, and what is ignored is none. A call that is shed counts at once as a request that wasn't
    accepted. So calls in flight count nothing: a cold start, with many out and none back, sheds none.

    Args:
        k: how many requests may be sent for each that is accepted, >= 1, which is the strictest.
        window: `last(calls)` or `within(seconds)`.

    Raises:
        ConfigurationError: a value isn't allowed, or it is combined with another rule.
    """

    k: float = 2.0
    window: Last | Within = within(30.0)  # noqa: RUF009 - a value

    def __post_init__(self) -> None:
        check_number("k", self.k, 1.0)
        _check_window(self.window)

    def _counts_as(self, other: Rule) -> bool:
        return isinstance(other, Adaptive) and other.window == self.window

    def _made(self, clock: Clock) -> Watch:
        return self.window.begin(clock, 1.0, sys.maxsize)  # a minimum that is never there: it never holds


@dataclass(frozen=True)
class AnyOf(Rule):
    """Trips when one of its rules holds: what `|` makes."""

    rules: tuple[Rule, ...]

    def __post_init__(self) -> None:
        _check_combinable(self.rules)

    def _grow(self, clock: Clock, kept: list[Leaf], leaves: list[Leaf]) -> Watch:
        return AnyWatch([rule._grow(clock, kept, leaves) for rule in self.rules])

    def __repr__(self) -> str:
        return " | ".join(shown(rule) for rule in self.rules)


@dataclass(frozen=True)
class AllOf(Rule):
    """Trips when all of its rules hold at once: what `&` makes."""

    rules: tuple[Rule, ...]

    def __post_init__(self) -> None:
        _check_combinable(self.rules)

    def _grow(self, clock: Clock, kept: list[Leaf], leaves: list[Leaf]) -> Watch:
        return AllWatch([rule._grow(clock, kept, leaves) for rule in self.rules])

    def __repr__(self) -> str:
        return " & ".join(f"({rule!r})" if isinstance(rule, AnyOf) else shown(rule) for rule in self.rules)


def _all_of(*rules: object) -> Rule:
    """All at once. A `MinimumCalls` goes into the rates that it stands beside, once there are any."""
    parts = _parts(AllOf, *rules)
    minimums = [part.calls for part in parts if isinstance(part, MinimumCalls)]
    others = tuple(part for part in parts if not isinstance(part, MinimumCalls))
    if not minimums or not others:
        return AllOf(parts) if others else MinimumCalls(max(minimums))
    together = others[0] if len(others) == 1 else AllOf(others)
    placed = _with_minimum(together, max(minimums))
    return AllOf(parts) if placed is None else placed


def _with_minimum(rule: Rule, calls: int) -> Rule | None:
    """The rule, judged only with so many calls in its windows; None if that can't be said of it."""
    if isinstance(rule, (FailureRate, SlowCallRate)):
        return dataclasses.replace(rule, minimum_calls=max(calls, rule.minimum_calls))
    if isinstance(rule, (AnyOf, AllOf)):
        placed = [_with_minimum(part, calls) for part in rule.rules]
        enough = any if isinstance(rule, AllOf) else all
        if enough(part is not None for part in placed):
            pairs = zip(rule.rules, placed, strict=True)
            return type(rule)(tuple(part if with_it is None else with_it for part, with_it in pairs))
    return None


def _parts(kind: type[AnyOf | AllOf], *rules: object) -> tuple[Rule, ...]:
    """The rules that are combined, with those of the same combination opened up."""
    found: list[Rule] = []
    for rule in rules:
        if not isinstance(rule, Rule):
            raise TypeError(f"{shown(rule)} is no rule, and can't be combined with one")
        found.extend(rule.rules if isinstance(rule, kind) else [rule])
    return tuple(found)


def _check_combinable(rules: tuple[Rule, ...]) -> None:
    for rule in rules:
        if isinstance(rule, Adaptive):
            raise ConfigurationError(
                f"{rule!r} can't be combined with another rule: it never opens the circuit, and they do; "
                "give it alone, as trip="
            )


def _check_window(window: object) -> int | None:
    """Refuse what is no window; how many outcomes fit in."""
    if not isinstance(window, (Last, Within)):
        refuse("window", window, "last(calls) or within(seconds)")
    return window.size


def _check_rate(threshold: object, window: object, minimum_calls: object) -> None:
    check_share("threshold", threshold)
    size = _check_window(window)
    check_count("minimum_calls", minimum_calls)
    if size is not None and isinstance(minimum_calls, int) and minimum_calls > size:
        raise ConfigurationError(
            f"minimum_calls={minimum_calls} and window={window!r} disagree: the window never holds so many"
        )
