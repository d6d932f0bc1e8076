"""What `circuit(...)` and `CircuitBreaker(...)` can be given, and which part of it is whose.

Numbers and trip rules belong to the breaker. What counts as a failure, and what stands in, belong
to the decoration: two functions on one breaker may differ in them. The type checkers' view of all
keywords stands here once, as `BreakerSettings` and `Settings`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeAlias, TypedDict

from circuitry.checks import check_count, check_fields, check_part, disagree, refuse, shown
from circuitry.config import FIELDS, PRESETS, CircuitBreakerConfig, Errors, HealthCheck, Seconds
from circuitry.errors import ConfigurationError
from circuitry.fallback import MISSING, Fallback, Missing, fallback_of
from circuitry.gate import Gate
from circuitry.judging import Judge
from circuitry.kinds import is_async
from circuitry.policies import Adaptive, Last, Rule, Within
from circuitry.waiting import Backoff, Hint


class Store(Protocol):
    """Where a fleet keeps its verdicts."""

    def gate(self, breaker: Any) -> Gate:
        """The gate of one breaker. Called while the breaker is made: it must neither block nor use it."""
        ...


class NumberSettings(TypedDict, total=False):
    """The fields of `CircuitBreakerConfig`."""

    failure_threshold: int
    trip: Rule | None
    failure_rate_threshold: float | None
    slow_call_rate_threshold: float | None
    slow_call_duration: Seconds | None
    window: Last | Within | int | None
    minimum_calls: int | None
    success_threshold: int
    timeout_duration: Seconds
    backoff: Backoff | None
    retry_after: Hint | None
    call_timeout: Seconds | None
    half_open_max_calls: int
    ramp_up: Seconds | None
    probe_timeout: Seconds | None
    health_check: HealthCheck | None
    health_check_interval: Seconds
    initial_state: str
    quorum: int | None
    latency: bool
    include: Errors | None
    exclude: Errors | None
    exclude_as: str
    failure_if: Callable[[Any], object] | None
    describe_failure: Callable[[BaseException], str] | None


class BreakerSettings(NumberSettings, total=False):
    """The keywords of `CircuitBreaker`."""

    preset: str
    clock: Callable[[], float]
    store: Store | None
    fallback: Callable[..., Any] | None
    fallback_value: Any
    fallback_on: type[BaseException] | tuple[type[BaseException], ...] | None


class Settings(BreakerSettings, total=False):
    """The keywords of `circuit`."""

    config: CircuitBreakerConfig
    key: Callable[..., Any]
    max_keys: int
    max_open_fraction: float


JUDGING = ("include", "exclude", "exclude_as", "failure_if")
#: The fields that are the breaker's own, where a decoration gives them.
NUMBERS = tuple(name for name in FIELDS if name not in (*JUDGING, "call_timeout"))
STANDING_IN = ("fallback", "fallback_value", "fallback_on")
BREAKER = ("preset", "config", *FIELDS, "clock", "store", *STANDING_IN)
#: What only a family has.
FAMILY = ("max_keys", "max_open_fraction")
DECORATION = (*BREAKER, "key", *FAMILY)


def check_store(store: object) -> None:
    """Refuse what is no store.

    Raises:
        ConfigurationError: it has no `gate`.
    """
    if store is not None and not callable(getattr(store, "gate", None)):
        refuse("store", store, "a store, such as a RedisStore, or None")


def preset_named(name: object) -> CircuitBreakerConfig:
    """The preset of this name.

    Raises:
        ConfigurationError: there is none.
    """
    if not isinstance(name, str) or name not in PRESETS:
        raise ConfigurationError(f"preset={shown(name)} is not known: there are {', '.join(PRESETS)}")
    return PRESETS[name]


def config_of(settings: Mapping[str, Any], fields: Iterable[str] = FIELDS) -> CircuitBreakerConfig | None:
    """The configuration that these settings make: config or preset, overridden by `fields` beside it.

    Returns:
        None if nothing of it is given.

    Raises:
        ConfigurationError: a value isn't allowed, or `config` and `preset` are both given.
    """
    config, preset = settings.get("config"), settings.get("preset")
    if config is not None and preset is not None:
        raise ConfigurationError(
            f"config={shown(config)} and preset={shown(preset)} contradict each other: give one"
        )
    if config is not None and not isinstance(config, CircuitBreakerConfig):
        refuse("config", config, "a CircuitBreakerConfig")
    if preset is not None:
        config = preset_named(preset)
    beside = {name: settings[name] for name in fields if name in settings}
    if beside:
        return config.replace(**beside) if config is not None else CircuitBreakerConfig(**beside)
    return config


#: What the code said of a breaker, in the form in which it is kept and compared.
Given: TypeAlias = Mapping[str, Any]


def given_of(settings: Mapping[str, Any], fields: Iterable[str] = FIELDS) -> Given:
    """What these settings say of the breaker itself; empty if nothing.

    Raises:
        ConfigurationError: a value isn't allowed, or `config` and `preset` are both given.
    """
    others = ("clock", "store", *FAMILY)
    given = {name: settings[name] for name in others if settings.get(name) is not None}
    config = config_of(settings, fields)
    if config is None:
        return given
    if "max_open_fraction" in given and isinstance(config.rule, Adaptive):
        share = given["max_open_fraction"]
        disagree("max_open_fraction", share, "trip", config.rule, "it never opens a circuit")
    return {**given, "config": config}


def judge_of(settings: Mapping[str, Any], config: CircuitBreakerConfig) -> Judge | None:
    """Who judges for a decoration that says something itself; None where its breaker judges."""
    own = {name: settings[name] for name in JUDGING if name in settings}
    return Judge(config.replace(**own)) if own else None


def deadline_of(settings: Mapping[str, Any], config: CircuitBreakerConfig) -> Seconds | Missing | None:
    """What a decoration says itself of the deadline of its calls.

    Raises:
        ConfigurationError: it isn't allowed, or contradicts the settings of the breaker.
    """
    if "call_timeout" not in settings:
        return MISSING
    return config.replace(call_timeout=settings["call_timeout"]).call_timeout


def stand_in_of(settings: Mapping[str, Any]) -> Fallback | None:
    """What stands in, if anything.

    Raises:
        ConfigurationError: the settings of the fallback contradict each other.
    """
    return fallback_of(
        settings.get("fallback"), settings.get("fallback_value", MISSING), settings.get("fallback_on")
    )


def check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse what `circuit` doesn't know, or can't use.

    Raises:
        ConfigurationError: naming the setting, its value and what is allowed.
    """
    check_fields(settings, DECORATION)
    key = settings.get("key")
    if key is None:
        if settings.get("max_keys") is not None:
            raise ConfigurationError(f"max_keys={shown(settings['max_keys'])} bounds a family: it needs key=")
        if settings.get("max_open_fraction") is not None:
            share = shown(settings["max_open_fraction"])
            raise ConfigurationError(f"max_open_fraction={share} is a part of a family: it needs key=")
        return
    if not callable(key) or is_async(key):
        refuse("key", key, "a plain function of the arguments")
    check_family(settings)


def check_family(settings: Mapping[str, Any]) -> None:
    """Refuse what a family can't have of what only a family has.

    Raises:
        ConfigurationError: naming the setting, its value and what is allowed.
    """
    check_count("max_keys", settings.get("max_keys", 1))
    share = settings.get("max_open_fraction")
    if share is not None:
        check_part("max_open_fraction", share, "with all of it the family would never panic")
