"""A health check at work: it takes the probes while its circuit isn't closed, in the background.

A run begins when the circuit opens or a call is rejected, and ends when the circuit is closed, an operator
has spoken, or nobody holds the breaker any more. A sync check runs in a thread; an async one in the event
loop of the caller that met the opening or the rejection, or, where there is none, in a thread with a loop.
These are the only threads and tasks of a circuit on its own, and only where a check is asked for.

A run can vanish without a word: its loop stands still or was closed, the process was forked, the check
hangs, Ctrl-C came between two steps. So it says until when it will have been heard of again (`until`), and
after that another takes its place. One that is replaced finds out, and ends; what its check has said by then
counts, unless the circuit is in another generation.

It holds the breaker only while it decides something, never while it waits.
"""

from __future__ import annotations

import inspect
import math
import sys
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, NamedTuple

from circuitry import probing
from circuitry.config import logger
from circuitry.events import _in_trio, in_event_loop
from circuitry.kinds import is_async
from circuitry.states import Outcome, Probe

if TYPE_CHECKING:
    from circuitry.breaker import Breaker
    from circuitry.machine import Admission
    from circuitry.states import Rejection

#: Seconds; it looks at least that often whether it is needed still.
LONGEST_NAP = 1.0
#: Seconds by which a run may be late before another takes its place.
PATIENCE = 5.0
OVER = -math.inf
#: The fault of a check that didn't come to an end: it says nothing.
UNFINISHED: BaseException | None = BaseException("given up")


class UnhealthyError(Exception):
    """What a health check that returned False has said, as `last_failure` tells it."""


class Turn(NamedTuple):
    """One probe, and what it asks: for so many seconds at most, where that can be seen to."""

    probe: Probe
    check: Callable[[], Any]
    seconds: float


class Run:
    """One health check at work for one breaker, from the opening to the closing."""

    __slots__ = ("_breaker", "_is_async", "_name", "_next", "_task", "until")

    def __init__(self, breaker: Breaker, check: Callable[..., Any]) -> None:
        self._breaker = weakref.ref(breaker)
        self._name = f"circuitry-check-{breaker.name}"
        self._is_async = is_async(check)
        self._next = OVER  # not before this moment, on the monotonic clock
        self._task: object = None  # event loops hold their tasks but weakly
        #: When another may take its place, on the monotonic clock.
        self.until = time.monotonic() + PATIENCE

    @property
    def is_over(self) -> bool:
        """Whether it has ended, or hasn't been heard of for too long."""
        return time.monotonic() >= self.until

    # -- Where it runs -----------------------------------------------------------------------------

    def start(self) -> None:
        """Begin: in the event loop of the caller if the check is async, else in a thread."""
        if not self._is_async:
            self._in_thread(self.work)
        elif not in_event_loop():
            self._in_thread(self._work_in_a_loop)
        elif _in_trio():
            sys.modules["trio"].lowlevel.spawn_system_task(self.work_async, name=self._name)
        else:
            self._task = task_of(self.work_async(), self._name)

    def _in_thread(self, work: Callable[[], object]) -> None:
        threading.Thread(target=work, name=self._name, daemon=True).start()

    def _work_in_a_loop(self) -> None:
        import asyncio

        asyncio.run(self.work_async())

    # -- What it does: twins -----------------------------------------------------------------------

    def work(self) -> None:
        """Wait and check, until nobody needs it."""
        try:
            while (pause := self._pause()) is not None:
                if pause > 0:
                    time.sleep(pause)
                else:
                    self._take_turn()
        finally:
            self._end()

    async def work_async(self) -> None:
        """The same for an async check."""
        try:
            while (pause := self._pause()) is not None:
                if pause > 0:
                    await sleep(pause)
                else:
                    await self._take_turn_async()
        finally:
            self._end()

    def _take_turn(self) -> None:
        turn = self._turn(self._ask())
        if turn is not None:
            fault = UNFINISHED
            try:
                fault = fault_of(turn)
            finally:
                self._tell(turn.probe, fault)

    async def _take_turn_async(self) -> None:
        turn = self._turn(await self._ask_async())
        if turn is not None:
            fault = UNFINISHED
            try:
                fault = await fault_of_async(turn)
            finally:
                self._tell(turn.probe, fault)

    def _ask(self) -> Admission | Rejection | None:
        breaker = self._breaker()
        if breaker is None:
            return None
        verdict = breaker._decide(None, probing.probe)
        if verdict is None:
            verdict = breaker._decide(breaker._gate.ask(), probing.probe)
        return verdict

    async def _ask_async(self) -> Admission | Rejection | None:
        breaker = self._breaker()
        if breaker is None:
            return None
        verdict = breaker._decide(None, probing.probe)
        if verdict is None:
            verdict = breaker._decide(await breaker._gate.ask_async(), probing.probe)
        return verdict

    # -- Its steps: none waits -----------------------------------------------------------------------

    def _pause(self) -> float | None:
        """Seconds to wait before the next look, 0 to ask for a probe; None if nobody needs it any more."""
        breaker = self._breaker()
        if breaker is None or not self._is_needed(breaker):
            return None
        pause = min(max(self._next - time.monotonic(), 0.0), interval_of(breaker), LONGEST_NAP)
        self.until = time.monotonic() + pause + PATIENCE
        return pause

    def _is_needed(self, breaker: Breaker) -> bool:
        check = breaker.config.health_check
        if breaker._run is not self or check is None or is_async(check) is not self._is_async:
            return False
        if probing.is_wanted(breaker._current()):
            return True
        self.until = OVER  # who opens it from now on begins another run; what was opened before, is seen here
        return probing.is_wanted(breaker._circuit)

    def _turn(self, verdict: Admission | Rejection | None) -> Turn | None:
        """What to do now that the circuit has said whether it may probe."""
        breaker = self._breaker()
        if breaker is None:
            return None
        if isinstance(verdict, Probe):
            return self._turn_of(breaker, verdict)
        interval = interval_of(breaker)
        self._next = time.monotonic() + (min(getattr(verdict, "retry_after", 0.0), interval) or interval)
        return None

    def _turn_of(self, breaker: Breaker, probe: Probe) -> Turn | None:
        check, seconds = breaker.config.health_check, breaker.limits.probe_timeout
        if check is None:  # there was one a moment ago
            tell(breaker, probe, UNFINISHED)
            return None
        self.until = time.monotonic() + seconds + PATIENCE
        return Turn(probe, check, seconds)

    def _tell(self, probe: Probe, fault: BaseException | None) -> None:
        """The check has ended. May be called by the garbage collector."""
        breaker = self._breaker()
        if breaker is not None:
            self._next = time.monotonic() + interval_of(breaker)
            tell(breaker, probe, fault)

    def _end(self) -> None:
        self.until, self._task = OVER, None


def interval_of(breaker: Breaker) -> float:
    """Seconds between two checks."""
    return breaker.limits.check_interval or LONGEST_NAP  # it has just been taken away


def see_to_check(breaker: Breaker) -> None:
    """Let the breaker's check run, if there is something to find out and it doesn't. Fails no call."""
    before, check = breaker._run, breaker.config.health_check
    if check is None or not probing.is_wanted(breaker._circuit):
        return
    if before is not None and not before.is_over:
        return
    run = Run(breaker, check)
    with breaker._lock:
        if breaker._run is not before:
            return  # somebody else has just begun
        breaker._run = run
    try:
        run.start()
    except Exception:  # such as "can't start new thread"
        logger.exception("the health check of circuit %r can't begin now", breaker.name)


def tell(breaker: Breaker, probe: Probe, fault: BaseException | None) -> None:
    """The check has made this probe. It counts in no totals: they are of users' calls.

    What is no `Exception` says nothing, as ever. It may come from the garbage collector, so it takes no lock.
    """
    if fault is None:
        breaker._record(probe, Outcome.SUCCESS)
    elif isinstance(fault, Exception):
        cause = breaker._describe(fault)
        logger.debug("circuit %r: health check: %s", breaker.name, cause, extra={"circuit": breaker.name})
        breaker._record(probe, Outcome.FAILURE, cause, fault)
    else:
        breaker._dropped.append((probe, Outcome.IGNORED))
        breaker._gate.nudge()
        if fault is not UNFINISHED:
            logger.warning("circuit %r: health check: %r says nothing", breaker.name, fault)


# -- Asking it ---------------------------------------------------------------------------------------


def fault_of(turn: Turn) -> BaseException | None:
    """Ask a sync check: what speaks against the dependency, or None."""
    try:
        return fault_in(turn.check())
    except BaseException as error:
        return error


async def fault_of_async(turn: Turn) -> BaseException | None:
    """Ask an async check, for its seconds at most."""
    try:
        return fault_in(await answer(turn))
    except BaseException as error:
        if is_of_the_loop(error):
            raise
        return error


def fault_in(answer: object) -> Exception | None:
    """What is wrong with what a check has returned: it is False, or nobody would await it."""
    if answer is False:
        return UnhealthyError("the health check returned False")
    if inspect.isawaitable(answer):
        if inspect.iscoroutine(answer):
            answer.close()
        return TypeError("the health check returned an awaitable: make it an async function")
    return None


async def answer(turn: Turn) -> object:
    """What an async check says.

    Raises:
        TimeoutError: nothing, within its time.
    """
    if _in_trio():
        with sys.modules["trio"].move_on_after(turn.seconds):
            return await turn.check()
        raise too_late(turn)
    import asyncio

    limit = asyncio.timeout(turn.seconds)
    try:
        async with limit:
            return await turn.check()
    except TimeoutError:
        if limit.expired():
            raise too_late(turn) from None
        raise


def too_late(turn: Turn) -> TimeoutError:
    """What is said of an async check that takes too long."""
    return TimeoutError(f"no answer of the health check within probe_timeout={turn.seconds:g} s")


def is_of_the_loop(error: BaseException) -> bool:
    """Whether an async check was ended from outside: its loop ends, or Ctrl-C was pressed."""
    if isinstance(error, GeneratorExit):
        return True
    if _in_trio():
        cancelled: bool = sys.modules["trio"].current_effective_deadline() == -math.inf
        return cancelled
    import asyncio

    task = asyncio.current_task()
    if task is not None and task.cancelling():
        return True
    is_main = threading.current_thread() is threading.main_thread()
    return is_main and isinstance(error, (KeyboardInterrupt, SystemExit))


# -- Event loops -------------------------------------------------------------------------------------


def sleep(seconds: float) -> Awaitable[object]:
    """Sleep in the event loop that runs in this thread."""
    if _in_trio():
        nap: Awaitable[object] = sys.modules["trio"].sleep(seconds)
        return nap
    import asyncio

    return asyncio.sleep(seconds)


def task_of(work: Coroutine[Any, Any, None], name: str) -> object:
    """A task of the running asyncio loop, with no caller's context; silent if the loop is closed over it."""
    import asyncio
    from contextvars import Context

    task: Any = Context().run(asyncio.get_running_loop().create_task, work)
    task.set_name(name)
    task._log_destroy_pending = False  # nobody but us knows of it, so nobody could have awaited it
    task.add_done_callback(heard_of)
    return task


def heard_of(task: Any) -> None:
    """A task that has ended by Ctrl-C: without this asyncio would say that nobody has heard of it."""
    if not task.cancelled():
        task.exception()
