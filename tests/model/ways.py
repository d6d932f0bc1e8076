"""The ways in which one thread can make a call through a breaker.

Those of `SYNC` begin a call and give the function that ends it, at any later time; those of
`SHORT` do it at once, and end by raising `error` if there is one.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any

from circuitry import CircuitBreaker
from circuitry.states import Outcome

SUCCESS, FAILURE, IGNORED = Outcome.SUCCESS, Outcome.FAILURE, Outcome.IGNORED


class UnavailableError(Exception):
    """A failure."""


class ExcludedError(Exception):
    """What the breaker's settings exclude."""


class Interrupted(BaseException):
    """What is no `Exception`, like Ctrl-C."""


def error_of(outcome: Outcome, cause: str) -> Exception | None:
    """What the guarded function raises so that its call ends like this."""
    return {SUCCESS: None, FAILURE: UnavailableError(cause), IGNORED: ExcludedError()}[outcome]


End = Callable[[Outcome, str], None]


# -- Begun now, ended later --------------------------------------------------------------------------


def permit(breaker: CircuitBreaker) -> End:
    held = breaker.acquire()

    def end(outcome: Outcome, cause: str) -> None:
        if outcome is SUCCESS:
            held.success()
        elif outcome is FAILURE:
            held.failure(UnavailableError(cause))
        else:
            held.release()

    return end


def permit_dropped_if_ignored(breaker: CircuitBreaker) -> End:
    kept = [breaker.acquire()]

    def end(outcome: Outcome, cause: str) -> None:
        held = kept.pop()
        if outcome is SUCCESS:
            held.success()
        elif outcome is FAILURE:
            held.failure(UnavailableError(cause))

    return end


def permit_as_block(breaker: CircuitBreaker) -> End:
    def block() -> Generator[None]:
        with breaker.acquire():
            yield

    return resumed(block())


def block(breaker: CircuitBreaker) -> End:
    def block() -> Generator[None]:
        with breaker:
            yield

    return resumed(block())


def stream(breaker: CircuitBreaker) -> End:
    @breaker
    def stream() -> Generator[None]:
        yield

    return resumed(stream())


def stream_left_if_succeeded(breaker: CircuitBreaker) -> End:
    @breaker
    def stream() -> Generator[None]:
        yield

    held = stream()
    next(held)

    def end(outcome: Outcome, cause: str) -> None:
        if outcome is SUCCESS:
            held.close()
        else:
            throw(held, outcome, cause)

    return end


def coroutine(breaker: CircuitBreaker) -> End:
    @breaker
    async def work() -> None:
        await pause()

    return resumed(work().__await__())


def function_that_returns_a_coroutine(breaker: CircuitBreaker) -> End:
    async def work() -> None:
        await pause()

    return resumed(breaker.call(lambda: work()).__await__())


def resumed(held: Generator[Any, Any, Any]) -> End:
    """Start it, and end it later by letting it run on, or by what is raised in it."""
    next(held)

    def end(outcome: Outcome, cause: str) -> None:
        if outcome is SUCCESS:
            next(held, None)
        else:
            throw(held, outcome, cause)

    return end


def throw(held: Generator[Any, Any, Any], outcome: Outcome, cause: str) -> None:
    try:
        held.throw(UnavailableError(cause) if outcome is FAILURE else Interrupted())
    except (UnavailableError, Interrupted):
        pass


@types.coroutine
def pause() -> Generator[None]:
    """Wait until somebody resumes the coroutine by hand."""
    yield


# -- Whole calls -----------------------------------------------------------------------------------


def call(breaker: CircuitBreaker, error: Exception | None) -> None:
    breaker.call(ends, error)


def decorated(breaker: CircuitBreaker, error: Exception | None) -> None:
    breaker(ends)(error)


def with_statement(breaker: CircuitBreaker, error: Exception | None) -> None:
    with breaker:
        ends(error)


def whole_stream(breaker: CircuitBreaker, error: Exception | None) -> None:
    @breaker
    def stream() -> Generator[None]:
        yield
        ends(error)

    for _ in stream():
        pass


def stream_left(breaker: CircuitBreaker, error: Exception | None) -> None:
    @breaker
    def stream() -> Generator[None]:
        ends(error)
        yield

    with closing(stream()) as items:
        next(items)


def ends(error: Exception | None) -> None:
    if error is not None:
        raise error


SYNC = (
    permit,
    permit_dropped_if_ignored,
    permit_as_block,
    block,
    stream,
    stream_left_if_succeeded,
    coroutine,
    function_that_returns_a_coroutine,
)
SHORT = (call, decorated, with_statement, whole_stream, stream_left)
