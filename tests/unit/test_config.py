"""A config is checked when it is made: the message names the field, the value and what is allowed."""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
import pickle
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuitry import (
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitBreakerError,
    CircuitState,
    ConfigurationError,
)

pytestmark = pytest.mark.core

COUNTS = ("failure_threshold", "success_threshold", "half_open_max_calls")
DURATIONS = ("timeout_duration", "probe_timeout", "ramp_up")
ERRORS = ("include", "exclude")
CALLABLES = ("failure_if", "describe_failure")

SECONDS = "a number of seconds or a timedelta, > 0 and finite"
A_COUNT = "a whole number >= 1"
ERRORS_ALLOWED = "an exception type, several of them, or a predicate of the exception"


def refused(**settings: object) -> str:
    """The message with which a config of these settings is refused."""
    with pytest.raises(ConfigurationError) as caught:
        CircuitBreakerConfig(**settings)
    return str(caught.value)


class Unprintable:
    """A value that can't even be shown."""

    def __repr__(self) -> str:
        raise OSError("no text")


# -- The error itself ----------------------------------------------------------------------------------


def test_a_configuration_error_is_a_circuit_breaker_error_and_a_value_error() -> None:
    assert issubclass(ConfigurationError, CircuitBreakerError)
    assert issubclass(ConfigurationError, ValueError)


# -- Counts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", COUNTS)
@pytest.mark.parametrize(
    "value",
    [
        True,
        False,
        0,
        -1,
        1.0,
        2.5,
        math.nan,
        math.inf,
        "5",
        "",
        None,
        timedelta(seconds=5),
        Decimal(5),
        [5],
        int,
    ],
    ids=repr,
)
def test_a_count_is_a_whole_number_of_at_least_one(field: str, value: object) -> None:
    assert refused(**{field: value}) == f"{field}={value!r} is not allowed: it must be {A_COUNT}"


@given(st.integers(min_value=1))
def test_every_whole_number_of_at_least_one_is_a_count(number: int) -> None:
    config = CircuitBreakerConfig(**dict.fromkeys(COUNTS, number))
    assert [getattr(config, field) for field in COUNTS] == [number] * 3


def test_more_successes_may_be_asked_for_than_probes_are_allowed_at_once() -> None:
    config = CircuitBreakerConfig(success_threshold=10, half_open_max_calls=1)
    assert (config.success_threshold, config.half_open_max_calls) == (10, 1)


# -- Durations -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", DURATIONS)
@pytest.mark.parametrize(
    "value",
    [
        True,
        False,
        0,
        0.0,
        -0.0,
        -1,
        -0.5,
        math.nan,
        math.inf,
        -math.inf,
        "30",
        "",
        timedelta(0),
        timedelta(seconds=-1),
        Decimal(30),
        1j,
        [30],
        float,
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_duration_is_positive_finite_seconds(field: str, value: object) -> None:
    assert refused(**{field: value}) == f"{field}={value!r} is not allowed: it must be {SECONDS}"


def test_the_timeout_may_not_be_none() -> None:
    assert refused(timeout_duration=None).startswith("timeout_duration=None ")


@pytest.mark.parametrize("field", DURATIONS)
@given(seconds=st.floats(min_value=0, exclude_min=True, allow_infinity=False, allow_nan=False))
def test_every_positive_finite_number_is_a_duration(field: str, seconds: float) -> None:
    assert getattr(CircuitBreakerConfig(**{field: seconds}), field) == seconds


@pytest.mark.parametrize("field", DURATIONS)
@pytest.mark.parametrize("value", [90, 90.0, timedelta(minutes=1.5)], ids=repr)
def test_durations_are_kept_as_seconds(field: str, value: float | timedelta) -> None:
    kept = getattr(CircuitBreakerConfig(**{field: value}), field)
    assert kept == 90.0
    assert type(kept) is float


def test_equal_durations_make_equal_configs_however_they_are_written() -> None:
    written = [CircuitBreakerConfig(timeout_duration=value) for value in (90, 90.0, timedelta(seconds=90))]
    assert written[0] == written[1] == written[2]


def test_a_probe_lapses_after_the_timeout_unless_told_otherwise() -> None:
    assert CircuitBreakerConfig(timeout_duration=7).limits.probe_timeout == 7.0
    assert CircuitBreakerConfig(timeout_duration=7).replace(timeout_duration=8).limits.probe_timeout == 8.0
    assert CircuitBreakerConfig(timeout_duration=7, probe_timeout=2).limits.probe_timeout == 2.0


# -- Choices -------------------------------------------------------------------------------------------

CHOICES = {
    "initial_state": ("closed", "forced_open", "disabled", "shadow"),
    "exclude_as": ("ignored", "success"),
}


@pytest.mark.parametrize(("field", "allowed"), CHOICES.items())
@pytest.mark.parametrize(
    "value", ["open", "half_open", "failure", "", "CLOSED", None, True, 0, ["closed"]], ids=repr
)
def test_any_other_word_for_a_choice_is_refused(field: str, allowed: tuple[str, ...], value: object) -> None:
    message = f"{field}={value!r} is not allowed: it must be one of {', '.join(allowed)}"
    assert refused(**{field: value}) == message


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, allowed in CHOICES.items() for value in allowed]
)
def test_each_choice_is_taken(field: str, value: str) -> None:
    assert getattr(CircuitBreakerConfig(**{field: value}), field) == value


def test_an_initial_state_may_be_a_circuit_state() -> None:
    config = CircuitBreakerConfig(initial_state=CircuitState.SHADOW)
    assert config == CircuitBreakerConfig(initial_state="shadow")


# -- Exceptions and predicates -------------------------------------------------------------------------


@pytest.mark.parametrize("field", ERRORS)
@pytest.mark.parametrize(
    "value",
    [
        ValueError(),
        "ValueError",
        b"",
        5,
        True,
        int,
        [],
        (),
        [int],
        (ValueError, "KeyError"),
        (ValueError, KeyError()),
    ],
    ids=repr,
)
def test_errors_are_types_or_a_predicate(field: str, value: object) -> None:
    assert refused(**{field: value}) == f"{field}={value!r} is not allowed: it must be {ERRORS_ALLOWED}"


@pytest.mark.parametrize("field", ERRORS)
@pytest.mark.parametrize("collect", [list, tuple, dict.fromkeys, iter])
def test_several_types_may_come_in_any_iterable(field: str, collect: Callable[[Any], object]) -> None:
    config = CircuitBreakerConfig(**{field: collect([OSError, KeyError])})
    assert getattr(config, field) == (OSError, KeyError)


@pytest.mark.parametrize("field", ERRORS)
def test_one_type_needs_no_tuple(field: str) -> None:
    assert CircuitBreakerConfig(**{field: OSError}) == CircuitBreakerConfig(**{field: (OSError,)})


@pytest.mark.parametrize("field", CALLABLES)
@pytest.mark.parametrize("value", ["text", 5, True, [], b""], ids=repr)
def test_predicates_are_callable(field: str, value: object) -> None:
    assert refused(**{field: value}) == f"{field}={value!r} is not allowed: it must be a callable"


async def coroutine_function(_: object) -> bool:
    return True


async def async_generator_function(_: object) -> AsyncIterator[bool]:
    yield True


class AsyncCall:
    async def __call__(self, _: object) -> bool:
        return True

    async def method(self, _: object) -> bool:
        return True


ASYNC = {
    "a coroutine function": coroutine_function,
    "a partial of one": functools.partial(coroutine_function),
    "a method": AsyncCall().method,
    "an object with async __call__": AsyncCall(),
    "a partial of such an object": functools.partial(AsyncCall()),
    "an async generator function": async_generator_function,
}


@pytest.mark.parametrize("field", ERRORS + CALLABLES)
@pytest.mark.parametrize("predicate", ASYNC.values(), ids=ASYNC)
def test_an_async_predicate_is_refused(field: str, predicate: object) -> None:
    """Its coroutine would be taken for yes, each time."""
    assert refused(**{field: predicate}).startswith(f"{field}={predicate!r} is not allowed: ")


@pytest.mark.parametrize("field", ERRORS + CALLABLES)
def test_a_plain_predicate_is_kept_as_it_is(field: str) -> None:
    assert getattr(CircuitBreakerConfig(**{field: callable}), field) is callable


# -- Values that make trouble while they are refused ---------------------------------------------------


@pytest.mark.parametrize("field", COUNTS + DURATIONS + tuple(CHOICES) + ERRORS + CALLABLES)
def test_a_value_that_can_not_be_shown_is_refused_by_its_field(field: str) -> None:
    assert refused(**{field: Unprintable()}).startswith(f"{field}=")


@pytest.mark.parametrize("field", COUNTS + DURATIONS)
def test_a_number_too_long_to_be_written_out_is_refused_by_its_field(field: str) -> None:
    """Python refuses to print integers of more than 4300 digits."""
    assert refused(**{field: -(10**5000)}).startswith(f"{field}=")


@pytest.mark.parametrize("field", DURATIONS)
@pytest.mark.parametrize("digits", [400, 5000])
def test_a_duration_beyond_any_float_is_refused_by_its_field(field: str, digits: int) -> None:
    message = refused(**{field: 10**digits})
    assert message.startswith(f"{field}=")
    assert message.endswith(SECONDS)


def test_a_long_value_is_cut_short_in_the_message() -> None:
    assert len(refused(failure_threshold="x" * 10_000)) < 400


# -- The whole -----------------------------------------------------------------------------------------


def test_an_unknown_setting_is_refused_with_all_that_are_known() -> None:
    message = refused(failure_treshold=3)
    assert message.startswith("unknown setting 'failure_treshold': allowed are ")
    for field in COUNTS + DURATIONS + tuple(CHOICES) + ERRORS + CALLABLES:
        assert field in message


def test_limits_are_computed_and_can_not_be_given() -> None:
    assert "unknown setting 'limits'" in refused(limits=None)


def test_settings_have_to_be_named() -> None:
    with pytest.raises(TypeError):
        CircuitBreakerConfig(5)  # type: ignore[misc]


def test_a_config_is_frozen() -> None:
    config = CircuitBreakerConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.failure_threshold = 9  # type: ignore[misc]


def test_configs_compare_and_hash_by_their_settings() -> None:
    one, same = (CircuitBreakerConfig(failure_threshold=2, exclude=OSError) for _ in range(2))
    assert one == same
    assert hash(one) == hash(same)
    assert one != CircuitBreakerConfig(failure_threshold=3, exclude=OSError)


def test_replace_gives_a_checked_copy() -> None:
    config = CircuitBreakerConfig(failure_threshold=2, exclude=OSError)
    assert config.replace(success_threshold=1) == CircuitBreakerConfig(
        failure_threshold=2, exclude=OSError, success_threshold=1
    )
    assert config.success_threshold == 3
    with pytest.raises(ConfigurationError, match="success_threshold=0"):
        config.replace(success_threshold=0)
    with pytest.raises(ConfigurationError, match="unknown setting 'nonsense'"):
        config.replace(nonsense=1)


@pytest.mark.parametrize(
    "again",
    [copy.copy, copy.deepcopy, lambda config: pickle.loads(pickle.dumps(config)), dataclasses.replace],
)
def test_a_config_can_be_copied_and_pickled(again: Callable[[Any], Any]) -> None:
    config = CircuitBreakerConfig(failure_threshold=2, timeout_duration=9, exclude=OSError)
    copied = again(config)
    assert copied == config
    assert copied.limits == config.limits


def test_a_config_shows_its_settings_and_nothing_else() -> None:
    shown = repr(CircuitBreakerConfig(failure_threshold=77))
    assert "failure_threshold=77" in shown
    assert "limits" not in shown


# -- Names ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a\nb",
        "tab\t",
        "\x00",
        "bell\x07",
        "\x7f",
        "\x85",
        "\x9f",
        "lone \ud800",
        None,
        5,
        b"bytes",
        ["a"],
    ],
    ids=ascii,
)
def test_a_name_is_text_without_control_characters(name: object) -> None:
    with pytest.raises(ConfigurationError, match=r"^name=") as caught:
        CircuitBreaker(name)  # type: ignore[arg-type]
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize(
    "name", ["netflix", " ", "a b", "Ünïcödé", "日本", "🎬", "a/b:c[d]", "x" * 1000, "\xa0"], ids=ascii
)
def test_any_other_text_is_a_name(name: str) -> None:
    assert CircuitBreaker(name).name == name
