from __future__ import annotations

import pickle
from typing import Any

import pytest

from circuitry import CircuitBreaker, CircuitOpenError, TooManyCallsError

from .doubles import Naive
from .scenes import Scene, error_of

pytestmark = pytest.mark.core


class Bare(Naive):
    def rejection(self) -> Exception:
        return CircuitOpenError("circuit open", "open", 0.0, None)


class TakesTwoError(CircuitOpenError):
    """Pickle hands `args` to `__init__`, which wants something else."""

    def __init__(self, breaker: Naive, left: float) -> None:
        super().__init__(breaker.name, breaker.state, left, breaker.last_failure)


class Unpicklable(Naive):
    def rejection(self) -> Exception:
        return TakesTwoError(self, self.deadline - self.clock())


class Masks(Naive):
    def ended(self, admission: Any, error: BaseException | None) -> None:
        super().ended(admission, error)
        if self.state == "open":
            raise self.rejection() from error


DOWN = TimeoutError("read timed out")


def down() -> None:
    raise DOWN


def exhibit(kind: Any, colour: Any, state: str = "open") -> None:
    scene = Scene(kind, colour, failure_threshold=1)
    first = error_of(colour, scene.breaker.call, colour.function(down))
    assert first is DOWN, "the exception that tripped the circuit is masked"
    if state == "half_open":
        scene.wait()
        probe = scene.permit()
    else:
        scene.wait(1)
    rejection = scene.rejection()
    told = (rejection.circuit_name, rejection.state, rejection.retry_after, rejection.last_failure)
    left = 9.0 if state == "open" else 10.0
    expected = ("netflix", state, left, "TimeoutError: read timed out")
    assert told == expected, "the rejection carries no name, time or cause"
    assert "netflix" in str(rejection)
    assert "read timed out" in str(rejection)
    check_pickle(rejection)
    if state == "half_open":
        probe.release()


def check_pickle(rejection: CircuitOpenError) -> None:
    try:
        copy = pickle.loads(pickle.dumps(rejection))
    except TypeError as error:
        raise AssertionError("the rejection doesn't unpickle") from error
    assert (type(copy), copy.args, str(copy)) == (type(rejection), rejection.args, str(rejection))


def test_a_rejection_carries_name_time_and_cause_and_pickles(colour: Any) -> None:
    """Five libraries carry none of them, circuitbreaker's doesn't unpickle, and pybreaker and aiobreaker
    raise it in place of the exception that tripped the circuit.
    """
    exhibit(CircuitBreaker, colour)


def test_so_does_one_for_want_of_a_probe(colour: Any) -> None:
    """The same in half_open; and who catches CircuitOpenError has caught it."""
    exhibit(CircuitBreaker, colour, "half_open")
    check_pickle(TooManyCallsError("netflix", "half_open", 1.0, None))


@pytest.mark.parametrize(
    ("double", "symptom"),
    [(Bare, "no name, time or cause"), (Unpicklable, "doesn't unpickle"), (Masks, "is masked")],
)
def test_the_faulty_double_is_caught(colour: Any, double: Any, symptom: str) -> None:
    with pytest.raises(AssertionError, match=symptom):
        exhibit(double, colour)
