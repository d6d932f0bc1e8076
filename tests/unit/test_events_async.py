"""`async for event in breaker.events()`, on asyncio and trio, fed from any thread."""

from __future__ import annotations

import gc
import threading

import anyio
import pytest

from circuitry.events import EventStream, waker

pytestmark = [pytest.mark.core, pytest.mark.anyio]


def states(events):
    return [str(event.new_state) for event in events]


async def read(stream, number):
    with anyio.fail_after(10):
        return states([await anext(stream) for _ in range(number)])


async def test_events_that_came_before_are_read_at_once(breaker):
    stream = breaker.events()
    breaker.force_open()
    breaker.reset()
    assert await read(stream, 2) == ["forced_open", "closed"]
    await stream.aclose()


async def test_what_happened_before_it_was_made_is_not_told(breaker):
    breaker.force_open()
    stream = breaker.events()
    breaker.reset()
    assert await read(stream, 1) == ["closed"]
    await stream.aclose()


async def test_a_reader_waits_for_the_next(breaker):
    stream, heard = breaker.events(), []

    async def reading():
        heard.extend(await read(stream, 2))

    async with anyio.create_task_group() as group:
        group.start_soon(reading)
        await anyio.wait_all_tasks_blocked()
        breaker.force_open()
        await anyio.wait_all_tasks_blocked()
        breaker.reset()
    assert heard == ["forced_open", "closed"]
    await stream.aclose()


async def test_what_comes_just_before_the_reader_waits_is_not_missed(breaker, monkeypatch):
    def in_between(wake):
        breaker.force_open()
        return waker(wake)

    stream = breaker.events()
    monkeypatch.setattr("circuitry.events.waker", in_between)
    assert await read(stream, 1) == ["forced_open"]
    await stream.aclose()


async def test_it_is_fed_from_other_threads(breaker):
    stream, heard = breaker.events(), []

    async def reading():
        heard.extend(await read(stream, 20))

    def feed():
        for _ in range(10):
            breaker.force_open()
            breaker.reset()

    async with anyio.create_task_group() as group:
        group.start_soon(reading)
        await anyio.wait_all_tasks_blocked()
        await anyio.to_thread.run_sync(feed)
    assert heard == ["forced_open", "closed"] * 10
    await stream.aclose()


async def test_it_keeps_the_newest_if_nobody_reads(breaker):
    stream = breaker.events(size=3)
    for _ in range(5):
        breaker.force_open()
        breaker.reset()
    assert await read(stream, 3) == ["closed", "forced_open", "closed"]
    await stream.aclose()


async def test_several_streams_hear_the_same(breaker):
    streams = [breaker.events(), breaker.events()]
    breaker.force_open()
    for stream in streams:
        assert await read(stream, 1) == ["forced_open"]
        await stream.aclose()


async def test_closing_gives_what_is_left_and_then_the_end(breaker):
    stream = breaker.events()
    breaker.force_open()
    await stream.aclose()
    breaker.reset()
    assert states([event async for event in stream]) == ["forced_open"]
    await stream.aclose()


async def test_closing_wakes_the_reader(breaker):
    stream, heard = breaker.events(), []

    async def reading():
        heard.extend([event async for event in stream])
        heard.append("end")

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(reading)
            await anyio.wait_all_tasks_blocked()
            await stream.aclose()
    assert heard == ["end"]


async def test_a_cancelled_reader_may_read_on(breaker):
    stream = breaker.events()
    with anyio.move_on_after(0) as scope:
        await anext(stream)
    assert scope.cancelled_caught
    breaker.force_open()
    assert await read(stream, 1) == ["forced_open"]
    await stream.aclose()


async def test_a_stream_that_follows_nothing_can_be_closed():
    stream = EventStream(1)
    await stream.aclose()
    assert [event async for event in stream] == []


def test_dropped_streams_are_gone_whether_or_not_anything_happens(breaker):
    def streams():
        gc.collect()
        return sum(type(thing) is EventStream for thing in gc.get_objects())

    before = streams()
    for _ in range(10):
        breaker.events()
    assert streams() == before
    breaker.force_open()
    kept = breaker.events()
    assert streams() == before + 1
    del kept


def test_waking_a_loop_that_has_ended_harms_nobody(anyio_backend):
    """A reader's loop may end between its last look and the next event."""
    woken = []

    async def reader():
        return waker(lambda: woken.append(True))

    wake = anyio.run(reader, backend=anyio_backend)
    wake()
    assert woken == []


async def anext_of(stream):
    return await anext(stream)


def test_one_stream_may_be_read_by_one_loop_after_another(breaker):
    stream = breaker.events()
    breaker.force_open()
    assert states([anyio.run(anext_of, stream, backend="asyncio")]) == ["forced_open"]
    thread = threading.Timer(0, breaker.reset)
    thread.start()
    assert states([anyio.run(anext_of, stream, backend="trio")]) == ["closed"]
    thread.join()
