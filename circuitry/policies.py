"""When a circuit trips: rules, and how they combine.

    ConsecutiveFailures(5) | FailureRate(0.5, window=last(100), minimum_calls=20)
    SlowCallRate(0.3, slower_than=2.0, window=within(60.0), minimum_calls=20)
    MinimumCalls(20) & FailureRate(0.5, window=last(100))

A rule is a setting: frozen, comparable, checked when it is made. For each closed generation it makes a
*watch*, which is told of every outcome and says whether the rule holds. A rule of one's own is a class
with one method, `watch(clock)`, that returns an object with two, `add(failed)` and `holds()`:

    class FailuresOnMondays(Rule): ...

Rules are judged after every outcome: a rate that a success completes trips too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

from circuitry.checks import check_count, check_seconds, check_share, refuse, shown
from circuitry.errors import ConfigurationError
from circuitry.watches import All, RateWatch, RowWatch, Ruled, Several, SlowWatch, Timed, Watch, slow_watches
from circuitry.windows import LastCalls, Window, WithinSeconds

__all__ = [
    "AllOf",
    "AnyOf",
    "ConsecutiveFailures",
    "FailureRate",
    "Last",
    "MinimumCalls",
    "Rule",
    "SlowCallRate",
    "Watch",
    "Within",
    "last",
    "within",
]

Clock: TypeAlias = Callable[[], float]


# -- Windows -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Last:
    """The last so many outcomes: see `last`."""

    calls: int

    def __post_init__(self) -> None:
        check_count("window", self.calls)

    def begin(self, clock: Clock) -> Window:
        """An empty one."""
        return LastCalls(self.calls)

    @property
    def size(self) -> int | None:
        """How many outcomes fit in; None if that has no limit."""
        return self.calls

    def __repr__(self) -> str:
        return f"last({self.calls})"


@dataclass(frozen=True)
class Within:
    """The outcomes of the last so many seconds: see `within`."""

    seconds: float | timedelta

    def __post_init__(self) -> None:
        object.__setattr__(self, "seconds", check_seconds("window", self.seconds))

    def begin(self, clock: Clock) -> Window:
        """An empty one."""
        seconds = self.seconds
        return WithinSeconds(seconds if isinstance(seconds, (int, float)) else seconds.total_seconds(), clock)

    @property
    def size(self) -> int | None:
        """How many outcomes fit in; None if that has no limit."""
        return None

    def __repr__(self) -> str:
        return f"within({self.seconds})"


def last(calls: int) -> Last:
    """The last `calls` outcomes, >= 1. Exact; they don't age.

    Raises:
        ConfigurationError: it isn't a whole number >= 1.
    """
    return Last(calls)


def within(seconds: float | timedelta) -> Within:
    """The outcomes of the last `seconds` (or a `timedelta`), > 0, in steps of a thirtieth of that.

    An outcome is in it for `seconds` at most, and for 29 thirtieths of that at least.

    Raises:
        ConfigurationError: it isn't a number > 0 and finite.
    """
    return Within(seconds)


# -- Rules -------------------------------------------------------------------------------------------


class Rule:
    """When to trip. `a | b` trips when either holds, `a & b` when both do at once."""

    def watch(self, clock: Clock) -> Watch:
        """A new watch, for a generation that begins; `clock` returns monotonic seconds."""
        raise NotImplementedError

    def evidence(self, clock: Clock) -> Ruled:
        """What the calls of a new generation are counted in."""
        watch = self.watch(clock)
        return Timed(watch, repr(self), clock) if slow_watches(watch) else Ruled(watch, repr(self))

    def __or__(self, other: Rule) -> Rule:
        return AnyOf(_parts(AnyOf, self, other))

    def __and__(self, other: Rule) -> Rule:
        return _all_of(self, other)

    def parts(self) -> Iterator[Rule]:
        """The simple rules that it is made of."""
        yield self


@dataclass(frozen=True)
class ConsecutiveFailures(Rule):
    """Trips at the `threshold`th failure in a row, >= 1.

    Raises:
        ConfigurationError: it isn't a whole number >= 1.
    """

    threshold: int

    def __post_init__(self) -> None:
        check_count("threshold", self.threshold)

    def watch(self, clock: Clock) -> Watch:
        """Counts a row."""
        return RowWatch(self.threshold)


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

    def watch(self, clock: Clock) -> Watch:
        """Counts in a window."""
        return RateWatch(self.window.begin(clock), self.threshold, self.minimum_calls)


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

    def watch(self, clock: Clock) -> SlowWatch:
        """Counts in a window, and keeps an eye on what is in flight."""
        limit = self.slower_than
        seconds = limit if isinstance(limit, (int, float)) else limit.total_seconds()
        return SlowWatch(self.window.begin(clock), self.threshold, self.minimum_calls, seconds)


@dataclass(frozen=True)
class MinimumCalls(Rule):
    """Holds once so many calls, >= 1, are in the window of the rates that it stands beside, by `&`.

    Raises:
        ConfigurationError: it isn't a whole number >= 1.
    """

    calls: int

    def __post_init__(self) -> None:
        check_count("calls", self.calls)

    def watch(self, clock: Clock) -> Watch:
        """There is none.

        Raises:
            ConfigurationError: it counts in no window of its own.
        """
        raise ConfigurationError(
            f"{self!r} counts in the window of a rate: give both, {self!r} & FailureRate(...)"
        )


@dataclass(frozen=True)
class AnyOf(Rule):
    """Trips when one of its rules holds."""

    rules: tuple[Rule, ...]

    def watch(self, clock: Clock) -> Watch:
        """Watches by each."""
        return Several([rule.watch(clock) for rule in self.rules])

    def parts(self) -> Iterator[Rule]:
        """The simple rules that it is made of."""
        for rule in self.rules:
            yield from rule.parts()


@dataclass(frozen=True)
class AllOf(Rule):
    """Trips when all of its rules hold at once."""

    rules: tuple[Rule, ...]

    def watch(self, clock: Clock) -> Watch:
        """Watches by each."""
        return All([rule.watch(clock) for rule in self.rules])

    def parts(self) -> Iterator[Rule]:
        """The simple rules that it is made of."""
        for rule in self.rules:
            yield from rule.parts()


def check_rule(name: str, value: object) -> Rule:
    """A rule that can trip.

    Raises:
        ConfigurationError: it isn't one, or can never be judged.
    """
    if not isinstance(value, Rule):
        refuse(name, value, "a rule of circuitry.policies, such as FailureRate(0.5, window=last(100))")
    for part in value.parts():
        if isinstance(part, MinimumCalls):
            raise ConfigurationError(
                f"{name}={shown(value)} is not allowed: {part!r} counts in the window of a rate, and must "
                "stand beside one: MinimumCalls(20) & FailureRate(...)"
            )
    return value


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


def _all_of(one: Rule, other: Rule) -> Rule:
    """Both at once. A `MinimumCalls` goes into the rates that it stands beside."""
    for minimum, beside in ((one, other), (other, one)):
        if isinstance(minimum, MinimumCalls) and not isinstance(beside, MinimumCalls):
            return _with_minimum(beside, minimum.calls)
    return AllOf(_parts(AllOf, one, other))


def _with_minimum(rule: Rule, calls: int) -> Rule:
    if isinstance(rule, (FailureRate, SlowCallRate)):
        return dataclasses.replace(rule, minimum_calls=max(calls, rule.minimum_calls))
    if isinstance(rule, AnyOf):
        return AnyOf(tuple(_with_minimum(part, calls) for part in rule.rules))
    if isinstance(rule, AllOf):
        return AllOf(tuple(_with_minimum(part, calls) for part in rule.rules))
    raise ConfigurationError(
        f"MinimumCalls({calls}) counts in the window of a rate, and {shown(rule)} has none: the two disagree"
    )


def _parts(kind: type[AnyOf | AllOf], *rules: object) -> tuple[Rule, ...]:
    """The rules that are combined, with those of the same combination opened up."""
    found: list[Rule] = []
    for rule in rules:
        if not isinstance(rule, Rule):
            raise TypeError(f"{shown(rule)} is no rule, and can't be combined with one")
        found.extend(rule.rules if isinstance(rule, kind) else [rule])
    return tuple(found)


def _check_rate(threshold: object, window: object, minimum_calls: object) -> None:
    check_share("threshold", threshold)
    if not isinstance(window, (Last, Within)):
        refuse("window", window, "last(calls) or within(seconds)")
    check_count("minimum_calls", minimum_calls)
    size = window.size
    if size is not None and isinstance(minimum_calls, int) and minimum_calls > size:
        raise ConfigurationError(
            f"minimum_calls={minimum_calls} and window={window!r} disagree: the window never holds so many"
        )
