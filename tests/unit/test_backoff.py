"""How long a circuit stays open: backoff, and hints from the dependency."""

from __future__ import annotations

import email.utils
import logging
import random
import time
from datetime import timedelta
from types import SimpleNamespace

import anyio
import pytest

from circuitry import CircuitBreaker, CircuitOpenError
from circuitry.policies import Exponential, SlowCallRate, last, retry_after_header

pytestmark = pytest.mark.core

EXACT = Exponential(factor=2, maximum=300, jitter=0)


@pytest.fixture
def waiting(clock):
    """Makes a breaker that opens at once, for 10 s, unless it is told otherwise."""

    def make(**settings):
        given = {"failure_threshold": 1, "success_threshold": 1, "timeout_duration": 10, "clock": clock}
        return CircuitBreaker("netflix", **{**given, **settings})

    return make


def fail(breaker, error=None):
    """A failing call; how long the circuit is open for it."""
    breaker.acquire().failure(error or OSError("down"))
    return breaker.metrics().retry_after


def fail_again(breaker, clock, times):
    """How long it is open, each time that a probe fails."""
    waits = [fail(breaker)]
    for _ in range(times):
        clock.advance(waits[-1])
        waits.append(fail(breaker))
    return waits


# -- Exponential -------------------------------------------------------------------------------------------


def test_each_opening_in_a_row_lasts_longer_up_to_the_maximum(waiting, clock):
    breaker = waiting(backoff=EXACT)
    assert fail_again(breaker, clock, 6) == [10, 20, 40, 80, 160, 300, 300]


def test_when_the_circuit_has_closed_it_begins_anew(waiting, clock):
    breaker = waiting(backoff=EXACT)
    clock.advance(fail_again(breaker, clock, 2)[-1])
    breaker.acquire().success()
    assert breaker.state == "closed"
    assert fail(breaker) == 10


@pytest.mark.parametrize("order", ["reset", "force_open", "disable"])
def test_an_operators_word_begins_anew_too(waiting, clock, order):
    breaker = waiting(backoff=EXACT)
    fail_again(breaker, clock, 2)
    getattr(breaker, order)()
    breaker.reset()
    assert fail(breaker) == 10


def test_it_goes_by_the_timeout_of_the_circuit():
    assert [EXACT(openings, 7.0) for openings in (1, 2, 3)] == [7, 14, 28]
    assert Exponential(factor=3, jitter=0)(3, 2.0) == 18
    assert Exponential(factor=1, jitter=0)(9, 2.0) == 2


def test_the_maximum_may_be_a_timedelta_and_is_never_less_than_the_timeout():
    backoff = Exponential(maximum=timedelta(minutes=1), jitter=0)
    assert backoff(9, 10.0) == 60
    assert backoff(9, 100.0) == 100


def test_no_number_of_openings_is_too_many():
    assert EXACT(10**6, 10.0) == EXACT(2000, 10.0) == 300


@pytest.mark.parametrize("jitter", [0.1, 0.5, 1.0])
def test_jitter_spreads_by_its_share_to_both_sides_and_never_above_the_maximum(jitter):
    backoff = Exponential(factor=2, maximum=1000, jitter=jitter)
    drawn = [backoff(2, 10.0) for _ in range(2000)]
    assert 20 * (1 - jitter) <= min(drawn) < 20 * (1 - 0.9 * jitter)
    assert 20 * (1 + jitter) >= max(drawn) > 20 * (1 + 0.9 * jitter)
    longest = [backoff(50, 10.0) for _ in range(2000)]
    assert max(longest) <= 1000
    assert len(set(longest)) > 1000


def test_it_is_drawn_once_at_the_opening(waiting, clock, monkeypatch):
    draws = []

    def uniform(low, high):
        draws.append((low, high))
        return 1.05

    monkeypatch.setattr(random, "uniform", uniform)
    breaker = waiting(backoff=Exponential())
    assert fail(breaker) == pytest.approx(10.5)
    for _ in range(10):
        clock.advance(1)
        with pytest.raises(CircuitOpenError):
            breaker.acquire()
        assert breaker.metrics().retry_after
    assert draws == [(0.9, 1.1)]


def test_probes_that_succeed_draw_nothing(waiting, clock, monkeypatch):
    asked = []
    breaker = waiting(backoff=lambda openings, timeout: asked.append(openings) or 10.0, success_threshold=3)
    fail(breaker)
    clock.advance(10)
    for _ in range(3):
        breaker.acquire().success()
    assert asked == [1]
    assert breaker.state == "closed"


# -- One's own ---------------------------------------------------------------------------------------------


def test_a_callable_of_ones_own_gets_the_openings_and_the_timeout(waiting, clock):
    asked = []

    def backoff(openings, timeout):
        asked.append((openings, timeout))
        return timedelta(seconds=5 * openings) if openings > 1 else 5

    assert fail_again(waiting(backoff=backoff), clock, 2) == [5, 10, 15]
    assert asked == [(1, 10.0), (2, 10.0), (3, 10.0)]


def test_one_that_raises_is_logged_and_the_timeout_holds(waiting, caplog):
    def backoff(openings, timeout):
        raise ZeroDivisionError

    with caplog.at_level(logging.ERROR, logger="circuitry"):
        assert fail(waiting(backoff=backoff)) == 10
    assert "backoff=" in caplog.text


@pytest.mark.parametrize("said", [None, 0, -1, float("nan"), float("inf"), "later", []], ids=repr)
def test_one_that_says_nothing_sensible_leaves_the_timeout(waiting, said):
    assert fail(waiting(backoff=lambda openings, timeout: said)) == 10


def test_its_code_runs_under_no_lock(waiting):
    breaker = waiting(backoff=lambda openings, timeout: 3 + breaker.metrics().failures)
    assert fail(breaker) == 4


def test_slow_calls_in_flight_open_it_for_as_long(clock):
    breaker = CircuitBreaker(
        "netflix",
        trip=SlowCallRate(0.5, 2.0, window=last(2)),
        backoff=lambda openings, timeout: 3.0,
        retry_after=lambda outcome: 99.0,  # nothing has ended, so nobody gives a hint
        clock=clock,
    )
    held = breaker.acquire()
    clock.advance(2.5)
    with pytest.raises(CircuitOpenError) as caught:
        breaker.acquire()
    assert caught.value.retry_after == 3
    held.release()


def test_forced_open_it_waits_for_nobody(waiting):
    breaker = waiting(backoff=EXACT)
    breaker.force_open()
    assert breaker.metrics().retry_after == 10


# -- Hints -------------------------------------------------------------------------------------------------


class BusyError(Exception):
    """A 503 with a hint."""

    def __init__(self, seconds):
        super().__init__("busy")
        self.seconds = seconds


def hint(outcome):
    return outcome.seconds if isinstance(outcome, BusyError) else None


@pytest.mark.parametrize(
    ("seconds", "wait"),
    [(60, 60), (timedelta(minutes=1), 60), (5, 10), (None, 10), (-5, 10), (10**9, 300), (float("nan"), 10)],
    ids=str,
)
def test_a_hint_makes_the_wait_longer_and_is_bounded(waiting, seconds, wait):
    assert fail(waiting(retry_after=hint), BusyError(seconds)) == wait


def test_a_hint_of_a_failing_probe_counts_too(waiting, clock):
    breaker = waiting(retry_after=hint, backoff=EXACT)
    assert fail(breaker) == 10
    clock.advance(10)
    assert fail(breaker, BusyError(60)) == 60
    clock.advance(60)
    assert fail(breaker, BusyError(15)) == 40  # the backoff says more


def test_a_failed_result_gives_a_hint(waiting, colour):
    breaker = waiting(failure_if=lambda answer: answer.status == 503, retry_after=lambda answer: answer.wait)
    answer = SimpleNamespace(status=503, wait=45)
    assert colour.run(breaker(colour.function(lambda: answer))) is answer
    assert breaker.metrics().retry_after == 45


def test_and_so_does_the_result_of_a_future(waiting):
    breaker = waiting(failure_if=bool, retry_after=lambda result: result)

    class Future:
        def add_done_callback(self, done):
            done(self)

        def cancelled(self):
            return False

        def exception(self):
            return None

        def result(self):
            return 45

    breaker.call(lambda: Future())
    assert breaker.metrics().retry_after == 45


def test_and_the_result_of_a_function_that_returns_a_coroutine(waiting, anyio_backend):
    breaker = waiting(failure_if=bool, retry_after=lambda result: result)

    async def work():
        return 45

    @breaker
    def fetch():
        return work()

    anyio.run(fetch, backend=anyio_backend)
    assert breaker.metrics().retry_after == 45


def test_a_hint_that_raises_is_logged(waiting, caplog):
    def broken(outcome):
        raise ZeroDivisionError

    with caplog.at_level(logging.ERROR, logger="circuitry"):
        assert fail(waiting(retry_after=broken)) == 10
    assert "retry_after=" in caplog.text


# -- Retry-After -------------------------------------------------------------------------------------------


def response(status, **headers):
    return SimpleNamespace(
        status_code=status, headers={name.replace("_", "-"): text for name, text in headers.items()}
    )


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("name", ["Retry_After", "retry_after"])
def test_seconds_are_read(status, name):
    assert retry_after_header(response(status, **{name: " 120 "})) == 120


def test_a_date_is_read():
    then = email.utils.formatdate(time.time() + 90, usegmt=True)
    assert 85 < retry_after_header(response(503, Retry_After=then)) <= 90
    assert retry_after_header(response(503, Retry_After="Fri, 31 Dec 1999 23:59:59 GMT")) == 0


@pytest.mark.parametrize(
    "text", ["", "soon", "-5", "1.5", "²", "Fri, 99 Dec 1999", "Fri, 31 Dec 99999999999 23:59:59 GMT"]
)
def test_what_is_no_time_is_no_hint(text):
    assert retry_after_header(response(503, Retry_After=text)) is None


def test_only_an_overload_gives_a_hint():
    assert retry_after_header(response(301, Retry_After="120")) is None
    assert retry_after_header(response(503)) is None


def test_the_answer_of_an_exception_is_found():
    error = OSError("busy")
    error.response = response(429, Retry_After="7")
    assert retry_after_header(error) == 7


@pytest.mark.parametrize("name", ["status_code", "status", "code"])
def test_answers_and_exceptions_that_have_it_themselves_are_read(name):
    class BusyAnswerError(Exception):
        headers = {"Retry-After": "7"}  # noqa: RUF012

    setattr(BusyAnswerError, name, 503)
    assert retry_after_header(BusyAnswerError()) == 7
    setattr(BusyAnswerError, name, "503")
    assert retry_after_header(BusyAnswerError()) is None


@pytest.mark.parametrize(
    "outcome", [OSError("down"), None, 5, object(), SimpleNamespace(headers=None, status=503)]
)
def test_anything_else_is_no_hint(outcome):
    assert retry_after_header(outcome) is None


def test_it_is_what_retry_after_may_be_given(waiting):
    error = OSError("busy")
    error.response = response(429, Retry_After="70")
    assert fail(waiting(retry_after=retry_after_header), error) == 70
