"""The breaker under an event loop: each call in flight is a task of its own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import Future
from contextlib import aclosing
from typing import Any

import anyio
from anyio.abc import TaskStatus
from anyio.from_thread import BlockingPortal

from circuitry import CircuitBreaker
from circuitry.states import CircuitState, Outcome

from .drivers import BreakerDriver, End
from .reference import Rules
from .ways import FAILURE, IGNORED, UnavailableError, ends, error_of


class Work:
    """What a guarded function does: it says that it has begun, and waits to be told how to end."""

    def __init__(self, status: TaskStatus[None]) -> None:
        self._status = status
        self._told = anyio.Event()
        self._error: Exception | None = None
        self.scope = anyio.CancelScope()

    async def __call__(self) -> None:
        self._status.started()
        await self._told.wait()
        ends(self._error)

    def tell(self, outcome: Outcome, cause: str) -> None:
        """End it; what is ignored, by cancellation."""
        if outcome is IGNORED:
            self.scope.cancel()
        else:
            self._error = error_of(outcome, cause)
            self._told.set()


# -- Begun now, ended later ----------------------------------------------------------------------------


async def acquire_async(breaker: CircuitBreaker, work: Work) -> None:
    permit = await breaker.acquire_async()
    try:
        await work()
    except UnavailableError as error:
        permit.failure(error)
    except BaseException:
        permit.release()
        raise
    else:
        permit.success()


async def decorated(breaker: CircuitBreaker, work: Work) -> None:
    @breaker
    async def guarded() -> None:
        await work()

    await guarded()


async def call(breaker: CircuitBreaker, work: Work) -> None:
    await breaker.call(work.__call__)


async def function_that_returns_a_coroutine(breaker: CircuitBreaker, work: Work) -> None:
    await breaker.call(lambda: work())


async def block(breaker: CircuitBreaker, work: Work) -> None:
    async with breaker:
        await work()


async def sync_block(breaker: CircuitBreaker, work: Work) -> None:
    with breaker:
        await work()


async def stream(breaker: CircuitBreaker, work: Work) -> None:
    @breaker
    async def guarded() -> AsyncGenerator[None]:
        yield
        await work()

    async with aclosing(guarded()) as items:
        async for _ in items:
            pass


async def stream_left_if_succeeded(breaker: CircuitBreaker, work: Work) -> None:
    @breaker
    async def guarded() -> AsyncGenerator[None]:
        await work()
        yield

    async with aclosing(guarded()) as items:
        await anext(items)


# -- Whole calls ---------------------------------------------------------------------------------------


async def whole_call(breaker: CircuitBreaker, error: Exception | None) -> None:
    async def guarded() -> None:
        await anyio.lowlevel.checkpoint()
        ends(error)

    await breaker(guarded)()


async def whole_block(breaker: CircuitBreaker, error: Exception | None) -> None:
    async with breaker:
        ends(error)


async def whole_permit(breaker: CircuitBreaker, error: Exception | None) -> None:
    with await breaker.acquire_async():
        ends(error)


Way = Callable[[CircuitBreaker, Work], Awaitable[None]]


class AsyncDriver(BreakerDriver):
    """A breaker, used by tasks of the event loop behind `portal`."""

    ways = (
        acquire_async,
        decorated,
        call,
        function_that_returns_a_coroutine,
        block,
        sync_block,
        stream,
        stream_left_if_succeeded,
    )
    short = (whole_call, whole_block, whole_permit)

    def __init__(
        self, rules: Rules, initial: CircuitState, portal: BlockingPortal, *, shared: bool = False
    ) -> None:
        super().__init__(rules, initial, shared=shared)
        self.portal = portal
        self.running: dict[Work, Future[Any]] = {}

    def _begin(self, way: Way) -> End:
        async def task(*, task_status: TaskStatus[None]) -> None:
            work.append(Work(task_status))
            with work[0].scope:
                await way(self.breaker, work[0])

        work: list[Work] = []
        future, _ = self.portal.start_task(task)
        self.running[work[0]] = future
        return lambda outcome, cause: self._end(work[0], outcome, cause)

    def _end(self, work: Work, outcome: Outcome, cause: str) -> None:
        future = self.running.pop(work)
        self.portal.call(work.tell, outcome, cause)
        error = future.exception(timeout=10)
        assert error is None or (outcome is FAILURE and isinstance(error, UnavailableError)), error

    def _run(self, way: Callable[..., Awaitable[None]], outcome: Outcome, cause: str) -> None:
        self.portal.call(way, self.breaker, error_of(outcome, cause))

    def stop(self) -> None:
        for work in list(self.running):
            self._end(work, IGNORED, "")
