"""What circuitry raises: one family, with facts, that pickles."""

from __future__ import annotations

import copy
import pickle

import pytest

from circuitry import (
    CircuitBreaker,
    CircuitBreakerError,
    CircuitOpenError,
    ConfigurationError,
    TooManyCallsError,
)

pytestmark = pytest.mark.core


def rejection_of(breaker):
    with pytest.raises(CircuitOpenError) as caught:
        breaker.acquire()
    return caught.value


@pytest.fixture(params=["open", "half_open", "forced_open"])
def rejection(request, breaker, clock, fail):
    """A rejection from each state that rejects all, or nearly."""
    fail(breaker, 3, TimeoutError("read timed out"))
    if request.param == "forced_open":
        breaker.force_open()
    if request.param == "half_open":
        clock.advance(10)
        probes = [breaker.acquire(), breaker.acquire()]
        rejection = rejection_of(breaker)
        for probe in probes:
            probe.release()
        return rejection
    return rejection_of(breaker)


def test_the_family():
    assert issubclass(TooManyCallsError, CircuitOpenError)
    assert issubclass(CircuitOpenError, CircuitBreakerError)
    assert issubclass(ConfigurationError, CircuitBreakerError)
    assert issubclass(ConfigurationError, ValueError)
    assert issubclass(CircuitBreakerError, Exception)


def test_only_half_open_says_too_many_calls(rejection):
    assert (type(rejection) is TooManyCallsError) == (rejection.state == "half_open")


def test_a_rejection_carries_the_facts(rejection):
    assert rejection.circuit_name == "netflix"
    expected = None if rejection.state == "forced_open" else "TimeoutError: read timed out"
    assert rejection.last_failure == expected
    assert rejection.retry_after == 10.0


def test_its_message_says_them(rejection):
    text = str(rejection)
    assert f"circuit 'netflix' is {rejection.state}, retry after 10 s" in text
    assert ("; last failure: TimeoutError: read timed out" in text) == (rejection.state != "forced_open")


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_it_pickles_and_copies_unchanged(rejection, again):
    twin = again(rejection)
    assert type(twin) is type(rejection)
    for fact in ("circuit_name", "state", "retry_after", "last_failure", "args"):
        assert getattr(twin, fact) == getattr(rejection, fact)
    assert str(twin) == str(rejection)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_pickles_under_each_protocol(breaker, protocol):
    breaker.force_open()
    twin = pickle.loads(pickle.dumps(rejection_of(breaker), protocol))
    assert (twin.circuit_name, twin.state, twin.retry_after) == ("netflix", "forced_open", 10.0)


def test_the_other_errors_pickle_too():
    with pytest.raises(ConfigurationError) as caught:
        CircuitBreaker("netflix", failure_threshold=0)
    assert pickle.loads(pickle.dumps(caught.value)).args == caught.value.args


def test_a_rejection_keeps_no_exception_and_no_frames(breaker, fail):
    fail(breaker, 3)
    rejection = rejection_of(breaker)
    assert (rejection.__cause__, rejection.__context__) == (None, None)
    assert [type(arg) for arg in rejection.args[2:]] == [float, str]


class TestRetryAfter:
    def test_counts_down_to_the_deadline(self, breaker, clock, fail):
        fail(breaker, 3)
        for left in (10.0, 7.5, 5.0, 2.5):
            assert rejection_of(breaker).retry_after == breaker.metrics().retry_after == left
            clock.advance(2.5)

    def test_is_zero_past_the_deadline(self, breaker, clock, fail):
        fail(breaker, 3)
        clock.advance(1000)
        assert (breaker.state, breaker.metrics().retry_after) == ("open", 0.0)

    def test_in_half_open_is_until_the_first_slot_can_lapse(self, make_breaker, clock, fail):
        breaker = make_breaker(probe_timeout=7)
        fail(breaker, 3)
        clock.advance(10)
        first = breaker.acquire()
        clock.advance(2)
        second = breaker.acquire()
        clock.advance(1)
        assert rejection_of(breaker).retry_after == 4.0
        first.release()
        assert breaker.metrics().retry_after == 0.0
        second.release()

    def test_is_a_hint_when_forced(self, breaker, clock):
        breaker.force_open()
        clock.advance(100)
        assert rejection_of(breaker).retry_after == 10.0

    def test_is_zero_while_calls_are_admitted(self, breaker):
        for administer in (breaker.reset, breaker.disable, breaker.shadow):
            administer()
            assert breaker.metrics().retry_after == 0.0


class UnspeakableError(Exception):
    def __str__(self):
        raise ValueError("no words for it")


class TestLastFailure:
    @pytest.mark.parametrize(
        ("error", "text"),
        [
            (TimeoutError("read timed out"), "TimeoutError: read timed out"),
            (TimeoutError(), "TimeoutError"),
            (KeyError("name"), "KeyError: 'name'"),
            (UnspeakableError(), "UnspeakableError"),
            (ValueError("x" * 300), "ValueError: " + "x" * 188),
            (ExceptionGroup("some", [OSError()]), "ExceptionGroup: some (1 sub-exception)"),
            (None, "failure_if: the returned value counts as a failure"),
        ],
    )
    def test_is_text_of_at_most_200_characters(self, make_breaker, error, text):
        breaker = make_breaker(failure_threshold=1)
        breaker.acquire().failure(error)
        assert rejection_of(breaker).last_failure == text
        assert len(text) <= 200

    def test_of_a_returned_value_does_not_tell_the_value(self, make_breaker):
        breaker = make_breaker(failure_threshold=1, failure_if=lambda value: value == "secret")
        assert breaker(lambda: "secret")() == "secret"
        assert "secret" not in rejection_of(breaker).last_failure

    def test_is_of_the_failure_that_opened_the_circuit(self, breaker, clock):
        for number in range(3):
            breaker.acquire().failure(OSError(number))
        assert rejection_of(breaker).last_failure == "OSError: 2"
        clock.advance(10)
        breaker.acquire().failure(OSError("the probe"))
        assert rejection_of(breaker).last_failure == "OSError: the probe"

    def test_stays_through_half_open(self, breaker, clock, fail):
        fail(breaker, 3)
        clock.advance(10)
        probes = [breaker.acquire(), breaker.acquire()]
        assert rejection_of(breaker).last_failure == "OSError: down"
        assert len(probes) == 2

    def test_is_cleared_by_reset(self, breaker, fail):
        fail(breaker, 3)
        breaker.reset()
        breaker.force_open()
        assert rejection_of(breaker).last_failure is None

    @pytest.mark.parametrize(
        ("describe", "text"),
        [
            (lambda error: f"redacted {type(error).__name__}", "redacted OSError"),
            (lambda _: "x" * 300, "x" * 200),
            (lambda _: 1 / 0, "OSError"),
            (lambda _: UnspeakableError(), "OSError"),
        ],
    )
    def test_can_be_described_otherwise(self, make_breaker, describe, text):
        breaker = make_breaker(failure_threshold=1, describe_failure=describe)
        breaker.acquire().failure(OSError("secret"))
        assert rejection_of(breaker).last_failure == text

    def test_is_made_outside_the_lock(self, make_breaker, in_time):
        """A `__str__` may use the breaker, from any thread."""
        breaker = make_breaker(failure_threshold=1)

        class CuriousError(Exception):
            def __str__(self):
                return str(breaker.metrics().state)

        in_time(breaker.acquire().failure, CuriousError())
        assert rejection_of(breaker).last_failure == "CuriousError: closed"
