"""Checked by mypy and pyright, never run: calls, blocks, permits, events and the registry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import assert_type

from circuitry import (
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitBreakerMetrics,
    CircuitFamily,
    CircuitOpenError,
    CircuitState,
    FailureEvent,
    Permit,
    RejectionEvent,
    TransitionEvent,
    circuit,
    circuit_of,
    registry,
)
from circuitry.testing import ManualClock, disabled, forced, fresh_registry

breaker = CircuitBreaker("own", clock=ManualClock())


def size(title: str, *, region: str = "eu") -> int:
    return len(title + region)


def spare(title: str, *, region: str = "eu") -> int:
    return 0


async def fetch(title: str) -> bytes:
    return title.encode()


def lines(path: str) -> Iterator[str]:
    yield path


# -- Calls -----------------------------------------------------------------------------------------------

assert_type(breaker.call(size, "x", region="us"), int)
assert_type(breaker.call_with_fallback(size, spare, "x", region="us"), int)
assert_type(breaker.call(lines, "x"), Iterator[str])
breaker.call(size, 5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
breaker.call(size)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
breaker.call(size, "x", zone="us")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
breaker.call(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
breaker.call_with_fallback(size, 5, "x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def calls() -> None:
    assert_type(await breaker.call(fetch, "x"), bytes)
    assert_type(await breaker.call_with_fallback(fetch, spare, "x"), bytes)


# -- Blocks ----------------------------------------------------------------------------------------------


def block() -> int:
    """A block swallows nothing, so nothing is missing after it."""
    with circuit("named") as entered:
        assert_type(entered, CircuitBreaker)
        return 1


def own_block() -> int:
    with breaker as entered:
        assert_type(entered, CircuitBreaker)
        return 1


async def async_block() -> int:
    async with circuit("named") as entered:
        assert_type(entered, CircuitBreaker)
        return 1


async def own_async_block() -> int:
    async with breaker as entered:
        assert_type(entered, CircuitBreaker)
        return 1


# -- Two steps -------------------------------------------------------------------------------------------

permit = breaker.acquire()
assert_type(permit, Permit)
permit.success()
permit.failure()
permit.failure(OSError())
permit.release()
permit.failure("text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def two_steps() -> None:
    assert_type(await breaker.acquire_async(), Permit)


def permit_block() -> int:
    with breaker.acquire() as held:
        assert_type(held, Permit)
        return 1


# -- Reading and administration --------------------------------------------------------------------------

assert_type(breaker.name, str)
assert_type(breaker.state, CircuitState)
assert_type(breaker.config, CircuitBreakerConfig)
assert_type(breaker.failure_count, int)
assert_type(breaker.metrics(), CircuitBreakerMetrics)
assert_type(breaker.metrics().retry_after, float)
assert_type(breaker.metrics().shadow_state, CircuitState | None)
breaker.reset()
breaker.force_open()
breaker.disable()
breaker.shadow()
breaker.state = CircuitState.OPEN  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


def rejected() -> None:
    try:
        breaker.call(size, "x")
    except CircuitOpenError as rejection:
        assert_type(rejection.circuit_name, str)
        assert_type(rejection.retry_after, float)
        assert_type(rejection.last_failure, str | None)


# -- Events ----------------------------------------------------------------------------------------------


def on_transition(event: TransitionEvent) -> None:
    assert_type(event.new_state, CircuitState)


def on_rejection(event: RejectionEvent) -> None:
    assert_type(event.retry_after, float)


def on_failure(event: FailureEvent) -> None:
    assert_type(event.error, BaseException | None)


unsubscribe: Callable[[], None] = breaker.on_transition(on_transition)
breaker.on_rejection(on_rejection)
breaker.on_failure(on_failure)
breaker.on_fallback(lambda event: print(event.error))
breaker.on_transition(on_failure)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def events() -> None:
    async for event in breaker.events():
        assert_type(event, TransitionEvent)


# -- What is behind a callable, and the registry ---------------------------------------------------------


@circuit("named")
def guarded(title: str) -> int:
    return len(title)


@circuit("shard", key=str)
def keyed(title: str) -> int:
    return len(title)


assert_type(circuit_of(guarded), CircuitBreaker)
assert_type(circuit_of(keyed, CircuitFamily), CircuitFamily)
assert_type(circuit_of(keyed, CircuitFamily)["x"], CircuitBreaker)
guarded.circuit  # type: ignore[attr-defined]  # pyright: ignore[reportFunctionMemberAccess]
circuit_of(guarded, str)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]

assert_type(registry.get("named"), CircuitBreaker | None)
assert_type(registry["named"], CircuitBreaker)
assert_type(registry.family("shard"), CircuitFamily | None)
assert_type(registry.metrics(), dict[str, CircuitBreakerMetrics])
assert_type("named" in registry, bool)
assert_type(list(registry), list[CircuitBreaker])
registry.get("named").reset()  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]


# -- For tests -------------------------------------------------------------------------------------------


def in_tests() -> int:
    ManualClock().advance(5)
    with forced(breaker, "open"), disabled(), fresh_registry() as fresh:
        fresh.clear()
    with forced("open", breaker):  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        pass
    return 1
