"""Settings of a name are given once, by whoever comes first; an automatic name belongs to one decoration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from circuitry import CircuitBreakerConfig, CircuitFamily, ConfigurationError, circuit, circuit_of, registry
from circuitry.testing import ManualClock

pytestmark = [pytest.mark.core, pytest.mark.usefixtures("fresh")]

PUBNUB = CircuitBreakerConfig.pubnub()


class Store:
    def gate(self, breaker: object) -> Any:
        raise NotImplementedError


def fetch() -> int:
    return 42


def conflict(give: Callable[[], object]) -> str:
    with pytest.raises(ConfigurationError) as caught:
        give()
    return str(caught.value)


# -- Settings are given once ---------------------------------------------------------------------------


def test_settings_are_those_of_who_comes_first_with_any() -> None:
    breaker = registry.get_or_create("netflix")
    assert breaker.config == CircuitBreakerConfig()
    assert registry.get_or_create("netflix", PUBNUB) is breaker
    assert breaker.config == PUBNUB


def test_a_request_without_settings_never_conflicts() -> None:
    breaker = registry.get_or_create("netflix", PUBNUB)
    assert registry.get_or_create("netflix") is breaker
    assert circuit_of(circuit("netflix")(fetch)) is breaker
    assert breaker.config == PUBNUB


@pytest.mark.parametrize(
    "again",
    [
        lambda: registry.get_or_create("netflix", PUBNUB),
        lambda: registry.get_or_create("netflix", preset="pubnub"),
        lambda: circuit("netflix", preset="pubnub")(fetch),
        lambda: circuit(
            "netflix", failure_threshold=3, success_threshold=2, timeout_duration=10, half_open_max_calls=2
        )(fetch),
    ],
)
def test_the_same_settings_never_conflict_however_they_are_written(again: Callable[[], object]) -> None:
    breaker = registry.get_or_create("netflix", PUBNUB)
    again()
    assert list(registry) == [breaker]


OTHERS: dict[str, Callable[[], object]] = {
    "registry": lambda: registry.get_or_create("netflix", failure_threshold=77),
    "decorator": lambda: circuit("netflix", failure_threshold=77)(fetch),
    "block": lambda: circuit("netflix", failure_threshold=77).__enter__(),
    "config": lambda: registry.get_or_create("netflix", CircuitBreakerConfig(failure_threshold=77)),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_other_settings_conflict_and_both_are_shown(other: Callable[[], object]) -> None:
    breaker = registry.get_or_create("netflix", PUBNUB)
    message = conflict(other)
    assert message.startswith("circuit 'netflix' was given other settings before: ")
    before, _, now = message.partition("; now: ")
    assert repr(PUBNUB) in before
    assert "failure_threshold=77" in now
    assert breaker.config == PUBNUB


@pytest.mark.parametrize("field", ["describe_failure", "failure_if", "exclude"])
def test_a_conflict_shows_the_field_that_differs_whichever_it_is(field: str) -> None:
    common = {name: repr for name in ("describe_failure", "failure_if", "include") if name != field}
    registry.get_or_create("netflix", initial_state="shadow", **common, **{field: ascii})
    before, _, now = conflict(
        lambda: registry.get_or_create("netflix", initial_state="shadow", **common, **{field: callable})
    ).partition("; now: ")
    assert f"{field}={ascii!r}" in before
    assert f"{field}={callable!r}" in now


def test_the_default_settings_said_aloud_are_settings() -> None:
    registry.get_or_create("netflix", CircuitBreakerConfig())
    assert "was given other settings before" in conflict(lambda: registry.get_or_create("netflix", PUBNUB))


def test_late_settings_reach_the_breaker_with_its_state_and_counts() -> None:
    breaker = registry.get_or_create("netflix")
    for _ in range(2):
        breaker.acquire().failure()
    registry.get_or_create("netflix", failure_threshold=3)
    assert (breaker.state, breaker.failure_count) == ("closed", 2)
    breaker.acquire().failure()
    assert breaker.state == "open"


def test_two_clocks_for_one_name_conflict() -> None:
    registry.get_or_create("netflix", clock=ManualClock(1.0))
    message = conflict(lambda: registry.get_or_create("netflix", clock=ManualClock(2.0)))
    assert "ManualClock(1.0)" in message
    assert "ManualClock(2.0)" in message


@pytest.mark.parametrize("setting", ["clock", "store"])
def test_a_clock_or_a_store_comes_too_late_for_a_breaker_that_exists(setting: str) -> None:
    registry.get_or_create("netflix")
    given = {"clock": ManualClock(), "store": Store()}[setting]
    message = conflict(lambda: registry.get_or_create("netflix", **{setting: given}))
    assert "exists already" in message
    assert f"{setting}=" in message


def test_a_breaker_and_a_family_can_not_share_a_name() -> None:
    registry.get_or_create("single")
    assert "'single' is a single circuit" in conflict(lambda: circuit("single", key=str)(fetch))
    circuit("keyed", key=str)(fetch)
    assert "'keyed' is a family" in conflict(lambda: circuit("keyed")(fetch))
    assert "'keyed' is a family" in conflict(lambda: circuit("keyed").__enter__())


def test_a_members_settings_are_its_familys() -> None:
    registry.get_or_create_family("shard", failure_threshold=2)
    for again in (1, 2):
        message = conflict(lambda: registry.get_or_create("shard[eu]", failure_threshold=7))
        assert "'shard[eu]' is a member of the family 'shard'" in message
        assert "failure_threshold=2" in message
        assert "failure_threshold=7" in message
        registry.get_or_create("shard[eu]")
        assert len(registry) == 1, again


def test_families_settle_their_settings_like_breakers() -> None:
    family = registry.get_or_create_family("shard")
    assert registry.get_or_create_family("shard", preset="pubnub") is family
    assert registry.get_or_create_family("shard", PUBNUB) is family
    assert family.config == PUBNUB
    assert "was given other settings before" in conflict(
        lambda: registry.get_or_create_family("shard", failure_threshold=77)
    )


@pytest.mark.parametrize("make", ["get_or_create", "get_or_create_family"])
@pytest.mark.parametrize("setting", ["failure_treshold", "fallback", "key", "name_of_no_setting"])
def test_an_unknown_setting_is_refused_and_takes_no_name(make: str, setting: str) -> None:
    message = conflict(lambda: getattr(registry, make)("netflix", **{setting: 3}))
    assert message.startswith(f"unknown setting {setting!r}: allowed are ")
    assert "netflix" not in registry
    assert registry.family("netflix") is None


def test_late_settings_reach_the_members_of_a_family() -> None:
    family = registry.get_or_create_family("shard")
    old = family["old"]
    registry.get_or_create_family("shard", PUBNUB)
    assert old.config == PUBNUB
    assert family["new"].config == PUBNUB


def test_two_bounds_for_one_family_conflict() -> None:
    registry.get_or_create_family("shard", max_keys=5)
    assert "max_keys=5" in conflict(lambda: registry.get_or_create_family("shard", max_keys=6))


# -- Automatic names -----------------------------------------------------------------------------------


def decorated(**settings: Any) -> Any:
    @circuit(**settings)
    def inner(key: object = None) -> object:
        return key

    return inner


NAME = f"{__name__}.decorated.<locals>.inner"


def test_an_automatic_name_is_module_and_qualname() -> None:
    assert circuit_of(circuit(fetch)).name == f"{__name__}.fetch"
    assert circuit_of(decorated()).name == NAME


@pytest.mark.parametrize("key", [None, str], ids=["breaker", "family"])
def test_under_an_automatic_name_each_decoration_has_a_circuit_of_its_own(key: Any) -> None:
    first, second = decorated(key=key, failure_threshold=3), decorated(key=key, failure_threshold=4)
    one, other = circuit_of(first), circuit_of(second)
    assert one is not other
    assert [one.config.failure_threshold, other.config.failure_threshold] == [3, 4]


@pytest.mark.parametrize("key", [None, str], ids=["breaker", "family"])
def test_the_registry_holds_the_latest_of_an_automatic_name(key: Any) -> None:
    decorated(key=key)
    latest: Any = circuit_of(decorated(key=key))
    assert (registry.get(NAME) or registry.family(NAME)) is latest


def test_members_of_a_family_that_was_replaced_keep_its_settings() -> None:
    """Each decoration has its own settings, for its later members too."""
    first = decorated(key=str, failure_threshold=3)
    decorated(key=str, failure_threshold=4)
    assert circuit_of(first, CircuitFamily)["late"].config.failure_threshold == 3


def test_methods_are_named_after_their_class() -> None:
    class Client:
        @circuit
        def method(self) -> None: ...

        @circuit
        @classmethod
        def of_class(cls) -> None: ...

        @staticmethod
        @circuit
        def static() -> None: ...

    here = f"{__name__}.test_methods_are_named_after_their_class.<locals>.Client"
    assert {breaker.name for breaker in registry} == {
        f"{here}.{name}" for name in ("method", "of_class", "static")
    }
