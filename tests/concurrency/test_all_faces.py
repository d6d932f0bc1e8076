"""Every face of one breaker at once: threads, asyncio and trio; calls, blocks, permits and streams."""

from __future__ import annotations

import contextlib
import gc
import random
import threading
import time
from collections import Counter
from itertools import pairwise

import anyio
import pytest
from anyio.lowlevel import checkpoint

from circuitry import CircuitBreaker, CircuitOpenError, circuit
from circuitry.events import EventStream
from circuitry.registry import CircuitRegistry
from circuitry.testing import ManualClock, disabled

pytestmark = pytest.mark.core

SETTINGS = {"failure_threshold": 4, "success_threshold": 2, "timeout_duration": 3.0, "exclude": LookupError}


def outcome(number):
    """What a call comes to, by a random number."""
    if number < 0.3:
        raise OSError("down")
    if number < 0.35:
        raise LookupError("excluded")
    return number


@contextlib.contextmanager
def counting(counted):
    """Count how a call ends."""
    try:
        yield
    except CircuitOpenError:
        counted["rejected"] += 1
    except OSError:
        counted["failures"] += 1
    except LookupError:
        counted["ignored"] += 1
    else:
        counted["successes"] += 1


class Delegating:
    """Enters and leaves in frames of its own."""

    def __init__(self, breaker):
        self.breaker = breaker

    def __enter__(self):
        return self.breaker.__enter__()

    def __exit__(self, *details):
        return self.breaker.__exit__(*details)


def sync_faces(breaker, shared):
    """Ways to make one sync call, by a random number."""
    guarded = breaker(outcome)

    @breaker
    def stream(number):
        yield 1
        yield outcome(number)

    def block(number):
        with breaker:
            outcome(number)

    def named_block(number):
        with circuit("netflix"):
            outcome(number)

    def shared_block(number):
        with shared:
            outcome(number)

    def stack(number):
        with contextlib.ExitStack() as entered:
            entered.enter_context(breaker)
            outcome(number)

    def delegating(number):
        with Delegating(breaker):
            outcome(number)

    def permit(number):
        with breaker.acquire():
            outcome(number)

    def call(number):
        breaker.call(outcome, number)

    def items(number):
        list(stream(number))

    return [guarded, block, named_block, shared_block, stack, delegating, permit, call, items]


def async_faces(breaker, shared):
    """The same for async calls."""

    @breaker
    async def guarded(number):
        await checkpoint()
        return outcome(number)

    @breaker
    async def stream(number):
        yield 1
        await checkpoint()
        yield outcome(number)

    async def block(number):
        async with breaker:
            await checkpoint()
            outcome(number)

    async def shared_block(number):
        async with shared:
            await checkpoint()
            outcome(number)

    async def sync_block(number):
        with breaker:
            await checkpoint()
            outcome(number)

    async def permit(number):
        with await breaker.acquire_async():
            await checkpoint()
            outcome(number)

    async def call(number):
        await breaker.call(guarded.__wrapped__.__wrapped__, number)

    async def items(number):
        return [item async for item in stream(number)]

    return [guarded, block, shared_block, sync_block, permit, call, items]


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def breaker(fresh, clock):
    return fresh.get_or_create("netflix", clock=clock, **SETTINGS)


def check(breaker, counted, events, calls):
    """Nothing is lost, and each change was told once and in order."""
    metrics = breaker.metrics()
    for name in ("successes", "failures", "ignored", "rejected"):
        assert getattr(metrics, name) == counted[name]
    assert counted.total() == calls
    for before, after in pairwise(events):
        assert before.new_state is after.old_state
    assert Counter(str(event.new_state) for event in events) == metrics.entered
    assert metrics.half_open_calls == 0


def test_every_sync_face_from_every_thread(hammer, breaker, clock):
    events, shared = [], circuit("netflix")
    breaker.on_transition(events.append)
    faces = sync_faces(breaker, shared)

    def work(seed):
        numbers, counted = random.Random(seed), Counter()
        for turn in range(1500):
            if turn % 20 == 0:
                clock.advance(1)
            with counting(counted):
                numbers.choice(faces)(numbers.random())
        return counted

    check(breaker, sum(hammer(work), Counter()), events, 8 * 1500)


def test_threads_asyncio_and_trio_at_once(hammer, breaker, clock):
    events, shared = [], circuit("netflix")
    breaker.on_transition(events.append)
    faces, waiting_faces = sync_faces(breaker, shared), async_faces(breaker, shared)

    def in_a_thread(numbers, counted):
        for turn in range(600):
            if turn % 20 == 0:
                clock.advance(1)
            with counting(counted):
                numbers.choice(faces)(numbers.random())

    async def in_a_task(numbers, counted):
        for _ in range(60):
            with counting(counted):
                await numbers.choice(waiting_faces)(numbers.random())

    async def in_a_loop(numbers, counted):
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(in_a_task, numbers, counted)

    def work(number):
        numbers, counted = random.Random(number), Counter()
        if number < 4:
            in_a_thread(numbers, counted)
        else:
            anyio.run(in_a_loop, numbers, counted, backend=("asyncio", "trio")[number % 2])
        return counted

    check(breaker, sum(hammer(work), Counter()), events, 8 * 600)


def test_one_named_block_shared_by_threads(hammer, fresh):
    """A `circuit("name")` that is kept and entered by many at once: each has a permit of its own."""
    shared = circuit("netflix", failure_threshold=100_000)  # no chance meeting of failures opens it

    def work(_):
        for turn in range(2000):
            with shared, contextlib.suppress(OSError), shared:
                if turn % 2:
                    raise OSError
        return True

    assert all(hammer(work))
    metrics = fresh["netflix"].metrics()
    assert (metrics.successes, metrics.failures, metrics.ignored) == (8 * 3000, 8 * 1000, 0)


def test_one_named_block_shared_by_threads_under_a_debugger(fresh):
    """A trace function lets other threads in between any two lines, and breaks nothing."""
    shared, errors = circuit("netflix"), []

    def trace(frame, _event, _arg):
        if frame.f_globals.get("__name__", "").startswith("circuitry."):
            time.sleep(0)
            return trace
        return None

    def work():
        try:
            for _ in range(50):
                with shared, shared:
                    pass
        except BaseException as error:
            errors.append(error)

    before = threading.gettrace()
    threading.settrace(trace)
    try:
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
    finally:
        threading.settrace(before)
    for thread in threads:
        thread.join()
    assert errors == []
    assert fresh["netflix"].metrics().successes == 8 * 50 * 2


def test_a_stream_of_events_is_fed_in_order_from_threads(hammer, breaker, clock):
    stream = breaker.events(size=10**6)

    def work(seed):
        numbers = random.Random(seed)
        for _ in range(300):
            numbers.choice([breaker.force_open, breaker.reset, breaker.disable, breaker.shadow])()
        return True

    async def read():
        await stream.aclose()
        return [event async for event in stream]

    hammer(work)
    events = anyio.run(read)
    for before, after in pairwise(events):
        assert before.new_state is after.old_state
    assert len(events) == sum(breaker.metrics().entered.values())


def test_listeners_come_and_go_while_events_are_told(hammer, breaker):
    heard = []

    def work(number):
        for _ in range(300):
            if number % 2:
                breaker.on_transition(heard.append)()
            else:
                breaker.force_open()
                breaker.reset()
        return True

    kept = []
    breaker.on_transition(kept.append)
    assert all(hammer(work))
    assert len(kept) == sum(breaker.metrics().entered.values())
    before = len(heard)
    breaker.disable()
    assert len(heard) == before, "all of them have gone"


def test_a_name_is_one_circuit_for_all_threads(hammer):
    registry = CircuitRegistry()
    found = hammer(lambda _: [registry.get_or_create(f"circuit {number}") for number in range(300)])
    for others in found[1:]:
        assert all(one is other for one, other in zip(found[0], others, strict=True))
    assert len(registry) == 300


def test_breakers_are_made_while_all_are_switched_off(hammer):
    """Going through all breakers there are is safe while others come and go."""

    def work(number):
        if number == 0:
            for _ in range(100):
                with disabled():
                    pass
        else:
            for turn in range(300):
                CircuitBreaker(f"{number}/{turn}").acquire().success()
        return True

    assert all(hammer(work))


def test_a_family_under_threads(hammer, fresh):
    guarded = circuit("platform", key=lambda number: number % 20, max_keys=10)(lambda number: number)
    numbers = hammer(lambda seed: [guarded(number) for number in range(seed, seed + 400)])
    assert [len(answers) for answers in numbers] == [400] * 8
    assert len(fresh.family("platform")) == 10


def test_streams_dropped_in_any_thread_give_their_probes_back(hammer, breaker, clock, fail):
    """Abandoned generators are closed by the collector, in whatever thread it runs."""

    @breaker
    def stream():
        while True:
            yield 1

    def work(_):
        for _ in range(300):
            with contextlib.suppress(CircuitOpenError):
                cycle = [stream()]
                next(cycle[0])
                cycle.append(cycle)
        return True

    fail(breaker, 4)
    clock.advance(3)
    assert all(hammer(work))
    gc.collect()
    assert breaker.metrics().half_open_calls == 0


def test_a_reader_waits_while_threads_feed_it(breaker):
    stream, told = breaker.events(), threading.Event()
    assert isinstance(stream, EventStream)

    async def read():
        told.set()
        return [str((await anext(stream)).new_state) for _ in range(200)]

    def feed():
        told.wait(10)
        for _ in range(100):
            breaker.force_open()
            breaker.reset()

    for backend in ("asyncio", "trio"):
        told.clear()
        feeding = threading.Thread(target=feed)
        feeding.start()
        assert anyio.run(read, backend=backend) == ["forced_open", "closed"] * 100
        feeding.join()
