"""How a health check is asked for: what is refused, families, operators' settings."""

from __future__ import annotations

import functools
import inspect
import threading
import time
from datetime import timedelta
from unittest import mock

import pytest

from circuitry import (
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitFamily,
    CircuitOpenError,
    CircuitRegistry,
    ConfigurationError,
    circuit,
    circuit_of,
    registry,
)
from circuitry.kinds import takes
from circuitry.probing import admit, probe, retry_after
from circuitry.testing import fresh_registry

pytestmark = pytest.mark.core


def ping():
    """It is well."""


async def ping_async():
    """It is well."""


def ping_key(key):
    """It is well."""


async def ping_key_async(key):
    """It is well."""


@pytest.fixture(autouse=True)
def _our_registry():
    with fresh_registry():
        yield


def until(is_so, otherwise="it never came to that"):
    deadline = time.monotonic() + 15
    while not is_so():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.001)


# -- What it may be ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "check",
    [
        ping,
        ping_async,
        functools.partial(ping_key, "eu"),
        lambda: None,
        lambda key="eu": None,
        mock.Mock(),
        mock.AsyncMock(),
        type("Check", (), {"__call__": lambda self: None})(),
        None,
    ],
)
def test_what_can_be_called_without_arguments_is_a_check(check):
    assert CircuitBreaker("netflix", health_check=check).config.health_check is check


def generate():
    yield


async def generate_async():
    yield


@pytest.mark.parametrize(
    ("check", "allowed"),
    [
        ("ping", "a function, sync or async"),
        (True, "a function, sync or async"),
        (dict, "a function, sync or async"),
        (generate, "a function that returns: to call a generator function runs nothing"),
        (generate_async, "a function that returns: to call a generator function runs nothing"),
        (lambda key, more: None, "a function without arguments or, in a family, of the key alone"),
        (lambda *, more: None, "a function without arguments or, in a family, of the key alone"),
    ],
)
def test_what_cant_be_asked_is_refused(check, allowed):
    with pytest.raises(ConfigurationError) as caught:
        CircuitBreakerConfig(health_check=check)
    assert str(caught.value) == f"health_check={check!r} is not allowed: it must be {allowed}"


@pytest.mark.parametrize("check", [ping_key, ping_key_async])
def test_a_single_circuit_has_no_key_to_give(check):
    alone = r"it must be a function without arguments$"
    with pytest.raises(ConfigurationError, match=alone):
        CircuitBreaker("netflix", health_check=check)
    with pytest.raises(ConfigurationError, match=alone):
        circuit("netflix", health_check=check)(lambda: None)
    assert "netflix" not in registry


@pytest.mark.parametrize("check", [ping, ping_async])
def test_a_family_gives_the_key(check):
    with pytest.raises(ConfigurationError, match=r"it must be a function of the key$"):
        circuit("platform", key=lambda key: key, health_check=check)(lambda key: None)
    assert registry.family("platform") is None


def test_what_has_no_signature_is_left_to_be_tried():
    class Odd:
        __signature__ = 17

        def __call__(self):
            """It is well."""

    with pytest.raises((TypeError, ValueError)):
        inspect.signature(Odd())
    assert takes(Odd(), 1, 2, 3)
    assert CircuitBreaker("netflix", health_check=Odd()).config.health_check is not None


@pytest.mark.parametrize("interval", [0, -1, float("inf"), float("nan"), "1", None, True, timedelta(0)])
def test_an_interval_is_a_duration(interval):
    with pytest.raises(ConfigurationError, match=r"^health_check_interval=.* > 0 and finite$"):
        CircuitBreakerConfig(health_check=ping, health_check_interval=interval)


def test_an_interval_may_be_a_timedelta():
    config = CircuitBreakerConfig(health_check=ping, health_check_interval=timedelta(minutes=1))
    assert config.health_check_interval == config.limits.check_interval == 60.0


def test_by_default_it_is_asked_each_second():
    assert CircuitBreakerConfig(health_check=ping).limits.check_interval == 1.0
    assert CircuitBreakerConfig().limits.check_interval is None


def test_an_interval_alone_is_refused():
    with pytest.raises(ConfigurationError) as caught:
        CircuitBreakerConfig(health_check_interval=5)
    assert str(caught.value) == (
        "health_check_interval=5.0 and health_check=None disagree: there is nothing to ask"
    )


def test_who_takes_the_check_away_takes_its_interval_away():
    config = CircuitBreakerConfig(health_check=ping, health_check_interval=5)
    assert config.replace(health_check=None) == CircuitBreakerConfig()
    assert config.replace(timeout_duration=5).health_check_interval == 5.0
    with pytest.raises(ConfigurationError, match="disagree"):
        config.replace(health_check=None, health_check_interval=5)


# -- Nothing runs --------------------------------------------------------------------------------------------


def test_nothing_starts_at_construction_or_while_closed(monkeypatch):
    monkeypatch.setattr(threading.Thread, "start", lambda thread: pytest.fail("a thread"))
    breaker = CircuitBreaker("netflix", failure_threshold=2, health_check=ping)
    for _ in range(3):
        breaker.acquire().failure()
        breaker.acquire().success()
    assert not breaker.is_checking


def test_a_circuit_without_one_never_checks():
    breaker = CircuitBreaker("netflix", failure_threshold=1)
    breaker.acquire().failure()
    assert not breaker.is_checking
    assert breaker._run is None


def test_as_pure_rules_only_a_check_is_given_a_probe(clock):
    breaker = CircuitBreaker(
        "netflix", failure_threshold=1, timeout_duration=10.0, health_check=ping, clock=clock
    )
    limits, closed = breaker.limits, breaker._circuit
    assert probe(closed, limits, 1000.0)[1].state == "closed"
    assert retry_after(closed, limits, 1000.0) == 0.0
    assert admit(closed, limits, 1000.0)[1] is closed.evidence
    opened = closed._replace(judged=breaker.state.OPEN, evidence=None, deadline=1010.0)
    assert admit(opened, limits, 1009.0) == (opened, ("open", 1.0, None))
    assert admit(opened, limits, 1010.0) == (opened, ("open", 1.0, None))
    probing, given = probe(opened, limits, 1010.0)
    assert (probing.judged, given.number) == ("half_open", 0)
    assert admit(probing, limits, 1010.0) == (probing, ("half_open", 1.0, None))
    assert retry_after(opened, limits._replace(check_interval=None), 1010.0) == 0.0


# -- Families ------------------------------------------------------------------------------------------------


class Platforms:
    """Asked for each key, in a thread; one is well if it is in `well`."""

    def __init__(self):
        self.asked = []
        self.well = set()

    def check(self, key):
        self.asked.append(key)
        return key in self.well


@pytest.fixture
def platforms():
    return Platforms()


@pytest.fixture
def family(platforms, clock):
    family = registry.get_or_create_family(
        "platform",
        failure_threshold=1,
        success_threshold=1,
        timeout_duration=10.0,
        health_check=platforms.check,
        health_check_interval=0.002,
        max_keys=2,
        clock=clock,
    )
    yield family
    family.reset_all()
    for breaker in family:
        until(lambda breaker=breaker: not breaker.is_checking)


def fail(breaker):
    breaker.acquire().failure(OSError("down"))


def test_each_member_is_asked_for_by_its_key(family, platforms, clock):
    for key in ("netflix", 7):
        fail(family[key])
    platforms.well = {7}
    clock.advance(10)
    until(lambda: family[7].state == "closed" and family["netflix"].metrics().opened == 2)
    assert set(platforms.asked) == {"netflix", 7}
    assert family["netflix"].state == "open"


def test_the_circuit_of_surplus_keys_is_probed_by_users_calls(family, platforms, clock):
    """There is no key to ask for: it stands for many."""
    for key in ("netflix", "hulu", "disney"):
        fail(family[key])
    shared = family["disney"]
    assert shared.name == "platform[*]"
    clock.advance(10)
    shared.acquire().success()
    assert shared.state == "closed"
    assert shared.config.health_check is None
    assert not shared.is_checking
    assert "disney" not in platforms.asked


def test_a_change_reaches_each_member_with_its_key(family, platforms, clock):
    other = Platforms()
    other.well = {"netflix", "hulu"}
    for key in ("netflix", "hulu", "disney"):
        fail(family[key])
    shared = family["disney"]
    registry.reconfigure("platform", health_check=other.check)
    clock.advance(10)
    until(lambda: {family["netflix"].state, family["hulu"].state} == {"closed"})
    assert set(other.asked) == {"netflix", "hulu"}
    assert (shared.name, shared.config.health_check) == ("platform[*]", None)
    registry.reconfigure("platform", health_check=None)
    assert {breaker.config.health_check for breaker in family} == {None}
    assert family.config.health_check_interval == 1.0


@pytest.mark.parametrize("keys", [[], ["netflix"]], ids=["without members", "with one"])
def test_a_change_that_cant_be_asked_changes_nothing(family, platforms, keys):
    for key in keys:
        fail(family[key])
    with pytest.raises(ConfigurationError, match="a function of the key"):
        registry.reconfigure("platform", health_check=ping)
    assert family.config.health_check == platforms.check
    registry.reconfigure("platform", failure_threshold=4)
    assert family["netflix"].config.failure_threshold == 4


def test_a_members_own_check_is_given_nothing(family):
    member = family["netflix"]
    with pytest.raises(ConfigurationError, match="a function without arguments"):
        member.reconfigure(health_check=ping_key)
    member.reconfigure(health_check=ping)
    assert member.config.health_check is ping


def test_a_change_of_a_single_circuit_is_checked_too():
    breaker = registry.get_or_create("netflix", failure_threshold=1)
    with pytest.raises(ConfigurationError, match="a function without arguments"):
        registry.reconfigure("netflix", health_check=ping_key)
    assert breaker.config.health_check is None
    registry.reconfigure("netflix", health_check=ping)
    assert breaker.config.health_check is ping


def test_a_decorated_family_is_asked_by_its_keys(platforms, clock):
    @circuit(
        key=lambda platform: platform,
        failure_threshold=1,
        success_threshold=1,
        timeout_duration=10.0,
        health_check=platforms.check,
        health_check_interval=0.002,
        clock=clock,
    )
    def search(platform):
        raise OSError("down")

    with pytest.raises(OSError):
        search("hulu")
    clock.advance(10)
    platforms.well.add("hulu")
    with pytest.raises(CircuitOpenError):
        search("hulu")
    family = circuit_of(search, CircuitFamily)
    until(lambda: family["hulu"].state == "closed")


# -- Operators -----------------------------------------------------------------------------------------------


def test_operators_say_how_often(tmp_path, monkeypatch):
    path = tmp_path / "circuits.toml"
    path.write_text("[circuits.netflix]\nhealth_check_interval = 5\n")
    ours = CircuitRegistry()
    breaker = ours.get_or_create("netflix", health_check=ping)
    ours.load(path)
    assert breaker.config.health_check_interval == breaker.limits.check_interval == 5.0
    monkeypatch.setenv("CIRCUITRY_NETFLIX__HEALTH_CHECK_INTERVAL", "0.5")
    ours.load(path)
    assert breaker.limits.check_interval == 0.5


def test_where_the_code_has_no_check_their_interval_is_of_no_use_and_no_harm(tmp_path):
    path = tmp_path / "circuits.toml"
    path.write_text("[circuits.netflix]\nhealth_check_interval = 5\n")
    ours = CircuitRegistry()
    ours.load(path)
    breaker = ours.get_or_create("netflix")
    assert breaker.limits.check_interval is None
    ours.reconfigure("netflix", health_check=ping)
    assert breaker.limits.check_interval == 5.0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("health_check_interval = 0", "health_check_interval=0 is not allowed"),
        ('health_check = "ping"', "unknown setting 'health_check'"),
    ],
)
def test_what_they_cant_say_is_refused(tmp_path, line, said):
    path = tmp_path / "circuits.toml"
    path.write_text(f"[circuits.netflix]\n{line}\n")
    with pytest.raises(ConfigurationError, match=said):
        CircuitRegistry().load(path)
