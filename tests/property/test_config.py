"""Settings come out as they went in, wherever they were written down."""

from __future__ import annotations

import math
import os
import pickle
from datetime import timedelta
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuitry import CircuitBreakerConfig, CircuitRegistry, ConfigurationError
from circuitry.config import FIELDS, PRESETS

from .strategies import durations, settings, tables

pytestmark = pytest.mark.core

COUNTS = ("failure_threshold", "success_threshold", "half_open_max_calls")
DURATIONS = ("timeout_duration", "probe_timeout", "ramp_up")


@given(settings)
def test_what_was_given_makes_the_same_again(settings):
    config = CircuitBreakerConfig(**settings)
    again = CircuitBreakerConfig(**config.given())
    assert again == config
    assert hash(again) == hash(config)
    assert again.limits == config.limits
    assert config.replace() == config


@given(settings)
def test_it_pickles_unchanged(settings):
    config = CircuitBreakerConfig(**settings)
    again = pickle.loads(pickle.dumps(config))
    assert again == config
    assert again.limits == config.limits


@given(settings, settings)
def test_what_is_replaced_is_new_and_the_rest_stays(settings, others):
    config = CircuitBreakerConfig(**settings).replace(**others)
    assert config == CircuitBreakerConfig(**{**settings, **others})


@given(settings)
def test_its_numbers_are_those_of_the_machine(settings):
    config = CircuitBreakerConfig(**settings)
    limits = config.limits
    assert [getattr(limits, name) for name in COUNTS] == [getattr(config, name) for name in COUNTS]
    assert limits.timeout_duration == config.timeout_duration
    assert limits.probe_timeout == (config.probe_timeout or config.timeout_duration)
    assert limits.ramp_up == (config.ramp_up or 0.0)


@given(durations)
def test_a_duration_is_seconds_however_it_was_given(duration):
    config = CircuitBreakerConfig(timeout_duration=duration)
    assert type(config.timeout_duration) is float
    if isinstance(duration, timedelta):
        assert config.timeout_duration == duration.total_seconds()
    else:
        assert config.timeout_duration == duration


@given(settings, st.sampled_from(sorted(PRESETS)))
def test_a_preset_by_name_is_the_constructor_of_that_name(settings, preset):
    made = getattr(CircuitBreakerConfig, preset)(**settings)
    assert made == CircuitBreakerConfig(**{**PRESETS[preset].given(), **settings})


no_counts = st.integers(max_value=0) | st.booleans() | st.floats() | st.text() | st.none()
no_seconds = (
    st.floats(max_value=0.0)
    | st.integers(max_value=0)
    | st.sampled_from([math.nan, math.inf, -math.inf, 10**400])
    | st.timedeltas(max_value=timedelta(0))
    | st.booleans()
    | st.text()
    | st.binary()
)


@given(st.sampled_from(COUNTS), no_counts)
def test_what_is_no_count_is_refused_by_name(name, value):
    with pytest.raises(ConfigurationError, match=f"{name}="):
        CircuitBreakerConfig(**{name: value})


@given(st.sampled_from(DURATIONS), no_seconds)
def test_what_is_no_duration_is_refused_by_name(name, value):
    with pytest.raises(ConfigurationError, match=f"{name}="):
        CircuitBreakerConfig(**{name: value})


@given(st.text().filter(lambda name: name not in FIELDS))
def test_an_unknown_setting_is_refused_by_name(name):
    with pytest.raises(ConfigurationError) as refused:
        CircuitBreakerConfig(**{name: 1})
    assert repr(name) in str(refused.value)


# -- Operators ---------------------------------------------------------------------------------------


def in_toml(table):
    lines = [f"{key} = {value!r}" for key, value in table.items()]
    return "\n".join(["[circuits.netflix]", *lines])


def in_variables(table):
    return {f"CIRCUITRY_NETFLIX__{key.upper()}": str(value) for key, value in table.items()}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("settings") / "circuits.toml"


@given(settings, tables, tables, st.booleans())
def test_environment_goes_before_file_before_code(path, code, file, environment, exists):
    """And it reaches a breaker that exists just like one that is made later."""
    path.write_text(in_toml(file), encoding="utf-8")
    registry = CircuitRegistry()
    with mock.patch.dict(os.environ, in_variables(environment)):
        if exists:
            registry.get_or_create("netflix", CircuitBreakerConfig(**code))
        registry.load(path)
        breaker = registry.get_or_create("netflix", CircuitBreakerConfig(**code))
    assert breaker.config == CircuitBreakerConfig(**{**code, **file, **environment})
    assert breaker.state == breaker.config.initial_state
