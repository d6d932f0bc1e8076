from __future__ import annotations

import functools
from typing import Any

import pytest

from circuitry import CircuitBreaker, CircuitFamily, circuit, circuit_of

from .doubles import Latch, Naive
from .scenes import Scene, error_of, in_time

pytestmark = pytest.mark.core


class AsksUnderTheLock(Naive):
    def __init__(self, *args: Any, **settings: Any) -> None:
        self.lock = Latch()
        super().__init__(*args, **settings)

    def ended(self, admission: Any, error: BaseException | None) -> None:
        with self.lock:
            super().ended(admission, error)

    def metrics(self) -> Any:
        with self.lock:
            return super().metrics()


class TalkativeError(Exception):
    """Looks the circuit up when it is printed."""

    def __init__(self, breaker: Any) -> None:
        self.breaker = breaker
        self.asked: list[str] = []

    def __str__(self) -> str:
        self.asked.append(str(self.breaker.metrics().state))
        return f"while {self.asked[0]}"


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("can't say")


def exhibit(kind: Any, colour: Any) -> None:
    scene = Scene(kind, colour, failure_threshold=1)
    error = TalkativeError(scene.breaker)
    raised = fail_with(scene, error)
    assert raised is error
    assert error.asked
    assert scene.state == "open"
    assert "TalkativeError: while" in str(scene.rejection())


def exhibit_error(kind: Any, colour: Any) -> None:
    scene = Scene(kind, colour, failure_threshold=1)
    error = UnprintableError()
    raised = fail_with(scene, error)
    assert raised is error, "an error in str() of the user's error hides it"
    assert scene.state == "open", "an error in str() of the user's error keeps the circuit closed"
    assert scene.rejection().last_failure == "UnprintableError"


def fail_with(scene: Scene, error: Exception) -> BaseException | None:
    def backend() -> None:
        raise error

    call = functools.partial(error_of, scene.colour, scene.breaker.call, scene.colour.function(backend))
    raised = in_time(call, "str() of the user's error waits for the lock that its own thread holds")
    if isinstance(raised, AssertionError):
        raise raised
    return raised


def test_the_text_of_an_error_is_made_outside_the_lock(colour: Any) -> None:
    """Found while planning: an exception's `__str__` is the user's code, with side effects of its own."""
    exhibit(CircuitBreaker, colour)


def test_an_error_that_has_no_text_opens_the_circuit_too(colour: Any) -> None:
    """Found while planning, too: `__str__` may raise."""
    exhibit_error(CircuitBreaker, colour)


@pytest.mark.usefixtures("fresh")
def test_the_text_of_a_key_is_made_outside_the_lock_of_its_family() -> None:
    """The same for the keys of a family: a member is named after its key."""

    class Key:
        def __str__(self) -> str:
            return f"one beside {family['another'].name}, of {len(list(family))}"

    @circuit("platform", key=lambda key: key)
    def fetch(key: object) -> object:
        return key

    family = circuit_of(fetch, CircuitFamily)
    in_time(lambda: fetch(Key()), "str() of the user's key waits for the lock that its own thread holds")
    assert len(family) == 2


def test_the_faulty_double_is_caught(colour: Any) -> None:
    with pytest.raises(AssertionError, match="deadlock"):
        exhibit(AsksUnderTheLock, colour)
    with pytest.raises(AssertionError, match="hides it"):
        exhibit_error(AsksUnderTheLock, colour)
