"""Where features meet: what one of them does in the midst of another."""

from __future__ import annotations

import threading
import time

import pytest

from circuitry import CircuitBreaker, CircuitBreakerConfig, CircuitOpenError, ConfigurationError, circuit
from circuitry.policies import Adaptive
from circuitry.testing import ManualClock, forced

pytestmark = [pytest.mark.core, pytest.mark.usefixtures("fresh")]

NUMBERS = {"failure_threshold": 1, "success_threshold": 1, "timeout_duration": 10.0}


def eventually(is_so):
    deadline = time.monotonic() + 15
    while not is_so():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.001)


def fail(*breakers):
    for breaker in breakers:
        breaker.acquire().failure(OSError("down"))


def goes_out(breaker):
    """Whether a call does."""
    try:
        breaker.acquire().release()
    except CircuitOpenError:
        return False
    return True


@pytest.fixture
def family(fresh, clock):
    """Makes a family of a and b that panics when both aren't closed."""

    def make(**given):
        settings = {**NUMBERS, "clock": clock, "max_open_fraction": 0.5, **given}
        family = fresh.get_or_create_family("shard", **settings)
        assert family["a"] is not family["b"]
        return family

    return make


@pytest.fixture
def load(fresh, tmp_path):
    """Loads operators' settings."""

    def load(text):
        path = tmp_path / "circuits.toml"
        path.write_text(text)
        fresh.load(path)

    return load


# -- A panic and a health check ------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["open", "half_open"])
def test_in_a_panic_a_check_that_is_not_at_work_begins_with_the_next_call(family, clock, state):
    """Else nobody would ever ask: users' calls go out and aren't judged, and so the panic would last."""
    shards, may_answer = family(), threading.Event()
    fail(*shards)
    clock.advance(10)
    if state == "half_open":
        held = [shard.acquire() for shard in shards]
        assert held
        assert {shard.state for shard in shards} == {"half_open"}
    for shard in shards:
        shard.reconfigure(health_check=lambda: may_answer.wait(20), health_check_interval=0.002)
    assert all(goes_out(shard) for shard in shards)
    assert [shard.metrics().panic_admitted for shard in shards] == [1, 1]
    may_answer.set()
    eventually(lambda: {shard.state for shard in shards} == {"closed"})
    assert not shards.is_panicking


# -- Operators' settings, and what the code says -------------------------------------------------------------


def test_what_operators_say_of_opening_is_of_no_use_and_no_harm_to_a_circuit_that_never_opens(fresh, load):
    load("[circuits.feed]\nramp_up = 30\nquorum = 2\nlatency = true\n")
    feed = fresh.get_or_create("feed", trip=Adaptive())
    assert feed.config == CircuitBreakerConfig(trip=Adaptive(), latency=True)
    load("[circuits.feed]\nramp_up = 45\n")
    assert feed.config == CircuitBreakerConfig(trip=Adaptive())
    fresh.reconfigure("feed", trip=None)
    assert feed.limits.ramp_up == 45.0
    fresh.reconfigure("feed", trip=Adaptive())
    assert feed.limits.ramp_up == 0.0


def test_of_a_circuit_that_opens_by_their_word_they_may_say_how_it_comes_back(fresh, load):
    load("[circuits.feed]\nfailure_rate_threshold = 0.5\nramp_up = 30\n")
    assert fresh.get_or_create("feed", trip=Adaptive()).limits.ramp_up == 30.0


def test_nor_does_it_stand_in_the_way_of_code_that_lets_a_circuit_shed_from_now_on(fresh, load):
    load("[circuits.feed]\nramp_up = 30\nlatency = true\n")
    feed = fresh.get_or_create("feed", success_threshold=1)
    feed.reconfigure(trip=Adaptive())
    assert feed.config == CircuitBreakerConfig(trip=Adaptive(), success_threshold=1, latency=True)
    with pytest.raises(ConfigurationError, match=r"ramp_up=5\.0 disagree"):
        feed.reconfigure(ramp_up=5)


def test_a_member_that_is_new_is_served_whatever_operators_say_of_it(fresh, load, caplog, monkeypatch):
    @circuit("shard", key=lambda shard: shard, failure_threshold=7)
    def ask(shard):
        return shard

    load('[circuits.shard]\ntimeout_duration = 5\n[circuits."shard[eu]"]\nminimum_calls = 3\n')
    monkeypatch.setenv("CIRCUITRY_SHARD_US__FAILURE_THRESHOLD", "0")
    assert [ask(shard) for shard in ("eu", "us", "asia")] == ["eu", "us", "asia"]
    for shard in ("eu", "us", "asia"):
        config = fresh[f"shard[{shard}]"].config
        assert (config.failure_threshold, config.timeout_duration) == (7, 5.0)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "shard[eu]" in said[0]
    assert "minimum_calls=3" in said[0]
    assert "CIRCUITRY_SHARD_US__FAILURE_THRESHOLD" in said[1]


# -- What contradicts `Adaptive` -----------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "value"), [("health_check", lambda: True), ("quorum", 2)])
def test_a_circuit_that_never_opens_has_nothing_to_check_or_to_agree_upon(name, value):
    with pytest.raises(ConfigurationError, match=rf"trip=Adaptive\(.* and {name}=.* disagree"):
        CircuitBreakerConfig(trip=Adaptive(), **{name: value})


def test_a_family_whose_circuits_never_open_never_panics(fresh):
    said = r"max_open_fraction=0.5 and trip=Adaptive\(.*\) disagree: it never opens"
    with pytest.raises(ConfigurationError, match=said):
        fresh.get_or_create_family("shard", trip=Adaptive(), max_open_fraction=0.5)
    with pytest.raises(ConfigurationError, match=said):
        circuit("shard", key=str, trip=Adaptive(), max_open_fraction=0.5)(lambda shard: shard)
    assert fresh.family("shard") is None


# -- A ramp, and a change at run time ------------------------------------------------------------------------


def test_a_ramp_that_is_taken_away_while_a_probe_reports_its_success_does_not_begin():
    class Clock(ManualClock):
        def __call__(self):
            self.when_read()
            return super().__call__()

    clock = Clock()
    clock.when_read = lambda: None
    breaker = CircuitBreaker("netflix", clock=clock, ramp_up=30, **NUMBERS)
    fail(breaker)
    clock.advance(10)
    probe = breaker.acquire()

    def change():  # as another thread would
        clock.when_read = lambda: None
        breaker.reconfigure(ramp_up=None)

    clock.when_read = change
    probe.success()
    assert breaker.state == "closed"
    assert breaker.metrics().shed_share == 0.0
    assert breaker.evidence is not None


# -- `testing.forced` ----------------------------------------------------------------------------------------


def test_what_is_reconfigured_in_a_forced_state_holds_after_it(clock):
    breaker = CircuitBreaker("netflix", clock=clock, failure_threshold=5)
    fail(breaker)
    with forced(breaker, "disabled"):
        breaker.reconfigure(failure_threshold=2)
    assert breaker.failure_count == 1
    fail(breaker)
    assert breaker.state == "open"


def test_a_ramp_that_is_taken_away_in_a_forced_state_is_over_after_it(clock):
    breaker = CircuitBreaker("netflix", clock=clock, ramp_up=30, **NUMBERS)
    fail(breaker)
    clock.advance(10)
    breaker.acquire().success()
    assert breaker.metrics().shed_share == 0.9
    with forced(breaker, "disabled"):
        breaker.reconfigure(ramp_up=None)
    assert breaker.metrics().shed_share == 0.0
    assert goes_out(breaker)


def test_what_becomes_of_members_in_a_forced_state_is_forgotten_by_their_family_too(family):
    shards = family()
    with forced(shards["a"], "closed"), forced(shards["b"], "closed"):
        fail(*shards)
        assert shards.is_panicking
    assert not shards.is_panicking


def test_a_panic_goes_on_after_members_were_closed_in_a_forced_state(family, clock):
    shards, told = family(), []
    shards.on_panic(lambda event: told.append(event.panicking))
    fail(*shards)
    with forced(shards["a"], "half_open"), forced(shards["b"], "half_open"):
        for shard in shards:
            shard.acquire().success()
        assert not shards.is_panicking
    assert shards.is_panicking
    assert told == [True, False, True]


# -- A panic, and what the garbage collector brings ----------------------------------------------------------


def test_a_stream_that_fails_in_the_midst_of_a_familys_step_takes_none(family):
    """Another thread may hold the circuit's lock, and wait for the family's."""
    shards = family()

    def stream():
        try:
            yield 1
        finally:
            raise OSError("the clean-up has failed")

    left = shards["a"].call(stream)
    next(left)
    with shards._panic._lock:  # as if the garbage collector ran in it
        with pytest.raises(OSError, match="clean-up"):
            left.close()
        assert shards["a"]._circuit.state == "closed"
    assert shards["a"].state == "open"
    assert shards["a"].metrics().failures == 1
