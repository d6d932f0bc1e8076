"""A health check takes the probes: when it is asked, what its answers do, and when it stops.

The check is sync (it has a thread) or async (it has a task of the loop), the callers are in an event loop.
Time is a manual clock; only the pauses of the check are real, and tiny.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import threading
import time
import weakref

import anyio
import pytest

from circuitry import CircuitBreaker, CircuitOpenError, TooManyCallsError
from circuitry.checking import Run
from circuitry.policies import Exponential
from circuitry.testing import ManualClock, forced

pytestmark = [pytest.mark.anyio, pytest.mark.core]

NUMBERS = {
    "failure_threshold": 1,
    "success_threshold": 2,
    "timeout_duration": 10.0,
    "health_check_interval": 0.002,
}


async def until(is_so, otherwise="it never came to that"):
    """Wait until it is."""
    with anyio.move_on_after(15):
        while not is_so():
            await anyio.sleep(0.001)
        return
    raise AssertionError(otherwise)


class Clock(ManualClock):
    """Knows how often it was read: a check that waits looks at it again and again."""

    def __init__(self):
        super().__init__(1000.0)
        self.looks = 0

    def __call__(self):
        self.looks += 1
        return super().__call__()


class Health:
    """A dependency that can be asked how it is, in one colour."""

    def __init__(self, is_async):
        self.is_async = is_async
        self.answer = False  # what it says, or raises
        self.asked = 0
        self.holds = threading.Event()  # it hesitates while that isn't set
        self.holds.set()

    def say(self):
        answer = self.answer
        if isinstance(answer, BaseException) or (
            isinstance(answer, type) and issubclass(answer, BaseException)
        ):
            raise answer
        return answer() if callable(answer) else answer

    @property
    def check(self):
        def check():
            self.asked += 1
            assert self.holds.wait(20)
            return self.say()

        async def check_async():
            self.asked += 1
            while not self.holds.is_set():
                await anyio.sleep(0.001)
            return self.say()

        return check_async if self.is_async else check


@pytest.fixture(params=["sync", "async"])
def health(request):
    return Health(request.param == "async")


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def make(health, clock):
    """Make a breaker with a check; in the end none is at work."""
    made = []

    def making(**settings):
        given = {**NUMBERS, "health_check": health.check, "clock": clock, **settings}
        breaker = CircuitBreaker("netflix", **given)
        made.append(breaker)
        return breaker

    yield making
    health.holds.set()
    for breaker in made:
        breaker.reset()
        await until(lambda breaker=breaker: not breaker.is_checking, "it goes on")


@pytest.fixture
async def breaker(make):
    return make()


def trip(breaker):
    breaker.acquire().failure(OSError("down"))


def rejection(breaker):
    with pytest.raises(CircuitOpenError) as caught:
        breaker.acquire()
    return caught.value


async def looked(clock, times=4):
    """Wait until the check has looked at the clock so often."""
    before = clock.looks
    await until(lambda: clock.looks >= before + times, "nobody looks at the clock")


def to_be_checked(breaker, clock):
    trip(breaker)
    clock.advance(10)


# -- When it is asked ------------------------------------------------------------------------------------


async def test_nothing_runs_before_the_circuit_opens(breaker, health):
    breaker.acquire().success()
    assert not breaker.is_checking
    assert health.asked == 0


async def test_it_closes_the_circuit_without_any_call(breaker, health, clock):
    health.answer = True
    to_be_checked(breaker, clock)
    assert breaker.is_checking
    await until(lambda: breaker.state == "closed")
    assert health.asked == 2
    assert breaker.acquire().success() is None
    await until(lambda: not breaker.is_checking)


async def test_it_isnt_asked_before_the_deadline(breaker, health, clock):
    trip(breaker)
    clock.advance(9.5)
    await looked(clock)
    assert (health.asked, breaker.state) == (0, "open")
    assert rejection(breaker).retry_after == 0.5


async def test_users_calls_are_no_probes(breaker, health, clock):
    """Not past the deadline, and not in half-open; the time between two checks is the hint."""
    health.holds.clear()
    trip(breaker)
    breaker._run.until = float("inf")  # as if it had just looked
    clock.advance(10)
    await until(lambda: health.asked)
    assert breaker.state == "half_open"
    told = rejection(breaker)
    assert isinstance(told, TooManyCallsError)
    assert told.retry_after == breaker.metrics().retry_after == 0.002
    assert told.last_failure == "OSError: down"
    assert (health.asked, breaker.metrics().half_open_calls) == (1, 1)


async def test_past_the_deadline_users_calls_wait_for_the_check(make, clock, monkeypatch):
    monkeypatch.setattr("circuitry.checking.Run.start", lambda run: None)
    breaker = make(health_check_interval=4.0)
    to_be_checked(breaker, clock)
    for _ in range(3):
        told = rejection(breaker)
        assert (told.state, told.retry_after, breaker.state) == ("open", 4.0, "open")
    assert breaker.metrics().rejected == 3
    assert breaker.metrics().retry_after == 4.0
    breaker._run = None


async def test_async_callers_are_rejected_too(breaker, health, clock):
    health.holds.clear()
    to_be_checked(breaker, clock)
    await until(lambda: health.asked)
    with pytest.raises(TooManyCallsError):
        await breaker.acquire_async()


async def test_a_circuit_that_is_forced_open_needs_no_check(breaker, health, clock):
    breaker.force_open()
    assert rejection(breaker).retry_after == 10.0
    assert not breaker.is_checking


async def test_calls_in_flight_that_open_the_circuit_begin_it(make, health, clock):
    breaker = make(failure_threshold=1, slow_call_duration=1.0, slow_call_rate_threshold=0.5, minimum_calls=1)
    permit = breaker.acquire()
    clock.advance(2)
    rejection(breaker)
    assert breaker.is_checking
    permit.release()


# -- What it says ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (False, "UnhealthyError: the health check returned False"),
        (ConnectionError("refused"), "ConnectionError: refused"),
        (ExceptionGroup("two", [OSError("a"), OSError("b")]), "ExceptionGroup: two (2 sub-exceptions)"),
    ],
)
async def test_a_failure_opens_the_circuit_again(breaker, health, clock, answer, told):
    health.answer = answer
    trip(breaker)
    heard = []
    breaker.on_transition(lambda event: heard.append((event.new_state, event.reason)))
    clock.advance(10)
    await until(lambda: len(heard) == 2)
    assert heard == [("half_open", "timed_out"), ("open", "probe_failed")]
    assert rejection(breaker).last_failure == told
    assert rejection(breaker).retry_after == 10.0
    assert health.asked == 1


@pytest.mark.parametrize("answer", [None, 0, "", [], True])
async def test_all_but_false_is_a_success(breaker, health, clock, answer):
    health.answer = answer
    to_be_checked(breaker, clock)
    await until(lambda: breaker.state == "closed")


async def test_what_counts_as_a_failure_of_calls_isnt_asked(make, health, clock):
    health.answer = ValueError("mine")
    breaker = make(
        exclude=ValueError, failure_if=lambda answer: False, describe_failure=lambda error: "redacted"
    )
    to_be_checked(breaker, clock)
    await until(lambda: breaker.metrics().opened == 2)
    assert rejection(breaker).last_failure == "redacted"


async def test_it_counts_in_no_totals(breaker, health, clock):
    told = []
    breaker.on_failure(told.append)
    to_be_checked(breaker, clock)
    await until(lambda: breaker.metrics().opened == 2)
    health.answer = True
    clock.advance(10)
    await until(lambda: breaker.state == "closed")
    metrics = breaker.metrics()
    assert (metrics.calls, metrics.successes, metrics.failures, metrics.ignored) == (1, 0, 1, 0)
    assert metrics.recovery_attempts == 2
    assert len(told) == 1


async def test_backoff_and_hints_hear_of_it(make, health, clock):
    health.answer = ConnectionError("refused")
    breaker = make(
        backoff=Exponential(factor=2, jitter=0),
        retry_after=lambda error: 100.0 if isinstance(error, ConnectionError) else None,
    )
    to_be_checked(breaker, clock)
    await until(lambda: breaker.metrics().opened == 2)
    assert breaker.metrics().retry_after == 100.0


async def test_failures_are_logged_at_debug(breaker, health, clock, caplog):
    caplog.set_level(logging.DEBUG, "circuitry")
    health.answer = OSError("still down")
    to_be_checked(breaker, clock)
    await until(lambda: breaker.metrics().opened == 2)
    said = [record for record in caplog.records if "health check" in record.getMessage()]
    assert [(record.levelname, record.circuit) for record in said] == [("DEBUG", "netflix")]


async def test_what_is_no_exception_says_nothing(breaker, health, clock, caplog):
    """It gives the probe's slot back, and is asked again."""
    health.answer = asyncio.CancelledError
    to_be_checked(breaker, clock)
    await until(lambda: health.asked >= 2)
    assert (breaker.state, breaker.success_count) == ("half_open", 0)
    assert breaker.metrics().ignored == 0
    health.answer = True
    await until(lambda: breaker.state == "closed")
    assert "CancelledError" in caplog.text


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_it_ends_no_thread_and_no_trio(breaker, health, clock, error, anyio_backend_name):
    if health.is_async and anyio_backend_name == "asyncio":
        pytest.skip("there it ends the loop, as from any task")
    health.answer = error
    to_be_checked(breaker, clock)
    await until(lambda: health.asked >= 2)
    health.answer = True
    await until(lambda: breaker.state == "closed")


async def test_a_sync_check_that_would_have_to_be_awaited_is_a_failure(make, clock):
    async def ping():
        return True

    breaker = make(health_check=lambda: ping())
    to_be_checked(breaker, clock)
    await until(lambda: breaker.metrics().opened == 2)
    assert "make it an async function" in rejection(breaker).last_failure


async def test_a_future_it_returns_is_a_failure_too(make, clock):
    class Later:
        def __await__(self):
            yield

    breaker = make(health_check=lambda: Later())
    to_be_checked(breaker, clock)
    await until(lambda: breaker.metrics().opened == 2)
    assert "returned an awaitable" in rejection(breaker).last_failure


async def test_one_that_calls_what_is_guarded_is_rejected(make, health, clock):
    breaker = make()
    health.answer = breaker(lambda: "never")
    to_be_checked(breaker, clock)
    await until(lambda: breaker.metrics().opened == 2)
    assert rejection(breaker).last_failure.startswith("TooManyCallsError")


# -- How long it takes -------------------------------------------------------------------------------------


async def test_an_async_check_that_hangs_is_a_failure(clock, anyio_backend_name):
    breaker = CircuitBreaker(
        "netflix", **NUMBERS, probe_timeout=0.01, health_check=anyio.sleep_forever, clock=clock
    )
    to_be_checked(breaker, clock)
    await until(lambda: breaker.metrics().opened == 2)
    told = rejection(breaker).last_failure
    assert told == "TimeoutError: no answer of the health check within probe_timeout=0.01 s"
    breaker.reset()


async def test_its_own_timeout_is_told_as_it_is(make, health, clock):
    health.answer = TimeoutError("mine")
    breaker = make()
    to_be_checked(breaker, clock)
    await until(lambda: breaker.metrics().opened == 2)
    assert rejection(breaker).last_failure == "TimeoutError: mine"


async def test_a_sync_check_that_hangs_loses_its_slot_and_another_takes_its_place(clock, monkeypatch):
    monkeypatch.setattr("circuitry.checking.PATIENCE", 0.01)
    asked, go_on = [], threading.Event()

    def check():
        asked.append(threading.current_thread())
        if len(asked) == 1:
            assert go_on.wait(20)

    breaker = CircuitBreaker(
        "netflix",
        **{**NUMBERS, "half_open_max_calls": 1},
        probe_timeout=0.01,
        health_check=check,
        clock=clock,
    )
    to_be_checked(breaker, clock)
    await until(lambda: asked)
    hung = breaker._run
    await until(lambda: hung.is_over)
    clock.advance(0.01)  # and its slot has lapsed
    rejection(breaker)
    assert breaker._run is not hung
    await until(lambda: breaker.state == "closed")
    assert asked[1] is not asked[0]
    trip(breaker)
    go_on.set()
    await anyio.to_thread.run_sync(asked[0].join)  # its late answer is no news, and it is needed no more
    assert breaker.state == "open"
    breaker.reset()


async def test_it_is_given_the_time_of_a_probe(make, health, clock):
    """However long it may take, nobody takes its place meanwhile."""
    breaker = make(probe_timeout=60.0)
    health.holds.clear()
    to_be_checked(breaker, clock)
    await until(lambda: health.asked)
    assert breaker._run.until > time.monotonic() + 40


# -- When it stops -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["reset", "force_open", "disable"])
async def test_an_operators_word_ends_it(breaker, health, clock, order):
    health.holds.clear()
    health.answer = True
    to_be_checked(breaker, clock)
    await until(lambda: health.asked)
    getattr(breaker, order)()
    state = breaker.state
    health.holds.set()
    await until(lambda: not breaker.is_checking)
    assert (health.asked, breaker.state) == (1, state)


async def test_a_late_answer_is_no_news(breaker, health, clock):
    health.holds.clear()
    to_be_checked(breaker, clock)
    await until(lambda: health.asked)
    breaker.reset()
    health.holds.set()
    await until(lambda: not breaker.is_checking)
    assert (breaker.state, breaker.metrics().opened) == ("closed", 1)


async def test_it_ends_with_its_breaker(health, clock):
    breaker = CircuitBreaker("netflix", **NUMBERS, health_check=health.check, clock=clock)
    trip(breaker)
    run, gone = breaker._run, weakref.ref(breaker)
    await looked(clock)
    del breaker
    gc.collect()
    await until(lambda: run.is_over, "it goes on without its breaker")
    assert gone() is None


async def test_it_may_hold_its_breaker_itself(clock):
    class Service:
        def __init__(self, is_async):
            check = self.ping_async if is_async else self.ping
            self.breaker = CircuitBreaker("netflix", **NUMBERS, health_check=check, clock=clock)

        def ping(self):
            return True

        async def ping_async(self):
            return True

    for is_async in (False, True):
        service = Service(is_async)
        trip(service.breaker)
        run = service.breaker._run
        await looked(clock)
        del service
        gc.collect()
        await until(lambda run=run: run.is_over, "it keeps itself alive")


async def test_a_breaker_that_is_dropped_while_it_is_asked_is_not_missed(health, clock):
    health.holds.clear()
    breaker = CircuitBreaker("netflix", **NUMBERS, health_check=health.check, clock=clock)
    to_be_checked(breaker, clock)
    run = breaker._run
    await until(lambda: health.asked)
    del breaker
    gc.collect()
    health.holds.set()
    await until(lambda: run.is_over)


async def test_a_breaker_that_is_dropped_just_before_its_turn_gives_no_probe(health, clock):
    breaker = CircuitBreaker("netflix", **NUMBERS, health_check=health.check, clock=clock)
    run = Run(breaker, health.check)
    del breaker
    gc.collect()
    assert run._pause() is None
    assert run._take_turn() is None
    assert await run._take_turn_async() is None
    assert health.asked == 0


async def test_a_call_that_is_turned_down_begins_it_again(breaker, health, clock):
    to_be_checked(breaker, clock)
    breaker._run.until = float("-inf")
    breaker._run = None  # it is gone, nobody knows why
    assert not breaker.is_checking
    health.answer = True
    await until(lambda: rejection(breaker) and breaker.is_checking)
    await until(lambda: breaker.state == "closed")


async def test_there_is_one_at_a_time(breaker, health, clock):
    health.holds.clear()
    to_be_checked(breaker, clock)
    await until(lambda: health.asked)
    run = breaker._run
    for _ in range(50):
        rejection(breaker)
    assert breaker._run is run
    assert health.asked == 1


async def test_who_comes_second_begins_none(breaker, health, clock, monkeypatch):
    from circuitry import checking

    class Slow(checking.Run):
        def __init__(self, *given):
            super().__init__(*given)
            if breaker._run is None:
                breaker._run = other

    other = checking.Run(breaker, health.check)
    monkeypatch.setattr(checking, "Run", Slow)
    trip(breaker)
    assert breaker._run is other
    other.until = float("-inf")


async def test_one_that_cant_begin_fails_no_call(make, clock, monkeypatch, caplog):
    def refuse(run):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("circuitry.checking.Run.start", refuse)
    breaker = make()
    trip(breaker)
    clock.advance(10)
    rejection(breaker)
    assert caplog.text.count("can't begin now") == 1
    breaker._run = None


async def test_what_is_opened_while_it_ends_is_still_seen(breaker, health, clock, monkeypatch):
    """Between its last look and its end nobody else begins one: it looks once more."""
    trip(breaker)
    run = breaker._run
    looks = []

    def is_wanted(circuit):
        if sys._getframe(1).f_code.co_name == "_is_needed":
            looks.append(run.is_over)
        return len(looks) != 1

    monkeypatch.setattr("circuitry.probing.is_wanted", is_wanted)
    await until(lambda: len(looks) >= 3)
    assert looks[:3] == [False, True, False]  # for as long as it may end, others may begin one
    assert breaker._run is run
    health.answer = True
    clock.advance(10)
    await until(lambda: breaker.state == "closed")


# -- Shadow, tests, other settings ---------------------------------------------------------------------------


async def test_in_shadow_users_calls_go_out_and_the_check_judges(make, health, clock):
    breaker = make(initial_state="shadow")
    health.holds.clear()
    to_be_checked(breaker, clock)
    for _ in range(3):
        breaker.acquire().success()
    await until(lambda: health.asked)
    breaker.acquire().failure()
    assert (breaker.metrics().shadow_state, breaker.metrics().shadow_rejected) == ("half_open", 4)
    health.answer = True
    health.holds.set()
    await until(lambda: breaker.metrics().shadow_state == "closed")
    assert breaker.state == "shadow"


async def test_in_shadow_it_is_begun_by_a_call_as_well(make, health, clock):
    breaker = make(initial_state="shadow")
    trip(breaker)
    breaker._run.until, breaker._run = float("-inf"), None
    breaker.acquire().success()
    assert breaker.is_checking


@pytest.mark.parametrize("state", ["open", "half_open"])
async def test_a_state_that_a_test_has_set_is_not_checked(breaker, clock, state):
    with forced(breaker, state):
        clock.advance(10)
        rejection(breaker)
        assert not breaker.is_checking
    assert breaker.state == "closed"


async def test_another_check_goes_on_where_one_was(breaker, health, clock):
    trip(breaker)
    other = Health(health.is_async)
    other.answer = True
    breaker.reconfigure(health_check=other.check)
    clock.advance(10)
    await until(lambda: breaker.state == "closed")
    assert (health.asked, other.asked) == (0, 2)


async def test_one_of_the_other_colour_begins_with_the_next_call(breaker, health, clock):
    trip(breaker)
    other = Health(not health.is_async)
    other.answer = True
    breaker.reconfigure(health_check=other.check)
    await until(lambda: not breaker.is_checking)
    clock.advance(10)
    rejection(breaker)
    await until(lambda: breaker.state == "closed")
    assert (health.asked, other.asked) == (0, 2)


async def test_without_it_users_calls_probe_again(breaker, health, clock):
    to_be_checked(breaker, clock)
    breaker.reconfigure(health_check=None)
    await until(lambda: not breaker.is_checking)
    clock.advance(10)  # it may have been asked just before
    breaker.acquire().success()
    breaker.acquire().success()
    assert breaker.state == "closed"


async def test_one_that_is_taken_away_while_it_gets_a_probe_isnt_asked(breaker, health, clock):
    def take_away(event):
        if event.new_state == "half_open":
            breaker.reconfigure(health_check=None)

    breaker.on_transition(take_away)
    to_be_checked(breaker, clock)
    await until(lambda: breaker.state == "half_open" and not breaker.is_checking)
    assert health.asked == 0
    assert breaker.metrics().half_open_calls == 0


async def test_one_that_comes_later_takes_the_probes_from_then_on(health, clock):
    breaker = CircuitBreaker("netflix", failure_threshold=1, timeout_duration=10.0, clock=clock)
    to_be_checked(breaker, clock)
    probe = breaker.acquire()
    breaker.reconfigure(health_check=health.check, health_check_interval=0.002)
    del probe  # what users' calls have left is taken in
    gc.collect()
    assert isinstance(rejection(breaker), TooManyCallsError)
    await until(lambda: breaker.metrics().opened == 2)
    breaker.reset()
    await until(lambda: not breaker.is_checking)


async def test_it_waits_its_interval_where_users_probes_hold_the_slots(health, clock):
    breaker = CircuitBreaker(
        "netflix",
        failure_threshold=1,
        success_threshold=1,
        timeout_duration=10.0,
        half_open_max_calls=1,
        clock=clock,
    )
    to_be_checked(breaker, clock)
    probe = breaker.acquire()
    health.answer = True
    breaker.reconfigure(health_check=health.check, health_check_interval=0.002)
    rejection(breaker)
    await looked(clock)
    assert (health.asked, breaker.is_checking) == (0, True)
    probe.release()
    await until(lambda: breaker.state == "closed")


async def test_it_has_nothing_of_its_callers_context(health, clock):
    from contextvars import ContextVar

    request, seen = ContextVar("request", default="none"), []

    health.answer = lambda: seen.append(request.get())
    breaker = CircuitBreaker("netflix", **NUMBERS, health_check=health.check, clock=clock)
    request.set("of a user")
    to_be_checked(breaker, clock)
    await until(lambda: breaker.state == "closed")
    assert set(seen) == {"none"}


async def test_it_is_named_after_its_circuit(breaker, health, clock, anyio_backend_name):
    health.holds.clear()
    names = []

    def name():
        if not health.is_async:
            return threading.current_thread().name
        if anyio_backend_name == "trio":
            return sys.modules["trio"].lowlevel.current_task().name
        return asyncio.current_task().get_name()

    health.answer = lambda: names.append(name())
    to_be_checked(breaker, clock)
    health.holds.set()
    await until(lambda: names)
    assert names[0] == "circuitry-check-netflix"
