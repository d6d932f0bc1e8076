"""What every test may ask for."""

from __future__ import annotations

import functools
import os
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, settings

from circuitry import CircuitBreaker, CircuitRegistry, Permit
from circuitry.testing import ManualClock, fresh_registry

# Test data doesn't depend on the machine's speed; `HYPOTHESIS_PROFILE=thorough` looks longer.
_CALM = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("quick", max_examples=50, derandomize=True, database=None, **_CALM)
settings.register_profile("thorough", max_examples=2000, **_CALM)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

MakeBreaker = Callable[..., CircuitBreaker]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Async tests (`pytestmark = pytest.mark.anyio`, or beside each) run on both."""
    return request.param


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands until it is told to go on. It starts at a number that isn't 0."""
    return ManualClock(1000.0)


@pytest.fixture
def make_breaker(clock: ManualClock) -> MakeBreaker:
    """Make a breaker on `clock`: 3 failures open it for 10 s, 2 successes of at most 2 probes close it."""

    def make(name: str = "netflix", **given: Any) -> CircuitBreaker:
        numbers = {
            "failure_threshold": 3,
            "success_threshold": 2,
            "timeout_duration": 10.0,
            "half_open_max_calls": 2,
        }
        ours = {} if "config" in given or "preset" in given else numbers
        return CircuitBreaker(name, **{"clock": clock, **ours, **given})

    return make


@pytest.fixture
def breaker(make_breaker: MakeBreaker) -> CircuitBreaker:
    """A breaker by the name "netflix", as `make_breaker` makes them."""
    return make_breaker()


@pytest.fixture
def fresh() -> Iterator[CircuitRegistry]:
    """The global registry, empty for this test, and put back after it."""
    with fresh_registry() as registry:
        yield registry


@pytest.fixture
def in_time() -> Callable[..., Any]:
    """Give what a function returns, and fail where it hangs: `in_time(fn, *args)`."""

    def run(fn: Callable[..., Any], *args: Any) -> Any:
        results: list[Any] = []
        thread = threading.Thread(target=lambda: results.append(fn(*args)), daemon=True)
        thread.start()
        thread.join(20)
        assert results, f"{fn!r} hangs, or has raised"
        return results[0]

    return run


@pytest.fixture
def fail() -> Callable[..., None]:
    """Make a breaker see failures: `fail(breaker)`, `fail(breaker, 3)`."""

    def failing(breaker: CircuitBreaker, times: int = 1, error: Exception | None = None) -> None:
        for _ in range(times):
            breaker.acquire().failure(error or OSError("down"))

    return failing


class Draws:
    """What `random.random` gives: always the same, until told otherwise; and how often it was asked."""

    def __init__(self) -> None:
        self.next = 0.0
        self.asked = 0

    def __call__(self) -> float:
        self.asked += 1
        return self.next


@pytest.fixture
def draws(monkeypatch: pytest.MonkeyPatch) -> Draws:
    """The draws are 0, so that every call is shed where any is."""
    draws = Draws()
    monkeypatch.setattr(random, "random", draws)
    return draws


class Colour:
    """One colour of code: sync, or async on one of the two event loops.

    A scenario that makes sense in both is written once, in terms of this.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_async = name != "sync"

    def function(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """`fn` as a function of this colour."""
        if not self.is_async:
            return fn

        async def coloured(*args: Any, **kwargs: Any) -> Any:
            return fn(*args, **kwargs)

        return coloured

    def stream(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """The generator function `fn` as one of this colour."""
        if not self.is_async:
            return fn

        async def coloured(*args: Any, **kwargs: Any) -> Any:
            for item in fn(*args, **kwargs):
                yield item

        return coloured

    def run(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call `fn`, which has this colour, and wait for its result."""
        if not self.is_async:
            return fn(*args, **kwargs)
        return anyio.run(functools.partial(fn, *args, **kwargs), backend=self.name)

    def collect(self, fn: Callable[..., Any], *args: Any) -> list[Any]:
        """All items of a stream of this colour."""
        if not self.is_async:
            return list(fn(*args))

        async def items() -> list[Any]:
            return [item async for item in fn(*args)]

        return self.run(items)

    def block(self, manager: Any, body: Callable[[Any], Any] = lambda entered: entered) -> Any:
        """What `body` makes of what a block of this colour gives."""
        if not self.is_async:
            with manager as entered:
                return body(entered)

        async def inside() -> Any:
            async with manager as entered:
                return body(entered)

        return self.run(inside)

    def acquire(self, breaker: CircuitBreaker) -> Permit:
        """A permit, by the way of this colour."""
        return self.run(breaker.acquire_async if self.is_async else breaker.acquire)


@pytest.fixture(params=["sync", "asyncio", "trio"])
def colour(request: pytest.FixtureRequest) -> Colour:
    """Run the scenario in each colour."""
    return Colour(request.param)
