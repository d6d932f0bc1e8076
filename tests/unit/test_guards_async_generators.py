"""Async generator functions: guarded from the first `anext` to the end of the iteration."""

from __future__ import annotations

import asyncio
import inspect
from contextlib import aclosing

import anyio
import pytest
from anyio.lowlevel import checkpoint

from circuitry import CircuitOpenError

pytestmark = pytest.mark.core


@pytest.fixture
def heard():
    """What the generators of these tests have got from outside."""
    return []


@pytest.fixture
def talk(breaker, heard):
    """A guarded generator that writes down all it is sent or thrown."""

    @breaker
    async def talk(*items):
        try:
            for item in items:
                await checkpoint()
                try:
                    heard.append((yield item))
                except ValueError as error:
                    heard.append(error)
                    yield "caught"
        finally:
            heard.append("closed")

    return talk


def counts(breaker):
    metrics = breaker.metrics()
    return metrics.successes, metrics.failures, metrics.ignored


async def all_of(stream):
    return [item async for item in stream]


@pytest.mark.anyio
async def test_it_is_still_an_async_generator_function(talk):
    assert inspect.isasyncgenfunction(talk)
    assert inspect.isasyncgen(talk())


@pytest.mark.anyio
async def test_a_whole_iteration_is_one_success(breaker, talk):
    assert await all_of(talk(1, 2, 3)) == [1, 2, 3]
    assert counts(breaker) == (1, 0, 0)


@pytest.mark.anyio
async def test_an_empty_stream_is_a_success(breaker, talk):
    assert await all_of(talk()) == []
    assert counts(breaker) == (1, 0, 0)


@pytest.mark.anyio
async def test_the_permit_is_taken_at_the_first_anext(breaker, talk):
    stream = talk(1)
    breaker.force_open()
    with pytest.raises(CircuitOpenError):
        await anext(stream)
    assert breaker.metrics().rejected == 1


@pytest.mark.anyio
async def test_the_permit_is_held_to_the_end(breaker, talk, clock, fail):
    fail(breaker, 3)
    clock.advance(10)
    stream = talk(1, 2)
    assert [await anext(stream), await anext(stream)] == [1, 2]
    assert breaker.metrics().half_open_calls == 1
    assert await anext(stream, "end") == "end"
    assert (breaker.metrics().half_open_calls, breaker.success_count) == (0, 1)


@pytest.mark.anyio
async def test_a_rejected_stream_is_over(breaker, talk):
    breaker.force_open()
    stream = talk(1)
    with pytest.raises(CircuitOpenError):
        await anext(stream)
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


@pytest.mark.anyio
async def test_asend_reaches_the_generator(talk, heard):
    async with aclosing(talk(1, 2)) as stream:
        await anext(stream)
        assert await stream.asend("hello") == 2
        assert heard == ["hello"]


@pytest.mark.anyio
async def test_a_stream_that_has_not_begun_takes_no_value(talk):
    async with aclosing(talk(1)) as stream:
        with pytest.raises(TypeError, match="just-started"):
            await stream.asend("hello")


@pytest.mark.anyio
async def test_athrow_reaches_the_generator_which_may_go_on(talk, heard, breaker):
    error = ValueError("thrown")
    stream = talk(1, 2)
    await anext(stream)
    assert await stream.athrow(error) == "caught"
    assert heard == [error]
    assert await all_of(stream) == [2]
    assert counts(breaker) == (1, 0, 0)


@pytest.mark.anyio
async def test_what_is_thrown_and_not_caught_is_a_failure(talk, breaker):
    error = LookupError("thrown")
    stream = talk(1)
    await anext(stream)
    with pytest.raises(LookupError) as caught:
        await stream.athrow(error)
    assert caught.value is error
    assert counts(breaker) == (0, 1, 0)


@pytest.mark.anyio
async def test_a_stop_async_iteration_thrown_in_becomes_a_runtime_error_as_ever(talk, breaker):
    stream = talk(1)
    await anext(stream)
    with pytest.raises(RuntimeError, match="raised StopAsyncIteration"):
        await stream.athrow(StopAsyncIteration())
    assert counts(breaker) == (0, 1, 0)


@pytest.mark.anyio
async def test_what_is_thrown_before_the_first_item_takes_no_permit(talk, breaker):
    with pytest.raises(ValueError):
        await talk(1).athrow(ValueError())
    assert counts(breaker) == (0, 0, 0)


@pytest.mark.anyio
async def test_a_stream_closed_after_an_item_is_a_success(talk, heard, breaker):
    stream = talk(1, 2)
    await anext(stream)
    await stream.aclose()
    assert heard == ["closed"]
    assert counts(breaker) == (1, 0, 0)


@pytest.mark.anyio
async def test_a_stream_closed_before_any_item_counts_nowhere(talk, heard, breaker):
    await talk(1).aclose()
    assert heard == []
    assert counts(breaker) == (0, 0, 0)


@pytest.mark.anyio
async def test_a_probe_left_early_gives_its_slot_back_and_counts(talk, breaker, clock, fail):
    fail(breaker, 3)
    clock.advance(10)
    for _ in range(2):
        async with aclosing(talk(1, 2)) as stream:
            await anext(stream)
    assert breaker.state == "closed"


@pytest.mark.anyio
async def test_a_stream_left_early_ends_a_streak(talk, breaker, fail):
    fail(breaker, 2)
    async with aclosing(talk(1, 2)) as stream:
        await anext(stream)
    assert breaker.failure_count == 0


@pytest.mark.anyio
async def test_a_generator_that_will_not_close_is_a_failure(breaker):
    @breaker
    async def stubborn():
        try:
            yield 1
        except GeneratorExit:
            yield 2

    stream = stubborn()
    await anext(stream)
    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        await stream.aclose()
    assert counts(breaker) == (0, 1, 0)


@pytest.mark.anyio
async def test_an_error_while_closing_comes_out_and_is_a_failure(breaker):
    @breaker
    async def breaks_when_closed():
        try:
            yield 1
        finally:
            await checkpoint()
            raise OSError("while closing")

    stream = breaks_when_closed()
    await anext(stream)
    with pytest.raises(OSError, match="while closing"):
        await stream.aclose()
    assert counts(breaker) == (0, 1, 0)


@pytest.mark.parametrize("items_before", [0, 1])
@pytest.mark.anyio
async def test_an_error_at_any_item_is_one_failure(breaker, items_before):
    @breaker
    async def breaks():
        for item in range(items_before):
            yield item
        raise OSError("broken")

    with pytest.raises(OSError, match="broken"):
        await all_of(breaks())
    assert counts(breaker) == (0, 1, 0)


@pytest.mark.parametrize("items_before", [0, 1])
@pytest.mark.anyio
async def test_a_cancelled_stream_is_ignored(breaker, items_before):
    @breaker
    async def endless():
        for item in range(items_before):
            yield item
        await anyio.sleep_forever()

    with anyio.move_on_after(0.01) as scope:
        await all_of(endless())
    assert scope.cancelled_caught
    assert counts(breaker) == (0, 0, 1)


@pytest.mark.anyio
async def test_a_reader_cancelled_between_items_leaves_the_stream_early(talk, breaker):
    with anyio.CancelScope() as scope:
        async with aclosing(talk(1, 2)) as stream:
            async for _ in stream:
                scope.cancel()
                await checkpoint()
    assert counts(breaker) == (1, 0, 0)


@pytest.mark.anyio
async def test_interleaved_streams_have_permits_of_their_own(talk, breaker, clock, fail):
    fail(breaker, 3)
    clock.advance(10)
    first, second = talk(1, 2), talk(1, 2)
    await anext(first), await anext(second)
    assert breaker.metrics().half_open_calls == 2
    with pytest.raises(LookupError):
        await first.athrow(LookupError())
    assert breaker.state == "open"
    assert await all_of(second) == [2]
    assert breaker.state == "open"


@pytest.mark.anyio
async def test_failures_of_streams_open_the_circuit(breaker):
    @breaker
    async def breaks():
        yield 1
        raise OSError("broken")

    for _ in range(3):
        with pytest.raises(OSError):
            await all_of(breaks())
    with pytest.raises(CircuitOpenError) as caught:
        await all_of(breaks())
    assert caught.value.last_failure == "OSError: broken"


class FirstStep:
    """Awaiting it comes back to whoever runs the coroutine by hand."""

    def __await__(self):
        yield


# Readers without a loop: a loop would finish the generators by itself.


def test_a_reader_that_goes_away_before_the_first_item_is_ignored(breaker):
    """A coroutine that waits for the first item is dropped with its event loop."""

    @breaker
    async def slow():
        await FirstStep()
        yield 1

    reading = all_of(slow())
    reading.send(None)
    reading.close()
    assert counts(breaker) == (0, 0, 1)


def test_a_reader_that_goes_away_between_items_is_a_success(breaker):
    @breaker
    async def slow():
        yield 1
        await FirstStep()

    reading = all_of(slow())
    reading.send(None)
    reading.close()
    assert counts(breaker) == (1, 0, 0)


def test_a_stream_left_to_the_event_loop_is_closed_by_it(talk, heard, breaker):
    async def leave():
        async for _ in talk(1, 2):
            break
        while not heard:
            await asyncio.sleep(0)

    asyncio.run(leave())
    assert heard == ["closed"]
    assert counts(breaker) == (1, 0, 0)
