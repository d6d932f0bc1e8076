"""Presets: three of the library, by name and by constructor, and those that users add."""

from __future__ import annotations

from typing import Any

import pytest

from circuitry import CircuitBreaker, CircuitBreakerConfig, ConfigurationError, circuit, circuit_of, registry
from circuitry.testing import fresh_registry

pytestmark = [pytest.mark.core, pytest.mark.usefixtures("fresh")]

NUMBERS = ("failure_threshold", "success_threshold", "timeout_duration", "half_open_max_calls")

TABLE = {
    "platform_api": (5, 3, 30.0, 3),
    "pubnub": (3, 2, 10.0, 2),
    "embedding_service": (5, 3, 60.0, 3),
}


def numbers(config: CircuitBreakerConfig) -> tuple[float, ...]:
    return tuple(getattr(config, name) for name in NUMBERS)


# -- Those of the library ------------------------------------------------------------------------------


@pytest.mark.parametrize(("preset", "values"), TABLE.items())
def test_preset_values(preset: str, values: tuple[float, ...]) -> None:
    assert numbers(CircuitBreaker("by name", preset=preset).config) == values
    assert numbers(getattr(CircuitBreakerConfig, preset)()) == values


@pytest.mark.parametrize("preset", TABLE)
def test_a_name_and_a_constructor_mean_the_same(preset: str) -> None:
    assert CircuitBreaker("by name", preset=preset).config == getattr(CircuitBreakerConfig, preset)()


@pytest.mark.parametrize("preset", TABLE)
def test_a_preset_says_nothing_beside_its_four_numbers(preset: str) -> None:
    plain = CircuitBreakerConfig(**dict(zip(NUMBERS, TABLE[preset], strict=True)))
    assert getattr(CircuitBreakerConfig, preset)() == plain


def test_platform_api_is_the_default() -> None:
    assert CircuitBreaker("plain").config == CircuitBreakerConfig() == CircuitBreakerConfig.platform_api()


@pytest.mark.parametrize("preset", TABLE)
def test_settings_beside_a_preset_override_it(preset: str) -> None:
    changed = {"success_threshold": 9, "exclude": OSError}
    expected = getattr(CircuitBreakerConfig, preset)().replace(**changed)
    assert getattr(CircuitBreakerConfig, preset)(**changed) == expected
    assert CircuitBreaker("by name", preset=preset, **changed).config == expected


def test_a_constructor_checks_what_it_is_given() -> None:
    with pytest.raises(ConfigurationError, match="failure_threshold=0 "):
        CircuitBreakerConfig.pubnub(failure_threshold=0)
    with pytest.raises(ConfigurationError, match="unknown setting 'nonsense'"):
        CircuitBreakerConfig.pubnub(nonsense=1)


# -- Wrong ones ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "preset", ["nope", "", "PUBNUB", 3, True, ["pubnub"], CircuitBreakerConfig.pubnub()], ids=str
)
@pytest.mark.parametrize(
    "give",
    [
        lambda preset: CircuitBreaker("x", preset=preset),
        lambda preset: circuit("x", preset=preset)(lambda: None),
        lambda preset: registry.get_or_create("x", preset=preset),
    ],
    ids=["CircuitBreaker", "circuit", "registry"],
)
def test_an_unknown_preset_is_refused_with_all_that_there_are(give: Any, preset: object) -> None:
    with pytest.raises(ConfigurationError) as caught:
        give(preset)
    assert f"preset={preset!r}" in str(caught.value)
    assert ", ".join(TABLE) in str(caught.value)
    assert "x" not in registry


def test_config_and_preset_together_are_refused_and_both_shown() -> None:
    config = CircuitBreakerConfig(failure_threshold=77)
    with pytest.raises(ConfigurationError) as caught:
        CircuitBreaker("x", config, preset="pubnub")
    assert repr(config) in str(caught.value)
    assert "preset='pubnub'" in str(caught.value)


# -- Those that users add ------------------------------------------------------------------------------

LLM = CircuitBreakerConfig(failure_threshold=2, timeout_duration=120, exclude=ValueError)


def test_a_preset_that_was_added_is_known_everywhere() -> None:
    registry.add_preset("llm", LLM)
    assert CircuitBreaker("own", preset="llm").config == LLM
    assert registry.get_or_create("registered", preset="llm").config == LLM
    assert circuit_of(circuit("decorated", preset="llm")(print)).config == LLM


def test_it_may_be_added_again_with_the_same_settings() -> None:
    registry.add_preset("llm", LLM)
    registry.add_preset("llm", LLM.replace())
    assert CircuitBreaker("own", preset="llm").config == LLM


@pytest.mark.parametrize("name", ["llm", "pubnub", "platform_api"])
def test_other_settings_for_the_name_are_refused_and_both_shown(name: str) -> None:
    registry.add_preset("llm", LLM)
    before = CircuitBreaker("before", preset=name).config
    other = CircuitBreakerConfig(failure_threshold=99)
    with pytest.raises(ConfigurationError) as caught:
        registry.add_preset(name, other)
    for part in (repr(name), repr(before), repr(other)):
        assert part in str(caught.value)
    assert CircuitBreaker("after", preset=name).config == before


@pytest.mark.parametrize("config", [None, "pubnub", {"failure_threshold": 3}, 5], ids=repr)
def test_a_preset_is_a_config(config: object) -> None:
    with pytest.raises(ConfigurationError, match="must be a CircuitBreakerConfig") as caught:
        registry.add_preset("llm", config)  # type: ignore[arg-type]
    assert repr(config) in str(caught.value)


@pytest.mark.parametrize("name", ["", "a\nb", 5, None], ids=repr)
def test_a_preset_has_a_name(name: object) -> None:
    with pytest.raises(ConfigurationError, match=r"^name=") as caught:
        registry.add_preset(name, LLM)  # type: ignore[arg-type]
    assert repr(name) in str(caught.value)


def test_a_preset_added_in_a_fresh_registry_is_gone_afterwards() -> None:
    with fresh_registry():
        registry.add_preset("llm", LLM)
    with pytest.raises(ConfigurationError, match="preset='llm'"):
        CircuitBreaker("x", preset="llm")
