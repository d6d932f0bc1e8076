from __future__ import annotations

import functools
from typing import Any

import pytest

from circuitry import CircuitBreaker

from .doubles import Latch, Naive
from .scenes import Scene, error_of, fails, in_time

pytestmark = pytest.mark.core


class TellsUnderTheLock(Naive):
    def __init__(self, *args: Any, **settings: Any) -> None:
        self.lock = Latch()
        super().__init__(*args, **settings)

    def ended(self, admission: Any, error: BaseException | None) -> None:
        with self.lock:
            super().ended(admission, error)

    def metrics(self) -> Any:
        with self.lock:
            return super().metrics()


def exhibit(kind: Any, colour: Any) -> None:
    scene = Scene(kind, colour, failure_threshold=1)
    heard: list[str] = []

    def listener(event: Any) -> None:
        heard.append(str(scene.breaker.metrics().state))
        if event.new_state == "open":
            scene.breaker.reset()
            scene.breaker.acquire().success()

    scene.breaker.on_transition(listener)
    call = functools.partial(error_of, colour, scene.breaker.call, colour.function(fails))
    error = in_time(call, "a listener that calls back into the breaker waits for ever")
    assert isinstance(error, OSError), error
    assert heard == ["open", "closed"]


def exhibit_other_news(kind: Any, colour: Any) -> None:
    breaker = kind("netflix", failure_threshold=1, fallback_value="cached")
    heard: list[str] = []
    for subscribe in (breaker.on_failure, breaker.on_rejection, breaker.on_fallback):
        subscribe(lambda event: heard.append(f"{type(event).__name__} {breaker.metrics().state}"))

    def calls() -> None:
        breaker.acquire().failure(OSError("down"))
        colour.run(breaker(colour.function(fails)))

    in_time(calls, "a listener that calls back into the breaker waits for ever")
    assert heard == ["FailureEvent open", "RejectionEvent open", "FallbackEvent open"]


def test_a_listener_may_call_back_into_the_breaker(colour: Any) -> None:
    """In gobreaker it deadlocks, since listeners are called under the mutex."""
    exhibit(CircuitBreaker, colour)


def test_listeners_to_other_news_may_call_back_too(colour: Any) -> None:
    """The same, for failures, rejections and fallbacks."""
    exhibit_other_news(CircuitBreaker, colour)


def test_the_faulty_double_is_caught(colour: Any) -> None:
    with pytest.raises(AssertionError, match="deadlock"):
        exhibit(TellsUnderTheLock, colour)
