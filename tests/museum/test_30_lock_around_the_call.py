from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from circuitry import CircuitBreaker

from .doubles import Naive
from .scenes import Scene

pytestmark = pytest.mark.core


class OneAtATime(Naive):
    """Decides, calls and records under one lock."""

    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        lock, lock_async = threading.Lock(), anyio.Lock()

        @functools.wraps(fn)
        def guarded(*args: Any) -> Any:
            with lock:
                return fn(*args)

        @functools.wraps(fn)
        async def guarded_async(*args: Any) -> Any:
            async with lock_async:
                return await fn(*args)

        return guarded_async if inspect.iscoroutinefunction(fn) else guarded


def exhibit(kind: Any, colour: Any, patience: float = 10.0) -> None:
    """Two calls, each of which only ends when both are inside the function."""
    scene = Scene(kind, colour)
    met = (_meet_in_tasks if colour.is_async else _meet_in_threads)(scene, patience)
    assert met, "a lock is held while the user's function runs"


def _meet_in_threads(scene: Scene, patience: float) -> bool:
    meeting = threading.Barrier(2, timeout=patience)

    @scene.breaker
    def both() -> None:
        try:
            meeting.wait()
        except threading.BrokenBarrierError:
            pass

    threads = [threading.Thread(target=both) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return not meeting.broken


def _meet_in_tasks(scene: Scene, patience: float) -> bool:
    inside: list[object] = []

    async def main() -> bool:
        met = anyio.Event()

        @scene.breaker
        async def both() -> None:
            inside.append(None)
            if len(inside) == 2:
                met.set()
            await met.wait()

        with anyio.move_on_after(patience):
            async with anyio.create_task_group() as group:
                group.start_soon(both)
                group.start_soon(both)
        return met.is_set()

    return bool(scene.colour.run(main))


def test_two_callers_are_inside_the_function_at_once(colour: Any) -> None:
    """pybreaker holds its lock while the user's function runs, so 20 calls of 50 ms took 1 s; gobreaker's
    distributed one does so across the fleet.
    """
    exhibit(CircuitBreaker, colour)


def test_the_faulty_double_is_caught(colour: Any) -> None:
    with pytest.raises(AssertionError, match="lock is held"):
        exhibit(OneAtATime, colour, patience=0.05)
