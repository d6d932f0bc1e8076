"""Rates in a fleet: judged on what all processes have counted, and for nothing while all is well."""

from __future__ import annotations

import contextlib
import time

import pytest

from circuitry import CircuitOpenError
from circuitry.policies import ConsecutiveFailures, Exponential, FailureRate, SlowCallRate, last, within
from circuitry.redis import pooling
from circuitry.testing import ManualClock

from .fleet_scenes import Join
from .servers import on_one_server
from .store_tools import eventually

pytestmark = on_one_server

#: Half of the calls, once there are 12 of them: of one process alone, or of all together.
HALF = FailureRate(0.5, window=last(100), minimum_calls=12)


@pytest.fixture
def join(server):
    joining = Join(server.url())
    yield joining
    joining.close()


def members(join, number, **settings):
    numbers = {"trip": HALF, "failure_threshold": None, "timeout_duration": 30.0, **settings}
    given = {name: value for name, value in numbers.items() if value is not None}
    return [member(join, given) for _ in range(number)]


def member(join, settings):
    from circuitry import CircuitBreaker

    ours = {name: settings[name] for name in ("quorum",) if name in settings}
    store = join.store(**ours)
    breaker = CircuitBreaker("netflix", store=store, **settings)
    assert store.wait_ready(5)
    return breaker


def fail(breaker, times, error="down"):
    for _ in range(times):
        with contextlib.suppress(CircuitOpenError):
            breaker.acquire().failure(OSError(error))


def succeed(breaker, times):
    for _ in range(times):
        breaker.acquire().success()


def told(breaker):
    """How often this member has told of its windows, and been answered, in a row."""
    return breaker._gate.pooling._beats


def has_told_all(breaker):
    """Until it has told what its windows hold now, and had time to judge by it."""
    eventually(lambda: told(breaker) >= pooling.BEATS)


def states(breakers):
    return [breaker.state.value for breaker in breakers]


def verdicts(breakers):
    return [breaker.metrics().verdict for breaker in breakers]


def test_what_no_process_would_trip_for_alone_opens_it_for_all(join):
    breakers = members(join, 3)
    for breaker in breakers:
        fail(breaker, 5)
    eventually(lambda: verdicts(breakers) == ["fleet"] * 3)
    assert breakers[0].metrics().retry_after == pytest.approx(30, abs=2)


def test_a_process_alone_in_its_trouble_opens_alone(join):
    sick, *healthy = breakers = members(join, 3)
    for breaker in healthy:
        succeed(breaker, 40)
    fail(sick, 12)
    assert sick.state == "open"
    has_told_all(sick)
    for breaker in healthy:
        has_told_all(breaker)
    assert states(breakers) == ["open", "closed", "closed"]
    assert sick.metrics().verdict == "local"


def test_what_a_process_opened_by_alone_goes_on_to_count_for_all(join):
    sick, other = members(join, 2)
    succeed(other, 4)
    fail(sick, 12)
    eventually(lambda: other.state == "open")
    eventually(lambda: verdicts([sick, other]) == ["fleet", "fleet"])


def test_while_all_is_well_nothing_is_sent(join):
    breakers = members(join, 2)
    before = join.commands()
    for breaker in breakers:
        succeed(breaker, 1000)
    assert join.commands() == before
    assert all(breaker._gate.pooling.look_at == pooling.NEVER for breaker in breakers)


def test_once_the_windows_are_clean_again_nothing_more_is_sent(join):
    breakers = members(join, 2, trip=FailureRate(0.5, window=last(5), minimum_calls=5))
    fail(breakers[0], 1)
    has_told_all(breakers[1])
    succeed(breakers[0], 5)
    eventually(lambda: all(breaker._gate.pooling.look_at == pooling.NEVER for breaker in breakers))
    before = join.commands()
    for breaker in breakers:
        succeed(breaker, 100)
    assert join.commands() == before
    assert join.get("failures") is None


def test_however_many_calls_there_are_it_is_told_every_50_ms(join):
    (breaker,) = members(join, 1, trip=FailureRate(0.5, window=within(1000.0), minimum_calls=12))
    before, begun = join.commands(), time.monotonic()
    fail(breaker, 1)
    while time.monotonic() - begun < 0.5:
        succeed(breaker, 10)
    assert 3 <= join.commands() - before <= 12


def test_with_a_quorum_one_process_does_not_open_it_for_all(join):
    sick, other = breakers = members(join, 2, quorum=2)
    fail(sick, 12)
    has_told_all(sick)
    assert states(breakers) == ["open", "closed"]
    fail(other, 1)
    eventually(lambda: verdicts(breakers) == ["fleet", "fleet"])


def test_slow_calls_of_all_are_pooled(join):
    clocks = [ManualClock(), ManualClock()]
    rule = SlowCallRate(0.5, slower_than=1.0, window=within(1000.0), minimum_calls=6)
    breakers = [member(join, {"trip": rule, "clock": clock}) for clock in clocks]
    for breaker, clock in zip(breakers, clocks, strict=True):
        for _ in range(4):
            permit = breaker.acquire()
            clock.advance(2)
            permit.success()
    eventually(lambda: verdicts(breakers) == ["fleet", "fleet"])


def test_a_streak_beside_a_rate_is_each_process_s_own(join):
    breakers = members(join, 2, trip=ConsecutiveFailures(3) | HALF)
    succeed(breakers[1], 30)
    fail(breakers[0], 3)
    for breaker in breakers:
        has_told_all(breaker)
    assert states(breakers) == ["open", "closed"]


def test_windows_of_other_rules_are_not_added_up(join):
    breakers = [
        *members(join, 1),
        *members(join, 1, trip=FailureRate(0.5, window=last(50), minimum_calls=12)),
    ]
    for breaker in breakers:
        fail(breaker, 11)
        has_told_all(breaker)
    assert states(breakers) == ["closed", "closed"]


def test_after_a_reset_nothing_of_before_counts(join):
    breakers = members(join, 2)
    fail(breakers[0], 11)
    has_told_all(breakers[1])
    breakers[0].reset()
    assert join.stores[0].flush(5)
    fail(breakers[1], 5)
    has_told_all(breakers[1])
    assert states(breakers) == ["closed", "closed"]


def test_what_the_failure_said_is_what_the_others_are_told(join):
    breakers = members(join, 2)
    for breaker in breakers:
        fail(breaker, 6, "no route")
    eventually(lambda: states(breakers) == ["open", "open"])
    with pytest.raises(CircuitOpenError, match="OSError: no route"):
        breakers[1].acquire()


# -- Backoff and hints ------------------------------------------------------------------------------------


def deadlines(breakers):
    return [breaker._circuit.deadline - breaker._clock() for breaker in breakers]


def test_a_fleet_draws_its_jitter_once(join):
    spread = Exponential(factor=2, maximum=10_000, jitter=1.0)
    breakers = members(join, 3, trip=None, failure_threshold=3, timeout_duration=1000, backoff=spread)
    fail(breakers[0], 3)
    eventually(lambda: verdicts(breakers) == ["fleet"] * 3)
    first, *others = deadlines(breakers)
    assert others == [pytest.approx(first, abs=2)] * 2


def test_openings_are_counted_by_the_fleet(join):
    backoff = Exponential(factor=4, maximum=1000, jitter=0)
    breakers = members(
        join, 2, trip=None, failure_threshold=3, timeout_duration=0.05, success_threshold=1, backoff=backoff
    )
    fail(breakers[0], 3)
    eventually(lambda: verdicts(breakers) == ["fleet"] * 2)
    for openings, breaker in ((2, breakers[1]), (3, breakers[0])):
        eventually(lambda breaker=breaker: probe_fails(breaker))
        eventually(lambda openings=openings: [b._circuit.openings for b in breakers] == [openings] * 2)
    assert deadlines(breakers) == [pytest.approx(0.05 * 16, abs=0.3)] * 2


def probe_fails(breaker):
    try:
        breaker.acquire().failure(OSError("still down"))
    except CircuitOpenError:
        return False
    return True


@pytest.mark.parametrize("rule", [None, HALF])
def test_a_hint_to_one_is_heeded_by_all(join, rule):
    threshold = 3 if rule is None else None
    breakers = members(
        join, 2, trip=rule, failure_threshold=threshold, retry_after=lambda error: float(str(error))
    )
    fail(breakers[0], 12, "200")
    eventually(lambda: verdicts(breakers) == ["fleet"] * 2)
    assert deadlines(breakers) == [pytest.approx(200, abs=3)] * 2


def test_a_backoff_holds_where_no_failure_has_said_how_long(join):
    clock = ManualClock()
    rule = SlowCallRate(0.5, slower_than=1.0, window=last(100), minimum_calls=6)
    breakers = [
        member(join, {"trip": rule, "clock": clock, "backoff": lambda openings, timeout: 77.0})
        for _ in range(2)
    ]
    for breaker in breakers:
        for _ in range(4):
            permit = breaker.acquire()
            clock.advance(2)
            permit.success()
    eventually(lambda: verdicts(breakers) == ["fleet"] * 2)
    assert deadlines(breakers) == [pytest.approx(77, abs=1)] * 2
