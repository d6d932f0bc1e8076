"""What `circuit(...)` and `CircuitBreaker(...)` can be given, which part is whose, and what is refused."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

import pytest

from circuitry import (
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitFamily,
    CircuitOpenError,
    ConfigurationError,
    circuit,
    circuit_of,
    registry,
)
from circuitry.testing import ManualClock

pytestmark = [pytest.mark.core, pytest.mark.usefixtures("fresh")]

FIELDS = {
    "failure_threshold": 7,
    "success_threshold": 7,
    "timeout_duration": 7.0,
    "half_open_max_calls": 7,
    "probe_timeout": 7.0,
    "initial_state": "shadow",
    "include": (OSError,),
    "exclude": (OSError,),
    "exclude_as": "success",
    "failure_if": callable,
    "describe_failure": repr,
}
OWN = ("failure_threshold", "success_threshold", "timeout_duration", "half_open_max_calls", "probe_timeout")
OWN += ("initial_state", "describe_failure")


def answer() -> int:
    return 42


async def async_key(*_: object) -> int:
    return 1


def by_breaker(**settings: Any) -> CircuitBreaker:
    return CircuitBreaker("x", **settings)


def by_circuit(**settings: Any) -> CircuitBreaker:
    return circuit_of(circuit("x", **settings)(answer))


def by_block(**settings: Any) -> CircuitBreaker:
    with circuit("x", **settings) as breaker:
        return breaker


def by_registry(**settings: Any) -> CircuitBreaker:
    return registry.get_or_create("x", **settings)


GIVEN = pytest.mark.parametrize("give", [by_breaker, by_circuit, by_block, by_registry])
Give = Callable[..., CircuitBreaker]


def refused(give: Callable[[], object]) -> str:
    with pytest.raises(ConfigurationError) as caught:
        give()
    return str(caught.value)


# -- Fields --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("give", [by_breaker, by_registry])
@pytest.mark.parametrize("field", FIELDS)
def test_each_field_may_be_given_as_a_keyword(give: Give, field: str) -> None:
    settings = {field: FIELDS[field]}
    assert give(**settings).config == CircuitBreakerConfig(**settings)


@pytest.mark.parametrize("give", [by_circuit, by_block])
@pytest.mark.parametrize("field", OWN)
def test_numbers_and_trip_rules_go_to_the_breaker(give: Give, field: str) -> None:
    settings = {field: FIELDS[field]}
    assert give(**settings).config == CircuitBreakerConfig(**settings)


@pytest.mark.parametrize("field", sorted(FIELDS.keys() - set(OWN)))
def test_what_counts_as_a_failure_stays_with_the_decoration(field: str) -> None:
    assert by_circuit(**{field: FIELDS[field]}).config == CircuitBreakerConfig()


@GIVEN
@pytest.mark.parametrize(
    "base", [{"preset": "pubnub"}, {"config": CircuitBreakerConfig.pubnub()}], ids=["preset", "config"]
)
def test_keywords_beside_a_preset_or_a_config_override_it(give: Give, base: dict[str, Any]) -> None:
    assert give(**base, failure_threshold=9).config == CircuitBreakerConfig.pubnub(failure_threshold=9)


@GIVEN
def test_a_config_and_a_preset_contradict_each_other(give: Give) -> None:
    config = CircuitBreakerConfig(failure_threshold=77)
    message = refused(lambda: give(config=config, preset="pubnub"))
    assert "config=" in message
    assert "failure_threshold=77" in message
    assert "preset='pubnub'" in message


@GIVEN
@pytest.mark.parametrize("config", ["pubnub", {"failure_threshold": 3}, 5, CircuitBreakerConfig], ids=str)
def test_a_config_is_a_config(give: Give, config: object) -> None:
    message = refused(lambda: give(config=config))
    assert message.startswith(f"config={config!r} is not allowed: it must be a CircuitBreakerConfig")


@GIVEN
@pytest.mark.parametrize("value", [0, True, "5"], ids=repr)
def test_a_wrong_value_is_refused_by_its_field(give: Give, value: object) -> None:
    assert refused(lambda: give(failure_threshold=value)).startswith(f"failure_threshold={value!r} ")
    assert "x" not in registry


@GIVEN
def test_an_unknown_setting_is_refused_with_all_that_are_known(give: Give) -> None:
    message = refused(lambda: give(failure_treshold=3))
    assert message.startswith("unknown setting 'failure_treshold': allowed are ")
    for field in FIELDS:
        assert field in message
    assert "x" not in registry


@GIVEN
def test_none_is_as_good_as_nothing_for_what_has_no_value(give: Give) -> None:
    assert give(config=None, preset=None, store=None).config == CircuitBreakerConfig()


@pytest.mark.parametrize("setting", ["fallback", "key", "max_keys", "nonsense"])
def test_what_belongs_to_a_decoration_is_refused_by_the_registry(setting: str) -> None:
    assert f"unknown setting {setting!r}" in refused(lambda: by_registry(**{setting: callable}))


@pytest.mark.parametrize("setting", ["key", "max_keys"])
def test_a_breaker_of_ones_own_has_no_keys(setting: str) -> None:
    assert f"unknown setting {setting!r}" in refused(lambda: by_breaker(**{setting: callable}))


# -- Clock and store -----------------------------------------------------------------------------------


@GIVEN
def test_a_clock_may_be_given(give: Give, clock: ManualClock) -> None:
    breaker = give(clock=clock, failure_threshold=1)
    breaker.acquire().failure()
    clock.advance(25)
    assert breaker.metrics().retry_after == 5.0


@GIVEN
@pytest.mark.parametrize("clock", [5, "time", 0.0], ids=repr)
def test_a_clock_is_callable(give: Give, clock: object) -> None:
    assert refused(lambda: give(clock=clock)).startswith(f"clock={clock!r} is not allowed: ")
    assert "x" not in registry


@GIVEN
@pytest.mark.parametrize("store", [5, "redis://", object], ids=repr)
def test_a_store_has_gates(give: Give, store: object) -> None:
    assert refused(lambda: give(store=store)).startswith(f"store={store!r} is not allowed: ")
    assert "x" not in registry


# -- Keys ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [5, "platform", async_key, functools.partial(async_key)],
    ids=["a number", "a text", "async", "an async partial"],
)
def test_a_key_is_a_plain_function(key: Any) -> None:
    assert refused(lambda: circuit("x", key=key)).startswith(f"key={key!r} is not allowed: ")


@pytest.mark.parametrize("bound", [0, -1, True, 2.0, "5"], ids=repr)
def test_a_bound_is_a_whole_number_of_at_least_one(bound: Any) -> None:
    message = refused(lambda: circuit("x", key=str, max_keys=bound))
    assert message == f"max_keys={bound!r} is not allowed: it must be a whole number >= 1"
    assert message == refused(lambda: registry.get_or_create_family("x", max_keys=bound))


def test_a_bound_without_a_key_is_refused() -> None:
    assert refused(lambda: circuit("x", max_keys=5)).startswith("max_keys=5 ")


def test_no_key_means_no_family() -> None:
    settings: Any = {"key": None, "max_keys": None}
    guarded = circuit("x", **settings)(answer)
    assert guarded() == 42
    assert circuit_of(guarded) is registry["x"]


# -- Values that make trouble while they are refused -----------------------------------------------------


class Unprintable:
    def __repr__(self) -> str:
        raise OSError("no text")


@pytest.mark.parametrize(
    "setting", ["preset", "config", "clock", "store", "fallback", "fallback_on", "key", "max_keys"]
)
def test_a_value_that_can_not_be_shown_is_refused_all_the_same(setting: str) -> None:
    beside = {"fallback_on": {"fallback": answer}, "max_keys": {"key": str}}.get(setting, {})
    settings: Any = {setting: Unprintable(), **beside}
    assert setting in refused(lambda: circuit("x", **settings)(answer))


# -- Names and targets ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "a\nb", "\x7f"], ids=ascii)
@pytest.mark.parametrize("settings", [{}, {"key": str}, {"failure_threshold": 3}], ids=str)
def test_a_name_that_is_none_is_refused_at_decoration(name: str, settings: Any) -> None:
    assert refused(lambda: circuit(name, **settings)(answer)).startswith(f"name={name!r} is not allowed: ")


@pytest.mark.parametrize("name", ["", "a\nb", "\x7f"], ids=ascii)
def test_a_name_that_is_none_is_refused_for_a_block(name: str) -> None:
    def block() -> None:
        with circuit(name):
            pass

    assert refused(block).startswith(f"name={name!r} is not allowed: ")


def test_the_name_can_not_be_given_by_keyword() -> None:
    wrong: Any = {"name": "x"}
    assert "unknown setting 'name'" in refused(lambda: circuit(**wrong))


def test_settings_beside_a_function_are_refused() -> None:
    wrong: Any = circuit
    assert "the first argument must be a name" in refused(lambda: wrong(answer, failure_threshold=3))


@pytest.mark.parametrize("target", [5, b"x", ["x"], int], ids=repr)
def test_what_is_neither_a_name_nor_a_callable_that_can_be_guarded_is_refused(target: Any) -> None:
    with pytest.raises(TypeError, match=re.escape(repr(target))):
        circuit(target)


def test_a_lambda_has_to_be_given_a_name() -> None:
    for nameless in (lambda: 42, functools.partial(answer)):
        assert "has no name of its own" in refused(lambda nameless=nameless: circuit(nameless))
        assert "has no name of its own" in refused(lambda nameless=nameless: circuit(key=str)(nameless))
        assert circuit("named")(nameless)() == 42


# -- Blocks --------------------------------------------------------------------------------------------

UNFIT = {"fallback": answer, "fallback_value": 5, "key": str}


@pytest.mark.parametrize("setting", UNFIT)
def test_a_block_can_use_neither_a_fallback_nor_a_key(setting: str) -> None:
    with pytest.raises(TypeError, match=f"a block can't use {setting}=.*decorate a function"):
        with circuit("x", **{setting: UNFIT[setting]}):  # type: ignore[call-overload]
            pass
    assert "x" not in registry


def test_a_block_without_a_name_is_refused() -> None:
    with pytest.raises(TypeError, match=r'needs a name.*circuit\("name"\)'):
        with circuit():
            pass


@pytest.mark.anyio
@pytest.mark.parametrize("setting", UNFIT)
async def test_an_async_block_is_no_different(setting: str) -> None:
    with pytest.raises(TypeError, match=f"a block can't use {setting}="):
        async with circuit("x", **{setting: UNFIT[setting]}):  # type: ignore[call-overload]
            pass
    with pytest.raises(TypeError, match="needs a name"):
        async with circuit():
            pass


# -- Refusals leave no trace ---------------------------------------------------------------------------

REFUSED = {
    "an async predicate": {"exclude": async_key},
    "a wrong exclude_as": {"exclude_as": "failure"},
    "an async fallback": {"fallback": async_key},
    "a fallback that isn't callable": {"fallback": 5},
    "two fallbacks": {"fallback": answer, "fallback_value": 5},
    "fallback_on alone": {"fallback_on": OSError},
    "a wrong fallback_on": {"fallback": answer, "fallback_on": 5},
}


@pytest.mark.parametrize("key", [None, str], ids=["breaker", "family"])
@pytest.mark.parametrize("wrong", REFUSED.values(), ids=REFUSED)
def test_a_decoration_that_is_refused_leaves_no_settings_behind(wrong: dict[str, Any], key: Any) -> None:
    with pytest.raises((ConfigurationError, TypeError)):
        circuit("x", failure_threshold=3, key=key, **wrong)(answer)
    assert "x" not in registry
    assert registry.family("x") is None
    assert circuit("x", failure_threshold=4, key=key)(lambda *_: 42)(1) == 42


def test_a_class_is_refused_before_its_name_is_taken() -> None:
    with pytest.raises(TypeError, match="class"):
        circuit("x", failure_threshold=3)(int)
    assert "x" not in registry


# -- circuit_of ----------------------------------------------------------------------------------------


def test_circuit_of_gives_the_breaker_or_the_family() -> None:
    single, keyed = circuit("single")(answer), circuit("keyed", key=str)(answer)
    assert circuit_of(single) is registry["single"]
    assert circuit_of(single, CircuitBreaker) is registry["single"]
    assert circuit_of(keyed) is registry.family("keyed")
    assert circuit_of(keyed, CircuitFamily) is registry.family("keyed")


def test_circuit_of_what_is_not_guarded_is_refused() -> None:
    for wrong in (answer, 5, None, circuit("x")):
        with pytest.raises(TypeError, match="is not guarded by a circuit"):
            circuit_of(wrong)


def test_circuit_of_the_other_kind_is_refused() -> None:
    with pytest.raises(TypeError, match="not by a CircuitFamily"):
        circuit_of(circuit("single")(answer), CircuitFamily)
    with pytest.raises(TypeError, match="not by a CircuitBreaker"):
        circuit_of(circuit("keyed", key=str)(answer), CircuitBreaker)


# -- Fallback of the breaker ---------------------------------------------------------------------------


def test_a_breakers_own_fallback_serves_what_it_decorates() -> None:
    breaker = CircuitBreaker("x", fallback_value="spare")
    breaker.force_open()
    assert breaker(answer)() == "spare"
    assert breaker.call(answer) == "spare"


def test_a_registered_breaker_rejects_without_a_fallback() -> None:
    registry.get_or_create("x").force_open()
    with pytest.raises(CircuitOpenError):
        circuit("x")(answer)()
