"""Where a health check runs, and what it survives: loops that end, forks, Ctrl-C, the end of the program."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import time

import anyio
import pytest

from circuitry import CircuitBreaker, CircuitOpenError
from circuitry.checking import Run, fault_of, fault_of_async

from .test_fork import in_child
from .test_twins import differences

pytestmark = pytest.mark.core

NUMBERS = {
    "failure_threshold": 1,
    "success_threshold": 1,
    "timeout_duration": 10.0,
    "health_check_interval": 0.002,
}


def until(is_so, otherwise="it never came to that"):
    """Wait until it is."""
    deadline = time.monotonic() + 15
    while not is_so():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.001)


def trip(breaker):
    breaker.acquire().failure(OSError("down"))


def is_rejected(breaker):
    try:
        breaker.acquire().success()
    except CircuitOpenError:
        return True
    return False


@pytest.fixture
def make(clock):
    made = []

    def making(check, **settings):
        made.append(
            CircuitBreaker("netflix", **{**NUMBERS, "health_check": check, "clock": clock, **settings})
        )
        return made[-1]

    yield making
    for breaker in made:
        breaker.reset()
        until(lambda breaker=breaker: not breaker.is_checking, "it goes on")


class Asked:
    """An async check that knows in which threads it was asked; it says no until it is told to say yes."""

    def __init__(self):
        self.threads = []
        self.answer = False

    async def __call__(self):
        self.threads.append(threading.current_thread())
        return self.answer


# -- Threads -------------------------------------------------------------------------------------------


def test_a_sync_check_has_a_thread_also_in_an_event_loop(make, clock, anyio_backend):
    threads = []
    breaker = make(lambda: threads.append(threading.current_thread()))

    async def call():
        trip(breaker)
        clock.advance(10)
        while breaker.state != "closed":
            await anyio.sleep(0.001)

    anyio.run(call, backend=anyio_backend)
    assert threads[0] is not threading.current_thread()
    assert threads[0].daemon


def test_an_async_check_of_sync_callers_has_a_thread_with_a_loop(make, clock):
    check = Asked()
    breaker = make(check)
    trip(breaker)
    check.answer = True
    clock.advance(10)
    until(lambda: breaker.state == "closed")
    assert check.threads[0] is not threading.current_thread()
    assert check.threads[0].daemon
    check.threads[0].join(15)
    assert not check.threads[0].is_alive()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_there_it_can_end_nothing(make, clock, error):
    asked = []

    async def check():
        asked.append(1)
        if len(asked) == 1:
            raise error

    breaker = make(check)
    trip(breaker)
    clock.advance(10)
    until(lambda: breaker.state == "closed")
    assert len(asked) == 2


def test_many_threads_that_are_rejected_begin_one(make, clock):
    """However many meet the opening, and while they go on calling."""
    now, most, lock = [], [], threading.Lock()
    over = threading.Event()

    def check():
        with lock:
            now.append(1)
            most.append(len(now))
        time.sleep(0.001)
        with lock:
            now.pop()
        return len(most) > 5

    breaker = make(check, timeout_duration=0.001, clock=time.monotonic)

    def call():
        while not over.is_set():
            is_rejected(breaker)
            time.sleep(0.0001)

    threads = [threading.Thread(target=call) for _ in range(4)]
    trip(breaker)
    for thread in threads:
        thread.start()
    try:
        until(lambda: breaker.state == "closed")
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert max(most) == 1


# -- Event loops ---------------------------------------------------------------------------------------


def test_where_its_loop_has_ended_the_next_caller_begins_it_on_his(make, clock, anyio_backend):
    check = Asked()
    breaker = make(check)

    async def meet_the_opening():
        trip(breaker)
        await anyio.sleep(0)
        assert breaker.is_checking

    async def call_again():
        assert is_rejected(breaker)
        while breaker.state != "closed":
            await anyio.sleep(0.001)

    anyio.run(meet_the_opening, backend=anyio_backend)
    assert not breaker.is_checking
    clock.advance(10)
    check.answer = True
    anyio.run(call_again, backend=anyio_backend)
    assert check.threads == [threading.current_thread()]


def test_a_check_that_its_loop_cuts_short_says_nothing(make, clock, anyio_backend):
    asked = []

    async def check():
        asked.append(1)
        if len(asked) == 1:
            await anyio.sleep_forever()

    breaker = make(check, half_open_max_calls=1)

    async def meet_the_opening():
        trip(breaker)
        clock.advance(10)
        while not asked:
            await anyio.sleep(0.001)

    anyio.run(meet_the_opening, backend=anyio_backend)
    assert (breaker.state, breaker.metrics().half_open_calls) == ("half_open", 0)
    assert is_rejected(breaker)
    until(lambda: breaker.state == "closed")


@pytest.mark.parametrize("is_asked", [False, True], ids=["waiting", "asked"])
def test_a_loop_that_is_closed_over_it_makes_no_noise(make, clock, monkeypatch, is_asked):
    """Its tasks weren't cancelled: as many a program leaves it. Another run takes its place, soon."""
    monkeypatch.setattr("circuitry.checking.PATIENCE", 0.02)
    asked = []

    async def check():
        asked.append(threading.current_thread())
        if is_asked and len(asked) == 1:
            await asyncio.sleep(3600)

    breaker = make(check, probe_timeout=0.02, half_open_max_calls=1)

    async def meet_the_opening():
        trip(breaker)
        clock.advance(10 if is_asked else 0)
        while is_asked and not asked:
            await asyncio.sleep(0.001)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(meet_the_opening())
    loop.close()
    left = breaker._run
    until(lambda: left.is_over)
    clock.advance(10)
    assert is_rejected(breaker)
    assert breaker._run is not left
    until(lambda: breaker.state == "closed")
    left = None
    gc.collect()  # a task that is dropped says so, and a warning is an error here
    assert asked[-1] is not threading.current_thread()


def test_a_loop_that_stood_still_finds_another_in_its_place(make, clock, monkeypatch):
    monkeypatch.setattr("circuitry.checking.PATIENCE", 0.02)
    check = Asked()
    breaker = make(check)

    async def stand_still():
        trip(breaker)
        await asyncio.sleep(0.002)
        left = breaker._run
        until(lambda: left.is_over)  # blocks the loop
        clock.advance(10)
        await asyncio.to_thread(is_rejected, breaker)
        assert breaker._run is not left
        while left.until != float("-inf"):
            await asyncio.sleep(0.001)
        assert breaker._run is not left
        assert breaker.is_checking

    asyncio.run(stand_still())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="there are no eager tasks")
def test_a_loop_that_begins_tasks_at_once_makes_no_difference(make, clock):
    check = Asked()
    check.answer = True
    breaker = make(check)

    async def call():
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        breaker.acquire()
        trip(breaker)
        clock.advance(10)
        while breaker.state != "closed":
            await asyncio.sleep(0.001)

    asyncio.run(call())
    assert not breaker.is_checking


def test_a_task_of_it_that_is_cancelled_begins_anew_with_the_next_call(make, clock):
    check = Asked()
    breaker = make(check)

    async def cancel():
        trip(breaker)
        await asyncio.sleep(0)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        while breaker.is_checking:
            await asyncio.sleep(0.001)
        check.answer = True
        clock.advance(10)
        assert is_rejected(breaker)
        while breaker.state != "closed":
            await asyncio.sleep(0.001)

    asyncio.run(cancel())


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_ctrl_c_in_it_goes_through_to_the_loop(make, clock, error, caplog):
    """In the main thread nobody can tell whose it is: it ends the loop, as any task's; nothing is stuck."""
    asked = []

    async def check():
        asked.append(1)
        if len(asked) == 1:
            raise error

    breaker = make(check)

    async def meet_the_opening():
        trip(breaker)
        clock.advance(10)
        await asyncio.sleep(15)

    with pytest.raises(error):
        asyncio.run(meet_the_opening())
    gc.collect()
    assert "never retrieved" not in caplog.text
    assert is_rejected(breaker)
    until(lambda: breaker.state == "closed")


def test_ctrl_c_at_its_beginning_only_puts_it_off(make, clock, monkeypatch):
    def interrupt(run):
        raise KeyboardInterrupt

    check = Asked()
    breaker = make(check)
    monkeypatch.setattr("circuitry.checking.PATIENCE", 0.01)
    with monkeypatch.context() as patch:
        patch.setattr(Run, "start", interrupt)
        with pytest.raises(KeyboardInterrupt):
            trip(breaker)
    until(lambda: not breaker.is_checking)
    check.answer = True
    clock.advance(10)
    assert is_rejected(breaker)
    until(lambda: breaker.state == "closed")


# -- The process -----------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_child_begins_its_own(make, clock):
    answers = [False]
    breaker = make(lambda: answers[0])
    trip(breaker)

    def child():
        was_checking = breaker.is_checking
        answers[0] = True
        clock.advance(10)
        rejected = is_rejected(breaker)
        until(lambda: breaker.state == "closed")
        return was_checking, rejected, str(breaker.state)

    assert in_child(child) == (False, True, "closed")
    assert (breaker.is_checking, breaker.state) == (True, "open")


# -- Twins -----------------------------------------------------------------------------------------------


def test_its_sync_and_async_steps_are_twins():
    def differing(sync, asynchronous):
        """But for their names."""
        found = differences(sync, asynchronous)
        plain = {line.replace("_async", "") for line in found}
        return {line for line in plain if ("-" if line[0] == "+" else "+") + line[1:] not in plain}

    assert differing(Run.work, Run.work_async) == {"-time.sleep(pause)", "+sleep(pause)"}
    assert differing(Run._take_turn, Run._take_turn_async) == set()
    assert differing(Run._ask, Run._ask_async) == set()
    assert differing(fault_of, fault_of_async) == {
        "-return fault_in(turn.check())",
        "+return fault_in(answer(turn))",
        "+if is_of_the_loop(error):",
        "+raise",
    }
