from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from circuitry import CircuitBreaker, CircuitFamily, CircuitRegistry, circuit, circuit_of

from .doubles import Naive
from .scenes import python_calls

pytestmark = pytest.mark.core


class Hoarder(Naive):
    """Keeps every listener, and every breaker there ever was."""

    made: list[Any] = []  # noqa: RUF012 - the defect

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.made.append(self)

    def on_transition(self, listener: Callable[[Any], object]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: None

    def events(self) -> Any:
        heard: list[Any] = []
        self.listeners.append(lambda event: heard.append(event))
        return SimpleNamespace(heard=heard)


class HoarderFamily:
    """Keeps a breaker for each key there ever was."""

    def __init__(self) -> None:
        self.members: dict[Any, Naive] = {}

    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(key: Any) -> Any:
            return self.members.setdefault(key, Naive(f"platform[{key}]")).call(fn, key)

        guarded.circuit = self
        return guarded

    def metrics(self) -> dict[str, Any]:
        return {breaker.name: breaker.metrics() for breaker in self.members.values()}


def exhibit_listeners(kind: Any) -> None:
    breaker = kind("netflix")

    def subscribed_and_gone() -> weakref.ref[Any]:
        def listener(event: Any) -> None: ...

        unsubscribe = breaker.on_transition(listener)
        unsubscribe()
        return weakref.ref(listener)

    gone = [subscribed_and_gone() for _ in range(10)]
    gc.collect()
    assert [listener() for listener in gone] == [None] * 10, "listeners that left are kept"


def exhibit_streams(kind: Any) -> None:
    breaker = kind("netflix", failure_threshold=1)

    def change() -> None:
        breaker.acquire().failure(OSError("down"))
        breaker.reset()

    change()
    before = len(python_calls(change))
    for _ in range(100):
        breaker.events()
    gc.collect()
    change()
    after = len(python_calls(change))
    assert after < before + 100, "streams that nobody reads any more are still fed"


def exhibit_breakers(kind: Any) -> None:
    def used_and_dropped() -> weakref.ref[Any]:
        breaker = kind("netflix", failure_threshold=1)
        breaker.on_transition(lambda event: None)
        breaker.acquire().failure(OSError("down"))
        return weakref.ref(breaker)

    dropped = [used_and_dropped() for _ in range(10)]
    gc.collect()
    assert [breaker() for breaker in dropped] == [None] * 10, "breakers that nobody holds are kept"


def exhibit_keys(decorate: Callable[[Any], Any]) -> None:
    guarded = decorate(lambda key: key)
    for key in range(200):
        guarded(key)
    names = set(guarded.circuit.metrics())
    assert len(names) <= 10, "the series of dead keys pile up"
    assert "platform[199]" in names


def test_a_listener_that_left_is_gone() -> None:
    """In opossum and vertx listeners pile up."""
    exhibit_listeners(CircuitBreaker)


def test_a_dropped_stream_of_events_is_fed_no_longer() -> None:
    """The same, where nobody says goodbye."""
    exhibit_streams(CircuitBreaker)


def test_a_dropped_breaker_is_gone() -> None:
    """In opossum each breaker that was ever made is kept by its statistics."""
    exhibit_breakers(CircuitBreaker)


def test_a_decoration_made_again_and_again_leaves_one_breaker(fresh: CircuitRegistry) -> None:
    """Where decorations run in functions, as in a test or a request, each left a breaker behind."""

    def decorated() -> None:
        @circuit
        def fetch() -> None: ...

        fetch()

    for _ in range(10):
        decorated()
    assert len(fresh) == 1


@pytest.mark.usefixtures("fresh")
def test_a_family_is_bounded_and_so_are_its_series() -> None:
    """In resilience4j the registry and its metrics keep a series for each key there ever was."""
    exhibit_keys(circuit("platform", key=lambda key: key, max_keys=10))


@pytest.mark.usefixtures("fresh")
def test_a_family_of_open_circuits_is_bounded_too() -> None:
    """Else an outage with random keys is a leak."""

    @circuit("platform", key=lambda key: key, max_keys=10, failure_threshold=1)
    def fetch(key: int) -> None:
        raise OSError("down")

    for key in range(200):
        with pytest.raises(Exception, match="down"):
            fetch(key)
    assert len(list(circuit_of(fetch, CircuitFamily))) <= 11  # with the one that surplus keys share


def test_the_faulty_double_is_caught() -> None:
    with pytest.raises(AssertionError, match="listeners that left are kept"):
        exhibit_listeners(Hoarder)
    with pytest.raises(AssertionError, match="still fed"):
        exhibit_streams(Hoarder)
    with pytest.raises(AssertionError, match="breakers that nobody holds are kept"):
        exhibit_breakers(Hoarder)
    with pytest.raises(AssertionError, match="dead keys pile up"):
        exhibit_keys(HoarderFamily())
    Hoarder.made.clear()
