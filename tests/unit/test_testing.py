"""`circuitry.testing`: a clock that waits, states for the length of a block, and a registry of one's own."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from circuitry import (
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitOpenError,
    CircuitRegistry,
    CircuitState,
    TooManyCallsError,
    circuit,
    circuit_of,
    registry,
)
from circuitry.gate import LOCAL
from circuitry.testing import ManualClock, disabled, forced, fresh_registry, reset_registry

pytestmark = [pytest.mark.core, pytest.mark.usefixtures("fresh")]

STATES = tuple(CircuitState)
Fail = Callable[..., None]


def bring(breaker: CircuitBreaker, clock: ManualClock, state: CircuitState) -> None:
    """Bring a breaker to a state in the way that leads there."""
    ways: dict[CircuitState, Callable[[], None]] = {
        CircuitState.CLOSED: breaker.reset,
        CircuitState.FORCED_OPEN: breaker.force_open,
        CircuitState.DISABLED: breaker.disable,
        CircuitState.SHADOW: breaker.shadow,
    }
    if state in ways:
        ways[state]()
        return
    for _ in range(breaker.config.failure_threshold):
        breaker.acquire().failure(OSError("down"))
    if state is CircuitState.HALF_OPEN:
        clock.advance(breaker.config.timeout_duration)
        breaker.acquire().success()
    assert breaker.state is state


def admits(breaker: CircuitBreaker) -> bool:
    state = breaker.state
    try:
        breaker.acquire().release()
    except CircuitOpenError as rejection:
        return rejection.state != state
    return True


# -- The clock -----------------------------------------------------------------------------------------


def test_the_clock_stands_until_it_is_told_to_go_on() -> None:
    clock = ManualClock()
    assert [clock(), clock()] == [0.0, 0.0]
    clock.advance(1.5)
    clock.advance(timedelta(minutes=1))
    clock.advance(0)
    assert clock() == 61.5


def test_the_clock_may_begin_anywhere() -> None:
    assert ManualClock(-5)() == -5.0
    assert repr(ManualClock(7)) == "ManualClock(7.0)"


@pytest.mark.parametrize("seconds", [-1, -0.001, -math.inf, math.nan, timedelta(seconds=-1)], ids=repr)
def test_time_does_not_go_back(seconds: float | timedelta) -> None:
    clock = ManualClock(5)
    with pytest.raises(ValueError, match="must be >= 0"):
        clock.advance(seconds)
    assert clock() == 5.0


def test_threads_may_advance_one_clock() -> None:
    clock = ManualClock()
    with ThreadPoolExecutor(8) as pool:
        for _ in range(800):
            pool.submit(clock.advance, 1)
    assert clock() == 800.0


def test_a_breaker_goes_by_the_clock(breaker: CircuitBreaker, clock: ManualClock, fail: Fail) -> None:
    fail(breaker, 3)
    clock.advance(9.999)
    assert not admits(breaker)
    clock.advance(0.001)
    assert admits(breaker)


# -- forced --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("origin", "state"), list(itertools.product(STATES, STATES)))
def test_forced_is_in_the_state_and_back_again(
    origin: CircuitState, state: CircuitState, breaker: CircuitBreaker, clock: ManualClock
) -> None:
    bring(breaker, clock, origin)
    before, admitted = breaker.metrics(), admits(breaker)
    with forced(breaker, state):
        assert breaker.state is state
        assert admits(breaker) == (state not in ("open", "forced_open"))
    after = breaker.metrics()
    for field in (
        "state",
        "failure_count",
        "success_count",
        "half_open_calls",
        "retry_after",
        "shadow_state",
    ):
        assert getattr(after, field) == getattr(before, field)
    assert admits(breaker) == admitted


@pytest.mark.parametrize("state", [state.value for state in STATES])
def test_a_state_may_be_named_by_text(state: str, breaker: CircuitBreaker) -> None:
    with forced(breaker, state):
        assert breaker.state == state


@pytest.mark.parametrize("state", ["nope", "", "OPEN", None, 5], ids=repr)
def test_there_are_no_other_states(state: Any, breaker: CircuitBreaker) -> None:
    with pytest.raises(ValueError), forced(breaker, state):
        pass
    assert breaker.state == "closed"


def test_a_streak_is_where_it_was(breaker: CircuitBreaker, fail: Fail) -> None:
    fail(breaker, 2)
    with forced(breaker, "closed"):
        assert breaker.failure_count == 0
        fail(breaker, 1)
    assert breaker.failure_count == 2
    fail(breaker, 1)
    assert breaker.state == "open"


def test_the_deadline_is_where_it_was(breaker: CircuitBreaker, clock: ManualClock, fail: Fail) -> None:
    fail(breaker, 3)
    clock.advance(4)
    with forced(breaker, "closed"):
        clock.advance(4)
    assert breaker.metrics().retry_after == 2.0
    clock.advance(2)
    assert admits(breaker)


def test_in_the_block_the_circuit_goes_its_way(breaker: CircuitBreaker, clock: ManualClock) -> None:
    with forced(breaker, "open"):
        clock.advance(10)
        breaker.acquire().success()
        breaker.acquire().success()
        assert breaker.state == "closed"
    with forced(breaker, "half_open"):
        permits = [breaker.acquire() for _ in range(2)]
        with pytest.raises(TooManyCallsError):
            breaker.acquire()
        permits[0].failure()
        assert breaker.state == "open"
    assert breaker.state == "closed"


def test_listeners_hear_nothing_of_it(breaker: CircuitBreaker) -> None:
    heard: list[object] = []
    breaker.on_transition(heard.append)
    with forced(breaker, "open"), forced(breaker, "disabled"):
        pass
    assert heard == []


def test_blocks_may_be_nested(breaker: CircuitBreaker) -> None:
    with forced(breaker, "open"):
        with forced(breaker, "half_open"):
            assert breaker.state == "half_open"
        assert breaker.state == "open"
    assert breaker.state == "closed"


def test_an_exception_ends_the_block_like_anything_else(breaker: CircuitBreaker) -> None:
    with pytest.raises(LookupError), forced(breaker, "open"):
        raise LookupError
    assert breaker.state == "closed"


@pytest.mark.parametrize("state", ["closed", "half_open"])
def test_a_call_from_the_block_counts_nowhere_outside(state: str, make_breaker: Any) -> None:
    breaker = make_breaker(failure_threshold=1, success_threshold=1)
    with forced(breaker, state):
        failing, succeeding = breaker.acquire(), breaker.acquire()
    with forced(breaker, state):
        failing.failure()
        succeeding.success()
        assert breaker.state == state
    assert (breaker.state, breaker.failure_count) == ("closed", 0)


def test_a_permit_dropped_in_the_block_is_forgotten_there(breaker: CircuitBreaker) -> None:
    with forced(breaker, "half_open"):
        breaker.acquire()
    assert breaker.metrics().ignored == 1
    assert breaker.state == "closed"


# -- disabled ------------------------------------------------------------------------------------------


def test_disabled_holds_for_every_breaker_there_is(clock: ManualClock, fail: Fail) -> None:
    own, named = (
        CircuitBreaker("own", failure_threshold=1),
        registry.get_or_create("named", failure_threshold=1),
    )
    member = registry.get_or_create_family("shard", failure_threshold=1)["eu"]
    fail(own)
    with disabled():
        for breaker in (own, named, member):
            fail(breaker, 3)
            assert breaker.state == "disabled"
    assert [breaker.state for breaker in (own, named, member)] == ["open", "closed", "closed"]


def test_breakers_made_in_the_block_work_as_ever(fail: Fail) -> None:
    with disabled():
        breaker = CircuitBreaker("new", failure_threshold=1)
        fail(breaker)
        assert breaker.state == "open"
    assert breaker.state == "open"


def test_disabled_may_be_nested_and_left_by_an_exception(breaker: CircuitBreaker) -> None:
    with pytest.raises(LookupError), disabled(), disabled():
        raise LookupError
    assert breaker.state == "closed"


# -- A registry of one's own ---------------------------------------------------------------------------


def test_a_fresh_registry_is_empty_and_the_old_one_comes_back() -> None:
    outer = registry.get_or_create("netflix", failure_threshold=77)
    with fresh_registry() as inside:
        assert inside is registry
        assert list(registry) == []
        inner = registry.get_or_create("netflix", failure_threshold=3)
        with fresh_registry():
            assert "netflix" not in registry
        assert registry["netflix"] is inner
    assert list(registry) == [outer]


def test_a_fresh_registry_is_left_by_an_exception_too() -> None:
    outer = registry.get_or_create("netflix")
    with pytest.raises(LookupError), fresh_registry():
        raise LookupError
    assert registry["netflix"] is outer


def test_what_was_decorated_outside_keeps_its_circuit() -> None:
    guarded = circuit("netflix")(lambda: 42)
    breaker = circuit_of(guarded)
    with fresh_registry():
        assert guarded() == 42
        assert circuit_of(guarded) is breaker
        assert registry.get_or_create("netflix") is not breaker


def test_presets_and_a_store_of_a_fresh_registry_are_gone_with_it() -> None:
    class Store:
        def gate(self, breaker: CircuitBreaker) -> Any:
            asked.append(breaker.name)
            return LOCAL

    asked: list[str] = []
    with fresh_registry():
        registry.add_preset("llm", CircuitBreakerConfig())
        registry.configure(store=Store())
        registry.get_or_create("inside", preset="llm")
    registry.add_preset("llm", CircuitBreakerConfig(failure_threshold=2))
    registry.get_or_create("outside")
    with fresh_registry():
        registry.get_or_create("again inside", preset="llm")
    assert asked == ["inside"]


def test_another_registry_may_be_emptied_too() -> None:
    other = CircuitRegistry()
    here, there = registry.get_or_create("here"), other.get_or_create("there")
    with fresh_registry(other) as inside:
        assert inside is other
        assert list(other) == []
        assert list(registry) == [here]
    assert list(other) == [there]
    reset_registry(other)
    assert list(other) == []
    assert list(registry) == [here]


def test_reset_registry_forgets_every_name() -> None:
    guarded = circuit("netflix", failure_threshold=77)(lambda: 42)
    reset_registry()
    assert list(registry) == []
    assert guarded() == 42
    assert registry.get_or_create("netflix", failure_threshold=3) is not circuit_of(guarded)
