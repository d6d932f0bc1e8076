"""Operators' settings: environment > file > code > preset. They never conflict, and reach what exists."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from circuitry import (
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitFamily,
    ConfigurationError,
    circuit,
    circuit_of,
    registry,
)
from circuitry.gate import LOCAL
from circuitry.testing import ManualClock

pytestmark = [pytest.mark.core, pytest.mark.usefixtures("fresh")]

PUBNUB = CircuitBreakerConfig.pubnub()
Load = Callable[[str], None]


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of whoever runs the tests."""
    for variable in os.environ:
        if variable.startswith("CIRCUITRY_"):
            monkeypatch.delenv(variable)


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Write a settings file, and load it."""

    def load(text: str) -> None:
        path = tmp_path / "circuits.toml"
        path.write_text(text, encoding="utf-8")
        registry.load(path)

    return load


def threshold(name: str = "netflix", **settings: Any) -> int:
    return registry.get_or_create(name, **settings).config.failure_threshold


# -- Precedence ----------------------------------------------------------------------------------------

EVERY = pytest.mark.parametrize("present", list(itertools.product([False, True], repeat=4)), ids=str)


def strongest(present: tuple[bool, ...], values: tuple[int, ...], default: int) -> int:
    """The value of the strongest layer that is there; the layers go from weak to strong."""
    return max((value for there, value in zip(present, values, strict=True) if there), default=default)


@EVERY
@pytest.mark.parametrize("first", ["operator", "code"])
def test_environment_before_file_before_code_before_preset(
    present: tuple[bool, ...], first: str, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset, code, file, environment = present
    if first == "code":
        registry.get_or_create("netflix")
    if environment:
        monkeypatch.setenv("CIRCUITRY_NETFLIX__FAILURE_THRESHOLD", "40")
    load("[circuits.netflix]\nfailure_threshold = 30" if file else "")
    settings: dict[str, Any] = {"preset": "small"} if preset else {}
    settings |= {"failure_threshold": 20} if code else {}
    registry.add_preset("small", CircuitBreakerConfig(failure_threshold=10))
    assert threshold(**settings) == strongest(present, (10, 20, 30, 40), 5)


@EVERY
@pytest.mark.parametrize("first", ["operator", "member"])
def test_member_before_family_and_environment_before_file(
    present: tuple[bool, ...], first: str, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = registry.get_or_create_family("shard", failure_threshold=7)
    if first == "member":
        family["eu"]
    file, member_file, environment, member_environment = present
    if environment:
        monkeypatch.setenv("CIRCUITRY_SHARD__FAILURE_THRESHOLD", "30")
    if member_environment:
        monkeypatch.setenv("CIRCUITRY_SHARD_EU__FAILURE_THRESHOLD", "40")
    text = "[circuits.shard]\nfailure_threshold = 10\n" if file else ""
    load(text + ('[circuits."shard[eu]"]\nfailure_threshold = 20' if member_file else ""))
    assert family["eu"].config.failure_threshold == strongest(present, (10, 20, 30, 40), 7)
    assert family["us"].config.failure_threshold == strongest((file, environment), (10, 30), 7)


def test_layers_join_where_they_say_different_things(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIRCUITRY_NETFLIX__TIMEOUT_DURATION", "7.5")
    load("[circuits.netflix]\nsuccess_threshold = 9")
    config = registry.get_or_create("netflix", preset="pubnub", failure_threshold=8).config
    assert config == PUBNUB.replace(failure_threshold=8, success_threshold=9, timeout_duration=7.5)


# -- Presets of operators ------------------------------------------------------------------------------


def test_a_preset_in_the_file_goes_before_the_numbers_of_the_code(load: Load) -> None:
    load('[circuits.netflix]\npreset = "pubnub"')
    assert registry.get_or_create("netflix", failure_threshold=77, timeout_duration=77).config == PUBNUB


def test_a_field_beside_a_preset_overrides_it(load: Load) -> None:
    load('[circuits.netflix]\nfailure_threshold = 9\npreset = "pubnub"')
    assert registry.get_or_create("netflix").config == PUBNUB.replace(failure_threshold=9)


def test_a_preset_of_the_environment_goes_before_the_file(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CIRCUITRY_NETFLIX__PRESET", "pubnub")
    load("[circuits.netflix]\nfailure_threshold = 9")
    assert registry.get_or_create("netflix").config == PUBNUB


def test_a_preset_changes_nothing_that_an_operator_could_not_say(load: Load) -> None:
    """What counts as a failure and what is kept secret stay the code's, and a shadow stays a shadow."""
    code = CircuitBreakerConfig(
        failure_threshold=77,
        include=OSError,
        exclude=FileNotFoundError,
        exclude_as="success",
        failure_if=callable,
        describe_failure=repr,
        initial_state="shadow",
    )
    load('[circuits.netflix]\npreset = "platform_api"')
    assert registry.get_or_create("netflix", code).config == code.replace(failure_threshold=5)


def test_a_preset_that_was_added_may_be_used(load: Load) -> None:
    registry.add_preset("llm", CircuitBreakerConfig(failure_threshold=2))
    load('[circuits.netflix]\npreset = "llm"')
    assert threshold() == 2


# -- Breakers that exist -------------------------------------------------------------------------------


def test_a_breaker_goes_on_with_its_count_under_a_new_threshold(load: Load) -> None:
    breaker = registry.get_or_create("netflix", failure_threshold=5)
    for _ in range(2):
        breaker.acquire().failure()
    load("[circuits.netflix]\nfailure_threshold = 3")
    assert (breaker.state, breaker.failure_count) == ("closed", 2)
    breaker.acquire().failure()
    assert breaker.state == "open"


def test_an_open_breaker_keeps_its_deadline(load: Load, clock: ManualClock) -> None:
    breaker = registry.get_or_create("netflix", clock=clock, failure_threshold=1)
    breaker.acquire().failure()
    load("[circuits.netflix]\ntimeout_duration = 5")
    assert breaker.metrics().retry_after == 30.0
    clock.advance(30)
    breaker.acquire().failure()
    assert breaker.metrics().retry_after == 5.0


def test_a_half_open_breaker_keeps_its_successes(load: Load, clock: ManualClock) -> None:
    breaker = registry.get_or_create("netflix", clock=clock, failure_threshold=1)
    breaker.acquire().failure()
    clock.advance(30)
    breaker.acquire().success()
    load("[circuits.netflix]\nsuccess_threshold = 2")
    assert (breaker.state, breaker.success_count) == ("half_open", 1)
    breaker.acquire().success()
    assert breaker.state == "closed"


def test_a_decorated_function_goes_by_the_new_settings(load: Load) -> None:
    @circuit("netflix", exclude=KeyError)
    def fetch(error: Exception) -> None:
        raise error

    load("[circuits.netflix]\nfailure_threshold = 1")
    for error in (KeyError(), OSError()):
        with pytest.raises(type(error)):
            fetch(error)
    assert circuit_of(fetch).state == "open"
    assert circuit_of(fetch).metrics().ignored == 1


def test_a_second_file_takes_the_place_of_the_first(load: Load) -> None:
    breaker = registry.get_or_create("netflix", failure_threshold=7)
    load("[circuits.netflix]\nfailure_threshold = 30")
    load("[circuits.other]\nfailure_threshold = 40")
    assert breaker.config.failure_threshold == 7


def test_members_of_a_family_that_exist_and_that_come_are_reached(load: Load) -> None:
    fetch = circuit("shard", key=str, max_keys=1)(lambda key: key)
    fetch("old")
    family = circuit_of(fetch, CircuitFamily)
    load("[circuits.shard]\nfailure_threshold = 30")
    assert family["old"].config.failure_threshold == 30
    assert family["new"].config.failure_threshold == 30
    assert family["old"].config.failure_threshold == 30
    assert family.config.failure_threshold == 30


def test_the_circuit_for_surplus_keys_is_reached(load: Load) -> None:
    family = registry.get_or_create_family("shard", max_keys=1)
    family["sick"].force_open()
    load('[circuits."shard[*]"]\nfailure_threshold = 30')
    assert family["surplus"].config.failure_threshold == 30
    load('[circuits."shard[*]"]\nfailure_threshold = 40')
    assert family["surplus"].config.failure_threshold == 40


def test_a_breaker_that_is_just_being_made_is_reached(load: Load) -> None:
    class Store:
        """The file comes while the breaker asks for its gate."""

        def gate(self, breaker: CircuitBreaker) -> Any:
            load("[circuits.netflix]\nfailure_threshold = 30")
            return LOCAL

    assert threshold(store=Store(), failure_threshold=7) == 30


def test_a_breaker_of_ones_own_is_not_reached(load: Load) -> None:
    own = CircuitBreaker("netflix")
    load("[circuits.netflix]\nfailure_threshold = 30")
    assert own.config.failure_threshold == 5


def test_settings_survive_clear(load: Load) -> None:
    load("[circuits.netflix]\nfailure_threshold = 30")
    registry.clear()
    assert threshold() == 30


# -- Initial states ------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["forced_open", "disabled", "shadow"])
def test_an_initial_state_reaches_a_breaker_that_has_not_begun(state: str, load: Load) -> None:
    breaker = registry.get_or_create("netflix")
    heard: list[Any] = []
    breaker.on_transition(heard.append)
    load(f'[circuits.netflix]\ninitial_state = "{state}"')
    assert breaker.state == state
    assert [(event.old_state, event.new_state, event.source) for event in heard] == [
        ("closed", state, "admin")
    ]


def test_an_initial_state_is_left_only_by_an_administrative_call(load: Load) -> None:
    breaker = registry.get_or_create("netflix")
    load('[circuits.netflix]\ninitial_state = "forced_open"')
    load("")
    assert breaker.state == "forced_open"
    breaker.reset()
    load('[circuits.netflix]\ninitial_state = "forced_open"')
    assert breaker.state == "closed"


def test_an_initial_state_leaves_a_breaker_alone_that_is_in_another_state(load: Load) -> None:
    breaker = registry.get_or_create("netflix", failure_threshold=1)
    breaker.acquire().failure()
    load('[circuits.netflix]\ninitial_state = "disabled"')
    assert breaker.state == "open"


def test_breakers_begin_in_an_operators_initial_state(load: Load) -> None:
    load('[circuits.netflix]\ninitial_state = "shadow"')
    assert registry.get_or_create("netflix").state == "shadow"


# -- No conflicts --------------------------------------------------------------------------------------


def test_operators_settings_never_conflict_with_the_code(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    breaker = registry.get_or_create("netflix", failure_threshold=7)
    load("[circuits.netflix]\nfailure_threshold = 30")
    assert registry.get_or_create("netflix", failure_threshold=7) is breaker
    monkeypatch.setenv("CIRCUITRY_NETFLIX__FAILURE_THRESHOLD", "40")
    assert registry.get_or_create("netflix", failure_threshold=7) is breaker


def test_a_conflict_shows_what_the_code_said(load: Load) -> None:
    load("[circuits.netflix]\nfailure_threshold = 30")
    registry.get_or_create("netflix", failure_threshold=7)
    with pytest.raises(ConfigurationError, match=r"failure_threshold=7\).*; now: .*failure_threshold=8\)"):
        registry.get_or_create("netflix", failure_threshold=8)


def test_what_the_code_says_late_comes_beneath(load: Load) -> None:
    registry.get_or_create("netflix")
    load("[circuits.netflix]\nfailure_threshold = 30")
    assert registry.get_or_create("netflix", preset="pubnub").config == PUBNUB.replace(failure_threshold=30)
