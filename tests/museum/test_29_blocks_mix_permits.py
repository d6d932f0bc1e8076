from __future__ import annotations

import contextlib
import contextvars
import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from circuitry import CircuitBreaker

from .doubles import Naive
from .scenes import Scene, error_of, in_async, in_sync, play

pytestmark = pytest.mark.core

# In each scene the block "earlier" was entered while the circuit was closed and fails now that it is
# half-open; the block "probe" succeeds, as one of two. So one success must stand, whoever leaves first.
LATE = OSError("late")


class OneAttribute(Naive):
    """Keeps the permit of the block that was entered last."""

    permit: Any

    def __enter__(self) -> Naive:
        self.permit = self.admit()
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> Any:
        self.ended(self.permit, error)
        return False


class ContextVariable(OneAttribute):
    """Keeps it in the context."""

    variable: contextvars.ContextVar[Any] = contextvars.ContextVar("permit", default=None)
    permit = property(lambda self: self.variable.get(), lambda self, permit: self.variable.set(permit))


def scene_of(kind: Any, colour: Any) -> Scene:
    return Scene(kind, colour, success_threshold=2, half_open_max_calls=2)


def check(scene: Scene) -> None:
    metrics = scene.breaker.metrics()
    seen = (scene.state, metrics.success_count, metrics.half_open_calls)
    assert seen == ("half_open", 1, 0), "the blocks mixed up their permits"


def exhibit_nested(kind: Any, colour: Any) -> None:
    scene = scene_of(kind, colour)

    def blocks() -> None:
        with scene.breaker:
            scene.probe_due()
            with scene.breaker:
                pass
            raise LATE

    async def blocks_async() -> None:
        async with scene.breaker:
            scene.probe_due()
            async with scene.breaker:
                pass
            raise LATE

    assert error_of(colour, blocks_async if colour.is_async else blocks) is LATE
    check(scene)


def block_steps(scene: Scene, error: Exception | None) -> Any:
    """A block as a generator of the scene's colour: `next` enters it, the `next` after it leaves."""

    def steps() -> Any:
        with scene.breaker:
            yield
            if error is not None:
                raise error

    async def steps_async() -> Any:
        async with scene.breaker:
            yield
            if error is not None:
                raise error

    return steps_async() if scene.colour.is_async else steps()


async def step(steps: Any) -> None:
    """One step of a block; what it raises is the block's affair."""
    with contextlib.suppress(StopAsyncIteration, StopIteration, OSError):
        await anext(steps) if hasattr(steps, "__anext__") else next(steps)


def exhibit_interleaved(kind: Any, colour: Any) -> None:
    scene = scene_of(kind, colour)

    async def story() -> None:
        earlier, probe = block_steps(scene, LATE), block_steps(scene, None)
        await step(earlier)
        scene.probe_due()
        for steps in (probe, earlier, probe):
            await step(steps)

    play(colour, story)
    check(scene)


def exhibit_other_contexts(kind: Any, colour: Any) -> None:
    """Each step runs in a context of its own: in another thread, or task."""
    scene = scene_of(kind, colour)

    def step_elsewhere(steps: Any) -> None:
        thread = threading.Thread(target=lambda: play(colour, step, steps))
        thread.start()
        thread.join()

    async def step_in_task(steps: Any) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(step, steps)

    async def story() -> None:
        earlier, probe = block_steps(scene, LATE), block_steps(scene, None)
        for steps in (earlier, probe, earlier, probe):
            if steps is probe and scene.state == "closed":
                scene.probe_due()
            await step_in_task(steps) if colour.is_async else step_elsewhere(steps)

    play(colour, story)
    check(scene)


def exhibit_exit_stacks(kind: Any, colour: Any) -> None:
    """Entered in one frame, left in another."""
    scene = scene_of(kind, colour)

    async def entered() -> Any:
        if not colour.is_async:
            stack = contextlib.ExitStack()
            stack.enter_context(scene.breaker)
            return stack
        stack_async = contextlib.AsyncExitStack()
        await stack_async.enter_async_context(scene.breaker)
        return stack_async

    async def left(stack: Any, error: Exception | None) -> None:
        details = (type(error), error, None) if error else (None, None, None)
        await stack.__aexit__(*details) if colour.is_async else stack.__exit__(*details)

    async def story() -> None:
        earlier = await entered()
        scene.probe_due()
        probe = await entered()
        await left(earlier, LATE)
        await left(probe, None)

    play(colour, story)
    check(scene)


def exhibit_threads(kind: Any, colour: Any) -> None:
    scene = scene_of(kind, colour)
    entered, may_leave = threading.Event(), threading.Event()

    def earlier() -> None:
        with contextlib.suppress(OSError), scene.breaker:
            entered.set()
            may_leave.wait(5)
            raise LATE

    thread = threading.Thread(target=earlier)
    thread.start()
    entered.wait(5)
    scene.probe_due()
    with scene.breaker:
        may_leave.set()
        thread.join(5)
    check(scene)


def exhibit_tasks(kind: Any, colour: Any) -> None:
    scene = scene_of(kind, colour)

    async def story() -> None:
        entered, may_leave, has_left = anyio.Event(), anyio.Event(), anyio.Event()

        async def earlier() -> None:
            with contextlib.suppress(OSError):
                async with scene.breaker:
                    entered.set()
                    await may_leave.wait()
                    raise LATE
            has_left.set()

        async with anyio.create_task_group() as group:
            group.start_soon(earlier)
            await entered.wait()
            scene.probe_due()
            async with scene.breaker:
                may_leave.set()
                await has_left.wait()

    colour.run(story)
    check(scene)


Exhibit = Callable[[Any, Any], None]
IN_BOTH = [exhibit_nested, exhibit_interleaved, exhibit_other_contexts, exhibit_exit_stacks]


@pytest.mark.parametrize("exhibit", IN_BOTH)
def test_each_block_has_its_own_permit(colour: Any, exhibit: Exhibit) -> None:
    """Breakers that keep the permit in themselves, or in the context, give one block's outcome to another."""
    exhibit(CircuitBreaker, colour)


@in_sync
def test_the_blocks_of_two_threads_have_their_own_permits(colour: Any) -> None:
    """The same, where two threads are in a block at once."""
    exhibit_threads(CircuitBreaker, colour)


@in_async
def test_the_blocks_of_two_tasks_have_their_own_permits(colour: Any) -> None:
    """The same, where two tasks are in a block at once."""
    exhibit_tasks(CircuitBreaker, colour)


@pytest.mark.parametrize("exhibit", IN_BOTH)
def test_the_faulty_double_is_caught(colour: Any, exhibit: Exhibit) -> None:
    with pytest.raises(AssertionError, match="mixed up their permits"):
        exhibit(OneAttribute, colour)


def test_the_double_that_keeps_them_in_the_context_is_caught(colour: Any) -> None:
    with pytest.raises(AssertionError, match="mixed up their permits"):
        exhibit_other_contexts(ContextVariable, colour)


@in_sync
def test_the_faulty_double_is_caught_between_threads(colour: Any) -> None:
    with pytest.raises(AssertionError, match="mixed up their permits"):
        exhibit_threads(OneAttribute, colour)


@in_async
def test_the_faulty_double_is_caught_between_tasks(colour: Any) -> None:
    with pytest.raises(AssertionError, match="mixed up their permits"):
        exhibit_tasks(OneAttribute, colour)
