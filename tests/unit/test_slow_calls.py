"""Calls that take too long: those that ended, those that were given up, and those still under way."""

from __future__ import annotations

import gc

import anyio
import pytest

from circuitry import CircuitBreaker, CircuitOpenError
from circuitry.policies import ConsecutiveFailures, FailureRate, SlowCallRate, last, within
from circuitry.watches import SlowWatch, Timed

pytestmark = pytest.mark.core

#: Slow is more than 2 s; half of at least 2 of the last 4 is too many.
SLOW = SlowCallRate(0.5, slower_than=2.0, window=last(4), minimum_calls=2)


@pytest.fixture
def timed(clock):
    """Makes a breaker that goes by a rule, on the manual clock."""

    def make(trip=SLOW, **settings):
        given = {"timeout_duration": 10, "success_threshold": 1, "clock": clock}
        return CircuitBreaker("netflix", trip=trip, **{**given, **settings})

    return make


def lasting(breaker, clock, *seconds, how="success"):
    """Calls, one after the other, that last so long; the state after each."""
    states = []
    for duration in seconds:
        permit = breaker.acquire()
        clock.advance(duration)
        {"success": permit.success, "failure": permit.failure, "release": permit.release}[how]()
        states.append(str(breaker.state))
    return states


@pytest.mark.parametrize("how", ["success", "failure", "release"])
def test_a_slow_call_counts_however_it_ends(timed, clock, how):
    assert lasting(timed(), clock, 2.5, 2.5, how=how) == ["closed", "open"]


def test_at_the_limit_it_is_not_slow_yet(timed, clock):
    breaker = timed()
    assert set(lasting(breaker, clock, *[2.0] * 10)) == {"closed"}
    assert lasting(breaker, clock, 2.001, 2.001)[-1] == "open"


def test_quick_ones_that_are_ignored_are_not_counted(timed, clock):
    breaker = timed()
    assert lasting(breaker, clock, 2.5) == ["closed"]
    lasting(breaker, clock, *[0.1] * 5, how="release")
    assert lasting(breaker, clock, 0.1) == ["open"]  # one slow of two


def test_the_oldest_goes(timed, clock):
    breaker = timed(SlowCallRate(0.5, 2.0, window=last(4), minimum_calls=4))
    assert set(lasting(breaker, clock, 0, 0, 0, 2.5, 0, 0, 0, 2.5, 0, 0)) == {"closed"}
    assert lasting(breaker, clock, 2.5) == ["open"]


def test_the_cause_is_the_rule(timed, clock):
    breaker = timed()
    lasting(breaker, clock, 2.5, 2.5)
    with pytest.raises(CircuitOpenError) as caught:
        breaker.acquire()
    assert caught.value.last_failure == repr(SLOW)


# -- In flight ---------------------------------------------------------------------------------------------


def test_calls_under_way_count_before_they_end(timed, clock):
    breaker = timed()
    hanging = [breaker.acquire(), breaker.acquire()]
    clock.advance(2.5)
    assert breaker.state == "closed"  # until somebody comes: there is no thread
    with pytest.raises(CircuitOpenError):
        breaker.acquire()
    assert breaker.state == "open"
    assert breaker.metrics().rejected == 1
    for permit in hanging:
        permit.success()  # news of another generation
    assert breaker.state == "open"


def test_not_at_the_limit_and_each_of_them_once(timed, clock):
    breaker = timed(SlowCallRate(1.0, 2.0, window=last(4), minimum_calls=3))
    hanging = [breaker.acquire(), breaker.acquire()]
    clock.advance(2.0)
    breaker.acquire().release()
    clock.advance(0.5)
    for _ in range(5):
        breaker.acquire().release()  # two are late: too few
    for permit in hanging:
        permit.success()  # found late before: not counted again
    assert lasting(breaker, clock, 2.5) == ["open"]


def test_those_that_ended_in_time_are_forgotten(timed, clock):
    breaker = timed()
    lasting(breaker, clock, 1, 1)
    [slow] = breaker._circuit.evidence._slow
    assert not slow.flying
    clock.advance(100)
    breaker.acquire().release()
    assert breaker.state == "closed"


def test_the_oldest_are_found_first_and_the_look_moves_on(timed, clock):
    breaker = timed(SlowCallRate(1.0, 2.0, window=last(9), minimum_calls=9))
    [slow] = breaker._circuit.evidence._slow
    first = breaker.acquire()
    clock.advance(1)
    second = breaker.acquire()
    clock.advance(1.5)
    third = breaker.acquire()
    assert slow.window.failures == 1
    assert slow.look == 1003.0  # when the second would be late
    clock.advance(1.5)
    breaker.acquire().release()
    assert slow.window.failures == 2
    for permit in (first, second, third):
        permit.release()


def test_another_thread_may_change_them_while_they_are_looked_at():
    watch = SlowWatch(FailureRate(0.5, last(4))._made(lambda: 0.0), 2.0)

    class Changing(dict):
        def __iter__(self):
            raise RuntimeError("dictionary changed size during iteration")

    watch.flying = Changing()
    before = watch.look
    watch.find_late(1000.0)
    assert watch.look == before  # the next call looks again


def test_another_thread_may_land_one_while_it_is_found(clock):
    timed = Timed(*timed_parts(clock))
    flight = timed.enter()
    [slow] = timed._slow

    class Landing(dict):
        def pop(self, *args):
            super().pop(*args)
            return super().pop(*args)  # as if it were gone already

    slow.flying = Landing(slow.flying)
    clock.advance(3)
    slow.find_late(clock())
    assert slow.window.calls == 0
    assert flight.success() is False


def timed_parts(clock):
    leaves = []
    watch = SLOW._grow(clock, [], leaves)
    return watch, leaves, "slow", clock


def test_a_slow_call_that_comes_while_the_window_is_called_clean_leaves_its_mark(clock):
    [watch, _, _, _] = timed_parts(clock)
    for _ in range(4):
        watch.count(False)
    assert watch.run is False
    window = watch.window

    class Raced(type(window)):
        __slots__ = ()

        def add(self, bad):
            super().add(bad)
            super().add(True)  # another thread's

    raced = Raced(4, 0.5, 2)
    watch.window = raced
    watch.count(False)
    assert watch.run is True


# -- Given up ----------------------------------------------------------------------------------------------


def test_a_permit_that_is_dropped_after_the_limit_was_a_slow_call(timed, clock):
    breaker = timed()
    held = [breaker.acquire(), breaker.acquire()]
    clock.advance(2.5)
    held.clear()
    gc.collect()
    assert breaker.state == "open"
    assert breaker.metrics().ignored == 2


def test_a_call_its_caller_cancels_after_the_limit_was_slow(timed, clock, colour):
    breaker = timed()
    for _ in range(2):
        give_up(breaker, clock, colour, 2.5)
    assert breaker.state == "open"
    assert breaker.metrics().ignored == 2


def test_and_before_the_limit_it_says_nothing(timed, clock, colour):
    breaker = timed()
    for _ in range(5):
        give_up(breaker, clock, colour, 1.5)
    assert breaker.state == "closed"


def give_up(breaker, clock, colour, seconds):
    """A call that hangs, taken back after so many seconds: by its event loop, or by Ctrl-C."""
    if not colour.is_async:

        @breaker
        def interrupted():
            clock.advance(seconds)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        return

    @breaker
    async def hangs():
        clock.advance(seconds)
        await anyio.sleep_forever()

    async def main():
        with anyio.CancelScope() as scope:
            scope.cancel()
            await hangs()

    colour.run(main)


def test_what_is_given_up_after_a_reset_belongs_to_the_past(timed, clock):
    breaker = timed()
    held = [breaker.acquire(), breaker.acquire()]
    clock.advance(2.5)
    breaker.reset()
    for permit in held:
        permit.release()
    breaker.acquire().release()
    assert breaker.state == "closed"


# -- Every face --------------------------------------------------------------------------------------------


def test_each_way_to_call_takes_the_time(timed, clock, colour):
    """Functions, blocks, streams and permits, of either colour: two slow calls by each open it."""

    def slow_items():
        clock.advance(1.5)
        yield 1
        clock.advance(1.5)

    def slow():
        clock.advance(3)

    def decorated(breaker):
        colour.run(breaker(colour.function(slow)))

    def called(breaker):
        colour.run(breaker.call, colour.function(slow))

    def block(breaker):
        colour.block(breaker, lambda entered: slow())

    def stream(breaker):
        colour.collect(breaker(colour.stream(slow_items)))

    def permit(breaker):
        held = colour.acquire(breaker)
        slow()
        held.success()

    for way in (decorated, called, block, stream, permit):
        breaker = timed()
        way(breaker)
        assert breaker.state == "closed", way
        way(breaker)
        assert breaker.state == "open", way


def test_a_function_that_returns_a_coroutine_takes_as_long_as_that(timed, clock, anyio_backend):
    breaker = timed()

    async def work():
        clock.advance(3)

    @breaker
    def fetch():
        return work()

    for _ in range(2):
        anyio.run(fetch, backend=anyio_backend)
    assert breaker.state == "open"


def test_a_stream_that_is_left_late_was_slow(timed, clock):
    breaker = timed()

    @breaker
    def numbers():
        yield 1
        yield 2

    for _ in range(2):
        stream = numbers()
        next(stream)
        clock.advance(3)
        stream.close()
    assert breaker.state == "open"


def test_and_the_next_call_is_rejected_without_anybody_looking_in_between(timed, clock):
    breaker = timed()

    @breaker
    def numbers():
        yield 1
        yield 2

    lasting(breaker, clock, 3)
    stream = numbers()
    next(stream)
    clock.advance(3)
    stream.close()
    with pytest.raises(CircuitOpenError):
        breaker.acquire()


# -- Combined ----------------------------------------------------------------------------------------------


def test_several_limits_are_watched_at_once(timed, clock):
    brisk = SlowCallRate(1.0, 1.0, window=last(4), minimum_calls=3)
    never = SlowCallRate(0.1, 10.0, window=last(10), minimum_calls=1)
    breaker = timed(brisk | never)
    assert lasting(breaker, clock, 1.5, 1.5, 0.5, 1.5, 1.5) == ["closed"] * 5
    assert lasting(breaker, clock, 10.5) == ["open"]
    breaker = timed(brisk | never)
    assert lasting(breaker, clock, 1.5, 1.5, 1.5)[-1] == "open"


def test_one_in_flight_is_found_by_each_limit_in_its_turn(timed, clock):
    breaker = timed(
        SlowCallRate(1.0, 1.0, window=last(9), minimum_calls=9)
        | SlowCallRate(1.0, 3.0, window=last(9), minimum_calls=1)
    )
    held = breaker.acquire()
    clock.advance(2)
    breaker.acquire().release()
    assert breaker.state == "closed"
    clock.advance(2)
    with pytest.raises(CircuitOpenError):
        breaker.acquire()
    held.release()


def test_failures_open_it_as_well(timed, clock):
    breaker = timed(SLOW | ConsecutiveFailures(3))
    assert lasting(breaker, clock, 0, 0, 0, how="failure") == ["closed", "closed", "open"]


def test_slow_and_failing_at_once(timed, clock):
    breaker = timed(SLOW & FailureRate(0.5, window=last(4), minimum_calls=2))
    assert lasting(breaker, clock, 3, 3, 3) == ["closed"] * 3
    assert lasting(breaker, clock, 0, 0, how="failure") == ["closed", "open"]


def test_slow_and_failing_is_found_in_flight_too(timed, clock):
    rule = SlowCallRate(0.3, 2.0, window=last(9), minimum_calls=2) & FailureRate(0.5, window=last(4))
    breaker = timed(rule)
    hanging = [breaker.acquire(), breaker.acquire()]
    assert lasting(breaker, clock, 0, how="failure") == ["closed"]
    clock.advance(2.5)
    with pytest.raises(CircuitOpenError):
        breaker.acquire()
    for permit in hanging:
        permit.release()


def test_a_time_window_of_slow_calls_forgets(timed, clock):
    breaker = timed(SlowCallRate(0.5, 2.0, window=within(30), minimum_calls=2))
    assert lasting(breaker, clock, 2.5) == ["closed"]
    clock.advance(31)
    assert lasting(breaker, clock, 2.5, 2.5) == ["closed", "open"]


# -- States ------------------------------------------------------------------------------------------------


def test_a_probe_is_judged_by_its_outcome_alone(timed, clock):
    breaker = timed()
    lasting(breaker, clock, 3, 3)
    clock.advance(10)
    assert lasting(breaker, clock, 9) == ["closed"]


def test_in_shadow_it_would_have_opened(timed, clock):
    breaker = timed(initial_state="shadow")
    hanging = [breaker.acquire(), breaker.acquire()]
    clock.advance(2.5)
    breaker.acquire().success()
    metrics = breaker.metrics()
    assert (metrics.state, metrics.shadow_state, metrics.shadow_rejected) == ("shadow", "open", 1)
    for permit in hanging:
        permit.release()


def test_disabled_and_forced_it_takes_no_time(timed, clock):
    breaker = timed(initial_state="disabled")
    lasting(breaker, clock, 3, 3, 3)
    assert breaker.state == "disabled"
    breaker.force_open()
    with pytest.raises(CircuitOpenError):
        breaker.acquire()


def test_a_breaker_without_such_a_rule_reads_no_clock(clock):
    reads = []

    def counting():
        reads.append(None)
        return clock()

    breaker = CircuitBreaker("netflix", trip=FailureRate(0.5, last(5)), clock=counting)
    breaker.call(lambda: None)
    assert not reads


def test_when_all_is_well_a_call_adds_nothing_to_its_window(timed, clock):
    breaker = timed(SLOW | FailureRate(0.5, window=last(4)))
    lasting(breaker, clock, 1, 1, 1, 1)
    evidence = breaker._circuit.evidence
    [slow] = evidence._slow
    assert (evidence.run, slow.run) == (False, False)
    before = repr(slow.window._turns)
    lasting(breaker, clock, 1, 1)
    assert repr(slow.window._turns) == before
    lasting(breaker, clock, 3)
    assert repr(slow.window._turns) != before
