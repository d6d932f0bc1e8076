"""What the scenes of the exhibits have in common."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import anyio
import pytest

import circuitry
from circuitry import CircuitOpenError
from circuitry.testing import ManualClock

from . import doubles

#: 3 failures open the circuit for 10 s, one success of its single probe closes it.
NUMBERS = {
    "failure_threshold": 3,
    "success_threshold": 1,
    "timeout_duration": 10.0,
    "half_open_max_calls": 1,
}


#: The files whose lines `at_each_line` counts.
OURS = (circuitry.__path__[0], doubles.__file__)

#: For what exists in async code only.
in_async = pytest.mark.parametrize("colour", ["asyncio", "trio"], indirect=True)
#: For what exists in sync code only.
in_sync = pytest.mark.parametrize("colour", ["sync"], indirect=True)


class Scene:
    """One breaker on a clock of its own, called in one colour."""

    def __init__(self, kind: Any, colour: Any, **given: Any) -> None:
        self.clock = ManualClock(1000.0)
        self.colour = colour
        self.breaker = kind("netflix", **{"clock": self.clock, **NUMBERS, **given})

    @property
    def state(self) -> str:
        return str(self.breaker.state)

    def wait(self, seconds: float = 10.0) -> None:
        """Let as much time pass as an open circuit waits."""
        self.clock.advance(seconds)

    def trip(self) -> None:
        """See failures until the circuit is open."""
        while self.state == "closed":
            self.breaker.acquire().failure(OSError("down"))

    def probe_due(self) -> None:
        """Open the circuit, and let its timeout end: the next call is a probe."""
        self.trip()
        self.wait()

    def call(self, body: Callable[[], Any], *, expect: BaseException | None = None) -> Any:
        """Call `body`, as a function of this colour, under the breaker; `expect` may come of it."""
        return self.attempt(self.breaker.call, self.colour.function(body), expect=expect)

    def attempt(self, fn: Callable[..., Any], *args: Any, expect: BaseException | None = None) -> Any:
        error = error_of(self.colour, fn, *args)
        if error is not expect and error is not None:
            raise error
        return error

    def permit(self) -> Any:
        return self.colour.acquire(self.breaker)

    def rejection(self) -> CircuitOpenError | None:
        """Why a call would be rejected now; None if it would go out. It says nothing of the dependency."""
        try:
            self.permit().release()
        except CircuitOpenError as error:
            return error
        return None

    def admits(self) -> bool:
        return self.rejection() is None


def error_of(colour: Any, fn: Callable[..., Any], *args: Any) -> BaseException | None:
    """What calling `fn`, which has this colour, raises. It is caught inside the event loop."""
    if not colour.is_async:
        try:
            fn(*args)
        except BaseException as error:
            return error
        return None

    async def caught() -> BaseException | None:
        try:
            await fn(*args)
        except BaseException as error:
            return error
        return None

    return colour.run(caught)


def fails() -> None:
    raise OSError("down")


def play(colour: Any, story: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> Any:
    """Run a story that is written once, in async words; in sync code it has nothing to wait for."""
    if colour.is_async:
        return colour.run(story, *args)
    coroutine = story(*args)
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("sync code waits")


class Stream:
    """A generator of either colour, in async words."""

    def __init__(self, generator: Any) -> None:
        self.generator = generator
        self.is_async = hasattr(generator, "__anext__")

    async def send(self, value: object = None) -> Any:
        return await self.generator.asend(value) if self.is_async else self.generator.send(value)

    async def throw(self, error: BaseException) -> Any:
        return await self.generator.athrow(error) if self.is_async else self.generator.throw(error)

    async def close(self) -> None:
        await self.generator.aclose() if self.is_async else self.generator.close()


def crowd(scene: Scene, size: int) -> int:
    """So many callers come at once, and no call ends before the last has come: how many went through."""
    return (_crowd_of_tasks if scene.colour.is_async else _crowd_of_threads)(scene, size)


def _crowd_of_threads(scene: Scene, size: int) -> int:
    through: list[object] = []
    answered = threading.Semaphore(0)
    everybody = threading.Event()

    def backend() -> None:
        through.append(None)
        answered.release()
        everybody.wait(5)

    def caller() -> None:
        try:
            scene.breaker.call(backend)
        except CircuitOpenError:
            answered.release()

    threads = [threading.Thread(target=caller) for _ in range(size)]
    for thread in threads:
        thread.start()
    assert all(answered.acquire(timeout=5) for _ in threads), "a caller hangs"
    everybody.set()
    for thread in threads:
        thread.join(5)
    return len(through)


def _crowd_of_tasks(scene: Scene, size: int) -> int:
    through: list[object] = []
    rejected: list[object] = []

    async def main() -> None:
        everybody = anyio.Event()

        def answered(how: list[object]) -> None:
            how.append(None)
            if len(through) + len(rejected) == size:
                everybody.set()

        async def backend() -> None:
            answered(through)
            await everybody.wait()

        async def caller() -> None:
            try:
                await scene.breaker.call(backend)
            except CircuitOpenError:
                answered(rejected)

        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                for _ in range(size):
                    group.start_soon(caller)

    scene.colour.run(main)
    return len(through)


def cancel_a_call(scene: Scene) -> None:
    """A call is taken back while it runs: by its event loop, or by Ctrl-C."""
    if not scene.colour.is_async:
        interrupt = KeyboardInterrupt()

        def interrupted() -> None:
            raise interrupt

        scene.call(interrupted, expect=interrupt)
        return

    async def main() -> None:
        with anyio.CancelScope() as scope:

            async def cancelled() -> None:
                scope.cancel()
                await anyio.sleep(0)

            await scene.breaker.call(cancelled)

    scene.colour.run(main)


def in_time(fn: Callable[[], Any], hangs: str, patience: float = 10.0) -> Any:
    """What `fn` gives in a thread of its own; `hangs` is what to say if it never ends."""
    results: list[Any] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(fn())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(patience)
    assert not thread.is_alive(), hangs
    if errors:
        raise errors[0]
    return results[0]


def python_calls(fn: Callable[[], object]) -> list[str]:
    """The names of all functions, of Python and of C, that run when `fn` is called."""
    calls: list[str] = []

    def note(frame: Any, event: str, arg: Any) -> None:
        if event == "call":
            calls.append(frame.f_code.co_qualname)
        elif event == "c_call":
            calls.append(arg.__qualname__)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        fn()
    finally:
        sys.setprofile(before)
    return calls[:-1]  # but for the setprofile that ends it


@contextlib.contextmanager
def at_each_line(act: Callable[[], object]) -> Iterator[None]:
    """Call `act` before each line of a breaker's own code that this thread comes to for the first time."""
    seen: set[Any] = set()

    def at_line(frame: Any, event: str, arg: object) -> Any:
        line = frame.f_code, frame.f_lineno
        if event == "line" and line not in seen:
            seen.add(line)
            act()
        return at_line

    def at_call(frame: Any, event: str, arg: object) -> Any:
        return at_line if frame.f_code.co_filename.startswith(OURS) else None

    before = sys.gettrace()
    sys.settrace(at_call)
    try:
        yield
    finally:
        sys.settrace(before)
