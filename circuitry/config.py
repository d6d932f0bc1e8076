"""What a circuit is told once: its numbers, and what counts as a failure.

`CircuitBreakerConfig` is checked when it is made, so nothing later has to doubt it. The presets
are constructors and, under the same names, entries of `PRESETS`.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from circuitry.checks import (
    check_asked,
    check_choice,
    check_count,
    check_errors,
    check_fields,
    check_flag,
    check_health_check,
    check_predicate,
    check_seconds,
    disagree,
    shown,
)
from circuitry.errors import ConfigurationError
from circuitry.machine import ADMINISTRATIVE
from circuitry.policies import Adaptive, ConsecutiveFailures, Last, Rule, SlowCallRate, Within
from circuitry.states import Limits
from circuitry.tripping import Policy, check_rule, rule_of, rules_in
from circuitry.waiting import LONGEST_HINT, Backoff, Hint, asked_for_seconds

logger = logging.getLogger("circuitry")
logger.addHandler(logging.NullHandler())

Seconds: TypeAlias = float | timedelta
#: Exception types, or a predicate of the exception.
Errors: TypeAlias = type[BaseException] | Iterable[type[BaseException]] | Callable[[BaseException], object]
#: Asked whether the dependency is back, sync or async. In a family it is given the key.
HealthCheck: TypeAlias = Callable[..., object]

INITIAL_STATES = tuple(state.value for state in ADMINISTRATIVE.values())


@dataclass(frozen=True, kw_only=True, repr=False)
class CircuitBreakerConfig:
    """The settings of a circuit. Immutable, comparable, validated.

    Args:
        failure_threshold: consecutive failures that open the circuit, >= 1.
        trip: when to open, in place of `failure_threshold`: a rule of `circuitry.policies`.
        failure_rate_threshold: share of failures that opens the circuit, > 0 and <= 1. This and the next
            four are `trip` spelled out; with `failure_threshold` beside them either opens it.
        slow_call_rate_threshold: share of slow calls that opens the circuit, > 0 and <= 1.
        slow_call_duration: seconds (or a `timedelta`), > 0: a call that takes longer is slow.
        window: `last(calls)`, `within(seconds)` or a number of calls; by default the last 100.
        minimum_calls: so many calls must be in the window, >= 1; by default 20, or as many as fit.
        success_threshold: successful probes that close it again, >= 1; may exceed
            `half_open_max_calls`.
        timeout_duration: seconds (or a `timedelta`), > 0, that an open circuit waits for its
            first probe.
        backoff: how long the circuit stays open: `Exponential(...)`, or a function of how often it has opened
            since it was last closed, and of `timeout_duration`, that returns seconds.
        retry_after: a hint from the dependency: a function of the exception, or of the result that was a
            failure, that returns seconds or None. It makes the wait longer, by 300 s at most.
        call_timeout: seconds (or a `timedelta`), > 0, that a call of an async function may take; then it is
            cancelled, and `TimeoutError` is raised and counts as a failure. None is without end.
        half_open_max_calls: probes in flight at once, >= 1.
        ramp_up: seconds (or a `timedelta`), > 0, in which the share of calls that are admitted grows from a
            tenth to all, once the circuit has closed by its probes. None is at once.
        probe_timeout: seconds (or a `timedelta`), > 0, after which a probe without a result
            loses its slot; None means as long as `timeout_duration`.
        health_check: a function, sync or async, that is asked in the background while the circuit isn't
            closed, in place of users' calls: False, or an exception, is a failure. In a family it is given
            the key.
        health_check_interval: seconds (or a `timedelta`), > 0, between two checks.
        initial_state: "closed", "shadow", "disabled" or "forced_open".
        quorum: in a fleet, so many processes must have failed for the circuit to open for all, >= 1;
            None means as many as its store says.
        latency: whether to take the time of each call, for `metrics().latency`: True or False.
        include: only these exceptions are failures: a type, several, or a predicate.
        exclude: these exceptions are not failures: a type, several, or a predicate.
        exclude_as: what an excluded exception counts as: "ignored" or "success".
        failure_if: a predicate of a returned value; true means the call has failed.
        describe_failure: makes the text of `last_failure` from an exception, for example to
            redact it; by default `"TypeName: message"`. At most 200 characters are kept.

    Raises:
        ConfigurationError: a value is not allowed; the message names the field, the value and
            the allowed range.
    """

    failure_threshold: int = 5
    trip: Rule | None = None
    failure_rate_threshold: float | None = None
    slow_call_rate_threshold: float | None = None
    slow_call_duration: Seconds | None = None
    window: Last | Within | int | None = None
    minimum_calls: int | None = None
    success_threshold: int = 3
    timeout_duration: Seconds = 30.0
    backoff: Backoff | None = None
    retry_after: Hint | None = None
    call_timeout: Seconds | None = None
    half_open_max_calls: int = 3
    ramp_up: Seconds | None = None
    probe_timeout: Seconds | None = None
    health_check: HealthCheck | None = None
    health_check_interval: Seconds = 1.0
    initial_state: str = "closed"
    quorum: int | None = None
    latency: bool = False
    include: Errors | None = None
    exclude: Errors | None = None
    exclude_as: str = "ignored"
    failure_if: Callable[[Any], object] | None = None
    describe_failure: Callable[[BaseException], str] | None = None
    #: The rule that all of it makes; None for consecutive failures alone.
    rule: Rule | None = field(init=False, repr=False)
    #: The numbers in the machine's form.
    limits: Limits = field(init=False, repr=False, compare=False)

    if not TYPE_CHECKING:

        def __new__(cls, **settings: object) -> CircuitBreakerConfig:
            """Refuse unknown settings in the same words as wrong ones, and note which were given."""
            check_fields(settings, FIELDS)
            config = object.__new__(cls)
            if len(settings) == len(FIELDS):  # dataclasses.replace() names them all
                settings = {name for name, value in settings.items() if value != getattr(cls, name)}
            config.__dict__["_named"] = frozenset(settings)
            return config

    def __post_init__(self) -> None:
        for name in ("failure_threshold", "success_threshold", "half_open_max_calls"):
            check_count(name, getattr(self, name))
        timeout = self._settle("timeout_duration", check_seconds("timeout_duration", self.timeout_duration))
        probe_timeout = timeout
        if self.probe_timeout is not None:
            probe_timeout = self._settle("probe_timeout", check_seconds("probe_timeout", self.probe_timeout))
        check_health_check(self.health_check)
        interval = check_seconds("health_check_interval", self.health_check_interval)
        self._settle("health_check_interval", interval)
        if self.health_check is None and "health_check_interval" in self._named:
            disagree("health_check_interval", interval, "health_check", None, "there is nothing to ask")
        check_choice("initial_state", self.initial_state, INITIAL_STATES)
        if self.quorum is not None:
            check_count("quorum", self.quorum)
        check_flag("latency", self.latency)
        check_choice("exclude_as", self.exclude_as, ("ignored", "success"))
        for name in ("include", "exclude"):
            self._settle(name, check_errors(name, getattr(self, name)))
        for name in ("failure_if", "describe_failure", "backoff", "retry_after"):
            check_predicate(name, getattr(self, name))
        for name in ("slow_call_duration", "call_timeout", "ramp_up"):
            if getattr(self, name) is not None:
                self._settle(name, check_seconds(name, getattr(self, name)))
        call_timeout = cast("float | None", self.call_timeout)
        rule = self._settle("rule", self._rule())
        for part in rules_in(rule) if rule is not None else ():
            if isinstance(part, SlowCallRate) and part.limit > (call_timeout or math.inf):
                disagree("call_timeout", call_timeout, "trip", part, "no call takes that long")
        for name in OF_OPEN if isinstance(rule, Adaptive) else ():
            if getattr(self, name) is not None:
                disagree("trip", rule, name, getattr(self, name), "it never opens the circuit")
        streak, policy = self.failure_threshold, None if rule is None else Policy(rule, shown(rule))
        if isinstance(rule, ConsecutiveFailures):  # what circuits count for nothing
            streak, policy = rule.threshold, None
        numbers = (streak, self.success_threshold, timeout, self.half_open_max_calls, probe_timeout)
        ramp_up = cast("float | None", self.ramp_up) or 0.0
        check_interval = None if self.health_check is None else interval
        self._settle("limits", Limits(*numbers, policy, ramp_up=ramp_up, check_interval=check_interval))

    def _rule(self) -> Rule | None:
        """What `trip`, or the settings that spell it out, come to."""
        spelled = [name for name in SPELLED if getattr(self, name) is not None]
        beside = ["failure_threshold"] if "failure_threshold" in self._named else []
        if self.trip is not None:
            for name in (*beside, *spelled):
                disagree("trip", self.trip, name, getattr(self, name), "trip= says all of it")
            return check_rule("trip", self.trip)
        if not spelled:
            return None
        rule = rule_of(**{name: getattr(self, name) for name in SPELLED})
        return rule | ConsecutiveFailures(self.failure_threshold) if beside else rule

    @property
    def _named(self) -> frozenset[str]:
        """The settings that were given, rather than left at their default."""
        named: frozenset[str] = self.__dict__["_named"]
        return named

    def _settle(self, name: str, value: Any) -> Any:
        object.__setattr__(self, name, value)
        return value

    def __repr__(self) -> str:
        """What it differs in from the default."""
        fields = dataclasses.fields(self)
        given = [(field.name, getattr(self, field.name), field.default) for field in fields if field.init]
        told = (f"{name}={shown(value)}" for name, value, default in given if value != default)
        return f"CircuitBreakerConfig({', '.join(told)})"

    def replace(self, **settings: Any) -> CircuitBreakerConfig:
        """A copy with other settings. Of those that say when to trip, the later ones hold.

        Raises:
            ConfigurationError: a setting is unknown or its value isn't allowed.
        """
        kept = {name: getattr(self, name) for name in self._named}
        for name in _overruled(settings, kept):
            kept.pop(name, None)
        if "health_check" in settings and settings["health_check"] is None:
            kept.pop("health_check_interval", None)
        if isinstance(settings.get("trip"), Adaptive):  # what operators have said of opening is of no use now
            for name in self._ordered.intersection(OF_OPEN):
                kept.pop(name, None)
        config = CircuitBreakerConfig(**{**kept, **settings})
        config.__dict__["_ordered"] = self._ordered
        return config

    def ordered(self, **settings: Any) -> CircuitBreakerConfig:
        """The same, where operators say so. What would be of no use beside the code's word is passed over."""
        if self.health_check is None:
            settings.pop("health_check_interval", None)
        if isinstance(self.trip, Adaptive) and "trip" not in _overruled(settings, self._named):
            settings = {name: value for name, value in settings.items() if name not in OF_OPEN}
        config = self.replace(**settings)
        config.__dict__["_ordered"] |= settings.keys()
        return config

    def of_member(self, *key: object) -> CircuitBreakerConfig:
        """What a member of a family goes by: its check is given the key. Without a key, users' calls probe.

        Raises:
            ConfigurationError: the check can't be called so.
        """
        if self.health_check is None:
            return self
        if not key:
            return self.replace(health_check=None)
        check_asked(self.health_check, *key)
        return self.replace(health_check=functools.partial(self.health_check, *key))

    @property
    def coded_call_timeout(self) -> Seconds | None:
        """`call_timeout`, unless operators have set it: theirs holds where it can, and is refused nowhere."""
        return None if "call_timeout" in self._ordered else self.call_timeout

    @property
    def _ordered(self) -> frozenset[str]:
        """The settings that operators have given."""
        ordered: frozenset[str] = self.__dict__.get("_ordered", frozenset())
        return ordered

    def given(self) -> dict[str, Any]:
        """The settings by name."""
        return {name: getattr(self, name) for name in FIELDS}

    def wait(self, openings: int, outcome: object) -> float:
        """Seconds for which the circuit stays open this time. Runs the user's code.

        Args:
            openings: how often it has opened since it was last closed, this time included.
            outcome: the exception that opened it, or the result; None if none did.
        """
        timeout = wait = self.limits.timeout_duration
        if self.backoff is not None:
            wait = asked_for_seconds("backoff", self.backoff, timeout, openings, timeout)
        if self.retry_after is not None and outcome is not None:
            hint = asked_for_seconds("retry_after", self.retry_after, 0.0, outcome)
            wait = max(wait, min(hint, LONGEST_HINT))
        return wait

    @classmethod
    def platform_api(cls, **settings: Any) -> CircuitBreakerConfig:
        """For a content platform's API, and the default: 5 failures, 30 s, 3 of 3 probes."""
        return PRESETS["platform_api"].replace(**settings)

    @classmethod
    def pubnub(cls, **settings: Any) -> CircuitBreakerConfig:
        """For real-time messaging: 3 failures, 10 s, 2 of 2 probes."""
        return PRESETS["pubnub"].replace(**settings)

    @classmethod
    def embedding_service(cls, **settings: Any) -> CircuitBreakerConfig:
        """For slow, costly model endpoints: 5 failures, 60 s, 3 of 3 probes."""
        return PRESETS["embedding_service"].replace(**settings)


#: `trip`, spelled out.
SPELLED = (
    "failure_rate_threshold",
    "slow_call_rate_threshold",
    "slow_call_duration",
    "window",
    "minimum_calls",
)

#: What only matters to a circuit that opens, and has no default.
OF_OPEN = ("backoff", "retry_after", "ramp_up", "health_check", "quorum")

FIELDS: dict[str, str] = {
    setting.name: str(setting.type) for setting in dataclasses.fields(CircuitBreakerConfig) if setting.init
}


def check_changeable(settings: Iterable[str]) -> None:
    """Refuse settings that can't change while a circuit is at work.

    Raises:
        ConfigurationError: naming the first of them, or an unknown one.
    """
    check_fields(settings, FIELDS)
    if "failure_if" in settings:
        raise ConfigurationError("failure_if can't be changed: what is decorated goes by it already")


def _overruled(settings: Iterable[str], kept: Iterable[str]) -> tuple[str, ...]:
    """Which of the settings that say when to trip are void, once `settings` are said beside `kept`."""
    if "trip" in settings:
        return ("failure_threshold", *SPELLED)
    if not set(SPELLED).isdisjoint(settings):
        return ("trip",) if not set(SPELLED).isdisjoint(kept) else ("trip", "failure_threshold")
    return ("trip",) if "failure_threshold" in settings else ()


DEFAULT = CircuitBreakerConfig()

#: The presets of the library, by name. A registry may add its own.
PRESETS: dict[str, CircuitBreakerConfig] = {
    "platform_api": DEFAULT,
    "pubnub": CircuitBreakerConfig(
        failure_threshold=3, success_threshold=2, timeout_duration=10.0, half_open_max_calls=2
    ),
    "embedding_service": CircuitBreakerConfig(
        failure_threshold=5, success_threshold=3, timeout_duration=60.0, half_open_max_calls=3
    ),
}
