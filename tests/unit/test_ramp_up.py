"""Coming back slowly: `ramp_up=` admits a growing share of calls once the circuit has recovered."""

from __future__ import annotations

import gc
import random

import anyio
import pytest

from circuitry import (
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitOpenError,
    ConfigurationError,
    circuit,
    circuit_of,
    machine,
)
from circuitry.gate import LocalGate
from circuitry.policies import Adaptive, ConsecutiveFailures, FailureRate, SlowCallRate, last
from circuitry.states import CircuitState, FleetVerdict, Limits, Reason
from circuitry.testing import forced

pytestmark = pytest.mark.core

CLOSED, OPEN = CircuitState.CLOSED, CircuitState.OPEN


@pytest.fixture
def make(clock, draws):
    """Makes a breaker on the manual clock that ramps up in 10 s."""
    return lambda **settings: CircuitBreaker(
        "netflix",
        clock=clock,
        **{"failure_threshold": 1, "success_threshold": 1, "timeout_duration": 5, "ramp_up": 10, **settings},
    )


@pytest.fixture
def recovered(make, clock):
    """Makes one that has just closed."""

    def made(**settings):
        breaker = make(**settings)
        recover(breaker, clock)
        return breaker

    return made


def recover(breaker, clock, by=lambda breaker: breaker.acquire().success()):
    while breaker._circuit.judged is CLOSED:
        breaker.acquire().failure(OSError("down"))
    clock.advance(5)
    by(breaker)
    assert breaker._circuit.judged is CLOSED


def is_shed(breaker):
    try:
        breaker.acquire().release()
    except CircuitOpenError as error:
        return (error.state, error.retry_after, error.last_failure) == ("closed", 0.0, None)
    return False


def share_of(breaker):
    return breaker.metrics().shed_share


# -- The ramp ------------------------------------------------------------------------------------------


def test_it_goes_from_a_tenth_to_all_in_a_line(recovered, clock, draws):
    breaker = recovered()
    shares = []
    for _ in range(5):
        shares.append(round(share_of(breaker), 9))
        clock.advance(2.5)
    assert shares == [0.9, 0.675, 0.45, 0.225, 0.0]


def test_the_draw_decides_and_below_the_share_is_shed(recovered, clock, draws):
    breaker = recovered()
    clock.advance(5)
    for draws.next, shed in ((0.0, True), (0.4499, True), (0.4501, False), (0.9999, False)):
        assert is_shed(breaker) is shed


def test_a_lot_at_the_share_is_admitted():
    circuit = machine.new(LIMITS)._replace(full_at=130.0)
    assert machine.shed_share(circuit, LIMITS, 120.0) == 0.9
    assert machine.admit(circuit, LIMITS, 120.0, 0.9) == (circuit, circuit.evidence)
    assert machine.admit(circuit, LIMITS, 120.0, 0.8999) == (circuit, machine.refuse(circuit, 0.0))
    assert machine.admit(circuit, LIMITS, 130.0, 0.0) == (circuit, circuit.evidence)


def test_when_it_is_over_calls_are_admitted_as_ever(recovered, clock, draws):
    breaker = recovered()
    generation = breaker._circuit.generation
    clock.advance(9.999)
    assert is_shed(breaker)
    assert breaker.evidence is None
    clock.advance(0.001)
    assert not is_shed(breaker)
    assert breaker.evidence is breaker._circuit.evidence is not None
    assert breaker._circuit.generation == generation
    asked = draws.asked
    assert not is_shed(breaker)
    assert draws.asked == asked


def test_before_it_has_opened_there_is_none(make, draws):
    breaker = make()
    assert breaker.evidence is not None
    assert not is_shed(breaker)
    assert (share_of(breaker), draws.asked) == (0.0, 0)


def test_without_the_setting_there_is_none(recovered, draws):
    breaker = recovered(ramp_up=None)
    assert breaker.evidence is not None
    assert not is_shed(breaker)
    assert draws.asked == 0


def test_with_a_seed_it_sheds_the_same_calls_again(clock):
    def run():
        random.seed(4)
        breaker = CircuitBreaker("netflix", failure_threshold=1, success_threshold=1, ramp_up=10, clock=clock)
        breaker.acquire().failure()
        clock.advance(30)
        breaker.acquire().success()
        clock.advance(5)
        return [is_shed(breaker) for _ in range(50)]

    first = run()
    assert first == run()
    assert set(first) == {True, False}


@pytest.mark.parametrize("order", ["reset", "disable", "shadow"])
def test_after_an_operators_word_all_calls_are_admitted(recovered, order):
    breaker = recovered()
    getattr(breaker, order)()
    assert share_of(breaker) == 0.0
    assert breaker.evidence is not None
    breaker.reset()
    assert not is_shed(breaker)


def test_a_failure_in_the_ramp_opens_by_the_circuits_own_rule_and_the_next_begins_anew(
    recovered, clock, draws
):
    breaker = recovered(failure_threshold=2)
    clock.advance(9)
    draws.next = 0.9999
    breaker.acquire().failure()
    assert breaker.state == "closed"
    breaker.acquire().failure()
    assert breaker.state == "open"
    assert share_of(breaker) == 0.0
    clock.advance(5)
    breaker.acquire().success()
    assert share_of(breaker) == 0.9


def test_by_a_rate_too(recovered, clock, draws):
    breaker = recovered(failure_threshold=1, failure_rate_threshold=0.5, window=4, minimum_calls=4)
    draws.next = 0.9999
    breaker.acquire().failure()
    assert breaker.state == "open"


def test_calls_that_hang_open_it_in_the_ramp_when_the_next_is_admitted(clock, draws):
    rule = SlowCallRate(1.0, 2.0, last(2), 2) | ConsecutiveFailures(1)
    breaker = CircuitBreaker(
        "netflix", trip=rule, success_threshold=1, timeout_duration=5, ramp_up=10, clock=clock
    )
    recover(breaker, clock)
    draws.next = 0.9999
    waiting = [breaker.acquire() for _ in range(2)]
    clock.advance(2.5)
    draws.next = 0.0
    assert is_shed(breaker)
    assert breaker.state == "closed"
    draws.next = 0.9999
    with pytest.raises(CircuitOpenError) as caught:
        breaker.acquire()
    assert caught.value.state == "open"
    for permit in waiting:
        permit.release()


def test_after_the_ramp_the_time_of_calls_is_taken_as_ever(clock, draws):
    breaker = CircuitBreaker(
        "netflix", trip=SlowCallRate(1.0, 2.0, last(2)), success_threshold=1, ramp_up=10, clock=clock
    )
    waiting = breaker.acquire()
    clock.advance(2.5)
    waiting.success()
    clock.advance(30)
    breaker.acquire().success()
    assert breaker.enter is None
    clock.advance(10)
    breaker.acquire().success()
    assert breaker.enter is not None


# -- A call that is shed -------------------------------------------------------------------------------


def test_it_is_told_so(recovered):
    breaker, heard = recovered(), []
    breaker.on_rejection(heard.append)
    with pytest.raises(CircuitOpenError, match=r"is closed and sheds a share of its calls: this was one$"):
        breaker.acquire()
    assert [(event.state, event.retry_after) for event in heard] == [("closed", 0.0)]
    metrics = breaker.metrics()
    assert (metrics.rejected, metrics.state, metrics.retry_after) == (1, "closed", 0.0)
    assert metrics.failure_count == 0


def test_in_every_colour(recovered, colour, draws):
    breaker = recovered()
    fetch = breaker(colour.function(lambda: "disney"))
    letters = breaker(colour.stream(lambda: iter("ab")))
    for shed in (
        lambda: colour.run(fetch),
        lambda: colour.collect(letters),
        lambda: colour.block(breaker),
        lambda: colour.acquire(breaker),
    ):
        with pytest.raises(CircuitOpenError):
            shed()
    assert breaker.metrics().rejected == 4
    draws.next = 0.9999
    before = breaker.metrics().successes
    assert colour.run(fetch) == "disney"
    assert colour.collect(letters) == ["a", "b"]
    colour.block(breaker)
    colour.acquire(breaker).success()
    assert breaker.metrics().successes == before + 4


def test_a_fallback_serves_it(clock, draws, fresh):
    down = True

    @circuit(
        "feed", failure_threshold=1, success_threshold=1, ramp_up=10, clock=clock, fallback=lambda: "old"
    )
    def fetch():
        if down:
            raise OSError("down")
        return "new"

    with pytest.raises(OSError, match="down"):
        fetch()
    down = False
    clock.advance(30)
    assert fetch() == "new"
    assert fetch() == "old"
    draws.next = 0.9999
    assert fetch() == "new"
    assert circuit_of(fetch).metrics().fallbacks == 1


def test_with_a_deadline_for_the_call_it_ramps_too(recovered, clock, draws):
    breaker = recovered(call_timeout=60)

    @breaker
    async def fetch():
        return "new"

    with pytest.raises(CircuitOpenError):
        anyio.run(fetch)
    draws.next = 0.9999
    assert anyio.run(fetch) == "new"
    clock.advance(10)
    draws.next = 0.0
    assert anyio.run(fetch) == "new"
    assert breaker.enter is not None


def test_a_stream_left_by_its_consumer_may_be_what_closes_it(make, clock):
    breaker = make()

    @breaker
    def numbers():
        yield 1
        yield 2

    breaker.acquire().failure()
    clock.advance(5)
    next(numbers())
    gc.collect()
    assert is_shed(breaker)
    assert breaker.state == "closed"


# -- Others --------------------------------------------------------------------------------------------


def test_in_shadow_it_sheds_nothing_and_shows_what_it_would(make, clock):
    breaker = make(initial_state="shadow")
    recover(breaker, clock)
    assert share_of(breaker) == 0.9
    assert not is_shed(breaker)
    assert breaker.metrics().shadow_rejected == 1
    clock.advance(10)
    assert not is_shed(breaker)
    assert breaker.metrics().shadow_rejected == 1


def test_a_member_of_a_family_isnt_forgotten_while_it_ramps(clock, draws, fresh):
    down = {"hulu"}

    @circuit("platform", key=lambda platform: platform, max_keys=1, failure_threshold=1, success_threshold=1,
             ramp_up=10, clock=clock)  # fmt: skip
    def fetch(platform):
        if platform in down:
            raise OSError("down")
        return platform

    with pytest.raises(OSError, match="down"):
        fetch("hulu")
    down.clear()
    clock.advance(30)
    fetch("hulu")
    fetch("netflix")
    assert [breaker.name for breaker in circuit_of(fetch)] == ["platform[hulu]", "platform[*]"]
    clock.advance(10)
    fetch("disney")
    assert [breaker.name for breaker in circuit_of(fetch)] == ["platform[disney]", "platform[*]"]


def test_one_that_sheds_isnt_forgotten_either(clock, draws, fresh):
    @circuit("platform", key=lambda platform: platform, max_keys=1, trip=Adaptive(), clock=clock)
    def fetch(platform):
        return platform

    fetch("hulu")
    for _ in range(3):
        circuit_of(fetch).get("hulu").acquire().failure() if not is_shed(circuit_of(fetch).get("hulu")) else 0
    fetch("netflix")
    assert "netflix" not in circuit_of(fetch)
    clock.advance(30)
    fetch("netflix")
    assert "netflix" in circuit_of(fetch)


def test_for_tests_closed_is_as_new_and_afterwards_the_ramp_goes_on(recovered):
    breaker = recovered()
    with forced(breaker, "closed"):
        assert not is_shed(breaker)
    assert is_shed(breaker)


# -- Settings ------------------------------------------------------------------------------------------


def test_a_circuit_that_never_opens_has_nothing_to_come_back_from():
    with pytest.raises(ConfigurationError, match=r"trip=Adaptive\(.*\) and ramp_up=30.0 disagree"):
        CircuitBreakerConfig(trip=Adaptive(), ramp_up=30)


def test_other_rules_may_stand_beside_it():
    assert CircuitBreakerConfig(trip=FailureRate(0.5, last(10)), ramp_up=30).limits.ramp_up == 30.0


def test_operators_may_set_it(clock, tmp_path, fresh, monkeypatch):
    path = tmp_path / "circuits.toml"
    path.write_text("[circuits.feed]\nramp_up = 45\n")
    fresh.load(path)
    assert fresh.get_or_create("feed").config.ramp_up == 45.0
    monkeypatch.setenv("CIRCUITRY_SEARCH__RAMP_UP", "7.5")
    assert fresh.get_or_create("search").limits.ramp_up == 7.5


def test_reconfigured_in_the_ramp_it_ends_when_it_would_have(recovered, clock):
    breaker = recovered()
    clock.advance(5)
    assert share_of(breaker) == 0.45
    breaker.reconfigure(ramp_up=50)
    assert round(share_of(breaker), 9) == 0.09
    breaker.reconfigure(ramp_up=2)
    assert share_of(breaker) == 0.9  # never less than a tenth
    clock.advance(5)
    assert not is_shed(breaker)
    assert breaker.evidence is not None


def test_reconfigured_to_have_none_it_is_over_at_once(recovered):
    breaker = recovered()
    breaker.reconfigure(ramp_up=None)
    assert breaker.evidence is not None
    assert share_of(breaker) == 0.0


def test_reconfigured_to_have_one_it_begins_at_the_next_recovery(recovered, clock):
    breaker = recovered(ramp_up=None)
    breaker.reconfigure(ramp_up=10)
    assert not is_shed(breaker)
    recover(breaker, clock)
    assert is_shed(breaker)


def test_other_settings_change_nothing_of_the_ramp(recovered):
    breaker = recovered()
    breaker.reconfigure(trip=FailureRate(0.5, last(10)))
    assert share_of(breaker) == 0.9
    assert breaker.evidence is None


# -- A fleet -------------------------------------------------------------------------------------------

LIMITS = Limits(ramp_up=10.0)
THEIRS = FleetVerdict(OPEN, None, "tripped", 105.0, "theirs")
RECOVERED = FleetVerdict(CLOSED, None, "recovered", 120.0, None)


def follow(*verdicts, circuit=None):
    circuit = circuit or machine.new(LIMITS)
    for verdict in verdicts:
        circuit = machine.follow(circuit, LIMITS, verdict)
    return circuit


def test_a_fleet_that_has_recovered_ramps_from_when_that_came():
    assert follow(THEIRS, RECOVERED).full_at == 130.0
    assert machine.follow(follow(THEIRS), Limits(), RECOVERED).full_at == 0.0


@pytest.mark.parametrize("reason", ["reset", "healed", "expired", "shadowed"])
def test_one_that_is_closed_for_another_reason_doesnt(reason):
    assert follow(THEIRS, RECOVERED._replace(reason=reason)).full_at == 0.0


@pytest.mark.parametrize("mode", [CircuitState.FORCED_OPEN, CircuitState.DISABLED])
def test_nor_one_that_an_operator_holds(mode):
    assert follow(THEIRS, RECOVERED._replace(mode=mode)).full_at == 0.0


def test_in_shadow_here_it_ramps_in_shadow():
    shadow = machine.administer(machine.new(LIMITS), LIMITS, Reason.SHADOWED)
    circuit = follow(THEIRS, RECOVERED, circuit=shadow)
    assert machine.admit(circuit, LIMITS, 120.0, 0.0) == (circuit, machine.WAIVED)
    assert machine.shed_share(circuit, LIMITS, 125.0) == 0.45


def test_heard_again_it_doesnt_begin_again():
    circuit = follow(THEIRS, RECOVERED)
    assert follow(RECOVERED._replace(deadline=125.0), circuit=circuit) is circuit


def test_a_fleet_that_governs_isnt_asked_in_a_ramp_or_at_its_end(clock, draws):
    class Fleet(LocalGate):
        governs = True

        def gate(self, breaker):
            return self

    breaker = CircuitBreaker("netflix", ramp_up=10, clock=clock, store=Fleet())
    for verdict in (THEIRS, RECOVERED._replace(deadline=clock())):
        breaker._follow(verdict)
    assert is_shed(breaker)
    draws.next = 0.9999
    assert not is_shed(breaker)
    clock.advance(10)
    assert not is_shed(breaker)
    assert breaker.evidence is not None
