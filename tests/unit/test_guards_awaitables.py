"""A plain function that returns what goes on after it: guarded until that ends."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import inspect
import threading
import warnings

import anyio
import pytest
from anyio.lowlevel import checkpoint

from circuitry import CircuitOpenError

pytestmark = pytest.mark.core


def counts(breaker):
    metrics = breaker.metrics()
    return metrics.successes, metrics.failures, metrics.ignored


async def answer(value="answer", error=None):
    await checkpoint()
    if error is not None:
        raise error
    return value


def pending():
    return concurrent.futures.Future()


@pytest.mark.anyio
class TestCoroutines:
    async def test_the_outcome_is_that_of_the_coroutine(self, breaker):
        guarded = breaker(lambda *args: answer(*args))
        assert await guarded("value") == "value"
        with pytest.raises(OSError, match="down"):
            await guarded("value", OSError("down"))
        assert counts(breaker) == (1, 1, 0)

    async def test_a_coroutine_comes_back(self, breaker):
        coroutine = breaker(lambda: answer())()
        assert inspect.iscoroutine(coroutine)
        await coroutine

    async def test_nothing_is_counted_before_it_ends(self, breaker):
        coroutine = breaker(lambda: answer())()
        assert breaker.metrics().calls == 0
        await coroutine
        assert breaker.metrics().calls == 1

    async def test_the_permit_is_taken_by_the_call(self, breaker, clock, fail):
        guarded = breaker(lambda: answer())
        fail(breaker, 3)
        clock.advance(10)
        waiting = [guarded(), guarded()]
        with pytest.raises(CircuitOpenError):
            guarded()
        for coroutine in waiting:
            await coroutine
        assert breaker.state == "closed"

    async def test_cancelled_is_ignored(self, breaker):
        with anyio.move_on_after(0):
            await breaker(lambda: anyio.sleep(60))()
        assert counts(breaker) == (0, 0, 1)

    async def test_its_result_can_be_a_failure(self, make_breaker):
        breaker = make_breaker(failure_if=lambda value: value == "bad")
        assert await breaker(lambda: answer("bad"))() == "bad"
        assert counts(breaker) == (0, 1, 0)

    async def test_its_failure_can_be_excluded(self, make_breaker):
        breaker = make_breaker(exclude=OSError)
        with pytest.raises(OSError):
            await breaker(lambda: answer("", OSError()))()
        assert counts(breaker) == (0, 0, 1)

    async def test_a_fallback_stands_in_for_its_failure(self, make_breaker):
        breaker = make_breaker(fallback=lambda *_: "cached", fallback_on=OSError)
        guarded = breaker(lambda *args: answer(*args))
        assert await guarded("", OSError("down")) == "cached"
        assert breaker.metrics().fallbacks == 1

    async def test_a_fallback_stands_in_for_a_rejection_and_gives_an_awaitable(self, make_breaker):
        breaker = make_breaker(fallback=lambda: answer("cached"))
        breaker.force_open()
        assert await breaker(lambda: answer())() == "cached"

    async def test_a_function_that_returns_both_kinds_is_guarded_for_both(self, breaker):
        guarded = breaker(lambda kind: answer("later", OSError()) if kind == "later" else "now")
        for kind in ("now", "later", "now", "later"):
            result = guarded(kind)
            if kind == "later":
                with pytest.raises(OSError):
                    await result
        assert counts(breaker) == (2, 2, 0)


def test_a_coroutine_that_is_never_awaited_is_ignored(breaker):
    coroutine = breaker(lambda: answer())()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        del coroutine
        gc.collect()
    assert counts(breaker) == (0, 0, 1)


def test_a_coroutine_closed_unawaited_warns_no_more_than_unguarded(breaker):
    """As a task does that is cancelled before its first step."""
    coroutine = breaker(lambda: answer())()
    coroutine.close()
    del coroutine
    gc.collect()
    assert counts(breaker) == (0, 0, 1)


def test_a_task_cancelled_before_its_first_step_is_ignored(breaker):
    async def main():
        task = asyncio.create_task(breaker(lambda: answer())())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    gc.collect()
    assert counts(breaker) == (0, 0, 1)


class TestTasksAndFutures:
    def test_a_task_is_returned_itself(self, breaker):
        async def main():
            task = asyncio.create_task(answer())
            assert breaker(lambda: task)() is task
            await task
            await asyncio.sleep(0)

        asyncio.run(main())
        assert counts(breaker) == (1, 0, 0)

    @pytest.mark.parametrize(("error", "counted"), [(OSError("down"), (0, 1, 0)), (LookupError(), (0, 0, 1))])
    def test_a_failed_task_is_judged(self, make_breaker, error, counted):
        breaker = make_breaker(exclude=LookupError)

        async def main():
            with pytest.raises(type(error)):
                await breaker(lambda: asyncio.create_task(answer("", error)))()
            await asyncio.sleep(0)

        asyncio.run(main())
        assert counts(breaker) == counted

    def test_a_cancelled_task_is_ignored(self, breaker):
        async def main():
            task = breaker(lambda: asyncio.create_task(asyncio.sleep(60)))()
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.sleep(0)

        asyncio.run(main())
        assert counts(breaker) == (0, 0, 1)

    def test_a_forgotten_error_is_still_reported_by_asyncio(self, breaker):
        """Watching a future must not tell asyncio that somebody has seen its error."""
        reported = []

        async def main():
            asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reported.append(context))
            breaker(lambda: asyncio.create_task(answer("", OSError("forgotten"))))()
            while not breaker.metrics().calls:
                await asyncio.sleep(0)
            gc.collect()

        asyncio.run(main())
        assert str(reported[0]["exception"]) == "forgotten"

    @pytest.mark.parametrize(("value", "counted"), [("good", (1, 0, 0)), ("bad", (0, 1, 0))])
    def test_a_result_can_be_a_failure(self, make_breaker, value, counted):
        breaker = make_breaker(failure_if=lambda value: value == "bad")
        future = breaker(pending)()
        future.set_result(value)
        assert counts(breaker) == counted

    def test_a_future_of_a_thread_pool_is_watched_across_threads(self, breaker):
        started = threading.Event()
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            future = breaker(lambda: pool.submit(started.wait, 10))()
            assert counts(breaker) == (0, 0, 0)
            started.set()
            assert future.result() is True
        assert counts(breaker) == (1, 0, 0)

    def test_a_future_that_has_failed_already(self, breaker):
        future = concurrent.futures.Future()
        future.set_exception(OSError("down"))
        assert breaker(lambda: future)() is future
        assert counts(breaker) == (0, 1, 0)

    def test_a_cancelled_future_is_ignored(self, breaker):
        breaker(pending)().cancel()
        assert counts(breaker) == (0, 0, 1)

    def test_a_future_that_never_ends_is_ignored_once_nobody_has_it(self, breaker):
        future = breaker(pending)()
        del future
        gc.collect()
        assert counts(breaker) == (0, 0, 1)

    def test_a_future_that_keeps_its_error_elsewhere_is_asked_for_it(self, breaker):
        class Promise:
            def add_done_callback(self, callback):
                self.callback = callback

            def cancelled(self):
                return False

            def exception(self):
                return OSError("down")

        promise = breaker(lambda: Promise())()
        promise.callback(promise)
        assert counts(breaker) == (0, 1, 0)

    def test_a_failing_future_opens_the_circuit(self, breaker):
        for _ in range(3):
            breaker(pending)().set_exception(OSError("down"))
        assert breaker.state == "open"


class TestReturnedStreams:
    def test_a_returned_generator_is_guarded_whole(self, breaker):
        def items():
            yield 1
            raise OSError("down")

        stream = breaker(lambda: items())()
        assert inspect.isgenerator(stream)
        assert next(stream) == 1
        assert counts(breaker) == (0, 0, 0)
        with pytest.raises(OSError):
            next(stream)
        assert counts(breaker) == (0, 1, 0)

    def test_it_takes_its_permit_at_the_call(self, breaker):
        breaker.force_open()
        with pytest.raises(CircuitOpenError):
            breaker(lambda: (item for item in "ab"))()

    def test_one_that_is_never_begun_is_ignored(self, breaker):
        breaker(lambda: (item for item in "ab"))()
        gc.collect()
        assert counts(breaker) == (0, 0, 1)

    @pytest.mark.anyio
    async def test_a_returned_async_generator_is_guarded_whole(self, breaker):
        async def items():
            yield 1
            raise OSError("down")

        stream = breaker(lambda: items())()
        assert inspect.isasyncgen(stream)
        assert await anext(stream) == 1
        assert counts(breaker) == (0, 0, 0)
        with pytest.raises(OSError):
            await anext(stream)
        assert counts(breaker) == (0, 1, 0)

    def test_a_fallback_stands_in_before_the_first_item(self, make_breaker):
        def items():
            raise OSError("down")
            yield

        breaker = make_breaker(fallback=lambda: "ab", fallback_on=OSError)
        assert list(breaker(lambda: items())()) == ["a", "b"]

    @pytest.mark.parametrize("iterable", [[1, 2], iter([1, 2]), range(2), map(str, "ab"), "ab"])
    def test_other_iterables_are_plain_values(self, breaker, iterable):
        assert breaker(lambda: iterable)() is iterable
        assert counts(breaker) == (1, 0, 0)


class Request:
    """Like aiohttp's: to be awaited, or entered."""

    def __init__(self, error=None):
        self.error = error
        self.url = "https://example.org"
        self.left = None

    async def _begin(self):
        await checkpoint()
        if self.error is not None:
            raise self.error
        return "response"

    def __await__(self):
        return self._begin().__await__()

    async def __aenter__(self):
        return await self._begin()

    async def __aexit__(self, kind, error, traceback):
        self.left = kind
        return kind is LookupError


@pytest.mark.anyio
class TestAwaitables:
    async def test_awaiting_it_is_the_call(self, breaker):
        request = breaker(lambda: Request())()
        assert counts(breaker) == (0, 0, 0)
        assert await request == "response"
        assert counts(breaker) == (1, 0, 0)

    async def test_a_failure_while_awaiting(self, breaker):
        with pytest.raises(OSError):
            await breaker(lambda: Request(OSError("down")))()
        assert counts(breaker) == (0, 1, 0)

    async def test_entering_it_is_the_call(self, breaker):
        async with breaker(lambda: Request())() as response:
            assert response == "response"
            assert counts(breaker) == (1, 0, 0)
        assert counts(breaker) == (1, 0, 0)

    async def test_a_failure_while_entering(self, breaker):
        with pytest.raises(OSError):
            async with breaker(lambda: Request(OSError("down")))():
                pytest.fail("entered")
        assert counts(breaker) == (0, 1, 0)

    async def test_what_happens_inside_is_its_own_business(self, breaker):
        request = breaker(lambda: Request())()
        async with request:
            raise LookupError
        assert request.left is LookupError
        with pytest.raises(ValueError):
            async with breaker(lambda: Request())():
                raise ValueError
        assert counts(breaker) == (2, 0, 0)

    async def test_cancelled_while_entering_is_ignored(self, breaker):
        with anyio.CancelScope() as scope:
            scope.cancel()
            async with breaker(lambda: Request())():
                pytest.fail("entered")
        assert counts(breaker) == (0, 0, 1)

    async def test_it_is_what_it_was_in_all_else(self, breaker):
        request = breaker(lambda: Request())()
        assert request.url == "https://example.org"
        assert isinstance(request, Request)
        assert inspect.isawaitable(request)

    async def test_its_result_can_be_a_failure(self, make_breaker):
        breaker = make_breaker(failure_if=lambda value: value == "response")
        assert await breaker(lambda: Request())() == "response"
        assert counts(breaker) == (0, 1, 0)

    async def test_a_fallback_stands_in_for_its_failure(self, make_breaker):
        breaker = make_breaker(fallback=lambda: "cached", fallback_on=OSError)
        assert await breaker(lambda: Request(OSError()))() == "cached"

    async def test_one_that_is_dropped_is_ignored(self, breaker):
        breaker(lambda: Request())()
        gc.collect()
        assert counts(breaker) == (0, 0, 1)

    async def test_only_the_first_time_is_the_call(self, breaker):
        request = breaker(lambda: Request())()
        assert (await request, await request) == ("response", "response")
        async with request as response:
            assert response == "response"
        assert counts(breaker) == (1, 0, 0)

    async def test_a_rejection_comes_from_the_call(self, breaker):
        breaker.force_open()
        with pytest.raises(CircuitOpenError):
            breaker(lambda: Request())()
