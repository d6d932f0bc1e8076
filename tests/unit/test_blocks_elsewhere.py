"""Blocks that are entered in one frame and left in another: exit stacks, and managers that delegate."""

from __future__ import annotations

import contextlib
import gc
import threading
import weakref

import anyio
import pytest

from circuitry import CircuitBreaker, CircuitOpenError, circuit

pytestmark = pytest.mark.core


@pytest.fixture(params=["breaker", "shared", "new"])
def block(request, fresh, clock, fail):
    """What gives the next block of a circuit that is half-open from the first on: `with block():`."""
    breaker = fresh.get_or_create(
        "netflix", timeout_duration=10.0, clock=clock, success_threshold=9, half_open_max_calls=4
    )
    fail(breaker, 5)
    clock.advance(10)
    shared = circuit("netflix")
    kinds = {"breaker": lambda: breaker, "shared": lambda: shared, "new": lambda: circuit("netflix")}
    return kinds[request.param]


@pytest.fixture
def breaker(fresh, block):
    """The breaker behind `block`."""
    return fresh["netflix"]


def in_flight(breaker):
    return breaker.metrics().half_open_calls


class TestExitStack:
    def test_one(self, block, breaker):
        with contextlib.ExitStack() as stack:
            assert stack.enter_context(block()) is breaker
            assert in_flight(breaker) == 1
        assert (in_flight(breaker), breaker.success_count) == (0, 1)

    def test_several(self, block, breaker):
        with contextlib.ExitStack() as stack:
            for _ in range(3):
                stack.enter_context(block())
            assert in_flight(breaker) == 3
        assert (in_flight(breaker), breaker.success_count) == (0, 3)

    def test_beside_a_block_of_the_same_frame(self, block, breaker):
        with block(), contextlib.ExitStack() as stack:
            stack.enter_context(block())
            with block():
                assert in_flight(breaker) == 3
        assert (in_flight(breaker), breaker.success_count) == (0, 3)

    def test_a_failure_reaches_it(self, block, breaker):
        with pytest.raises(OSError), contextlib.ExitStack() as stack:
            stack.enter_context(block())
            raise OSError
        assert breaker.state == "open"

    def test_a_rejection_leaves_the_stack_without_it(self, block, breaker):
        breaker.force_open()
        with contextlib.ExitStack() as stack:
            with pytest.raises(CircuitOpenError):
                stack.enter_context(block())
        assert breaker.metrics().calls == 5, "the five failures that opened it"

    def test_pop_all_carries_it_elsewhere(self, block, breaker):
        def enter():
            with contextlib.ExitStack() as stack:
                stack.enter_context(block())
                return stack.pop_all()

        first, second = enter(), enter()
        assert in_flight(breaker) == 2
        first.close()
        assert (in_flight(breaker), breaker.success_count) == (1, 1)
        with pytest.raises(OSError), second:
            raise OSError
        assert breaker.state == "open"

    def test_left_in_another_thread(self, block, breaker):
        stack = contextlib.ExitStack()
        stack.enter_context(block())
        with block():
            thread = threading.Thread(target=stack.close)
            thread.start()
            thread.join()
            assert (in_flight(breaker), breaker.success_count) == (1, 1)
        assert (in_flight(breaker), breaker.success_count) == (0, 2)

    def test_left_in_the_order_they_were_entered(self, block, breaker, clock):
        stacks = [contextlib.ExitStack() for _ in range(3)]
        for stack in stacks:
            stack.enter_context(block())
        for left, stack in enumerate(stacks, 1):
            stack.close()
            assert (in_flight(breaker), breaker.success_count) == (3 - left, left)


@pytest.mark.anyio
class TestAsyncExitStack:
    async def test_several(self, block, breaker):
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(block())
            await stack.enter_async_context(block())
            stack.enter_context(block())
            assert in_flight(breaker) == 3
        assert (in_flight(breaker), breaker.success_count) == (0, 3)

    async def test_a_failure_reaches_it(self, block, breaker):
        with pytest.raises(OSError):
            async with contextlib.AsyncExitStack() as stack:
                await stack.enter_async_context(block())
                raise OSError
        assert breaker.state == "open"

    async def test_pop_all_carries_it_to_another_task(self, block, breaker):
        async def enter():
            async with contextlib.AsyncExitStack() as stack:
                await stack.enter_async_context(block())
                return stack.pop_all()

        first, second = await enter(), await enter()
        assert in_flight(breaker) == 2
        async with anyio.create_task_group() as group:
            group.start_soon(first.aclose)
        assert (in_flight(breaker), breaker.success_count) == (1, 1)
        with pytest.raises(OSError):
            async with second:
                raise OSError
        assert breaker.state == "open"


class Delegating:
    """A context manager that enters a block in one method and leaves it in another."""

    def __init__(self, block):
        self.block = block

    def __enter__(self):
        return self.block.__enter__()

    def __exit__(self, *details):
        return self.block.__exit__(*details)

    async def __aenter__(self):
        return await self.block.__aenter__()

    async def __aexit__(self, *details):
        return await self.block.__aexit__(*details)


class TestDelegating:
    def test_one(self, colour, block, breaker):
        assert colour.block(Delegating(block()), in_flight) == 1
        assert (in_flight(breaker), breaker.success_count) == (0, 1)

    def test_a_failure_reaches_it(self, colour, block, breaker):
        with pytest.raises(ZeroDivisionError):
            colour.block(Delegating(block()), lambda _: 1 / 0)
        assert breaker.state == "open"

    def test_nested(self, block, breaker):
        with Delegating(block()), Delegating(block()):
            assert in_flight(breaker) == 2
            with Delegating(block()):
                assert in_flight(breaker) == 3
            assert (in_flight(breaker), breaker.success_count) == (2, 1)
        assert (in_flight(breaker), breaker.success_count) == (0, 3)

    def test_left_in_the_other_order(self, block, breaker, clock):
        """Each is known by the object that entered it."""
        first, second = Delegating(block()), Delegating(block())
        first.__enter__()
        clock.advance(5)  # the first probe's slot lapses at 20, the second's at 25
        second.__enter__()
        first.__exit__(None, None, None)
        clock.advance(6)
        assert (in_flight(breaker), breaker.success_count) == (1, 1)
        second.__exit__(None, None, None)
        assert (in_flight(breaker), breaker.success_count) == (0, 2)

    def test_among_blocks_of_other_frames(self, block, breaker):
        delegating = Delegating(block())
        with block():
            delegating.__enter__()
            with block():
                delegating.__exit__(None, None, None)
                assert (in_flight(breaker), breaker.success_count) == (2, 1)
        assert (in_flight(breaker), breaker.success_count) == (0, 3)

    def test_one_that_enters_twice(self, block, breaker):
        delegating = Delegating(block())
        with delegating, delegating:
            assert in_flight(breaker) == 2
        assert (in_flight(breaker), breaker.success_count) == (0, 2)

    def test_a_context_manager_made_of_a_generator(self, block, breaker):
        @contextlib.contextmanager
        def session():
            with block() as entered:
                yield entered

        with session(), session():
            assert in_flight(breaker) == 2
        assert (in_flight(breaker), breaker.success_count) == (0, 2)

    def test_one_of_a_subclass(self, clock):
        class Logged(CircuitBreaker):
            def __enter__(self):
                return super().__enter__()

            def __exit__(self, *details):
                return super().__exit__(*details)

        breaker = Logged("netflix", clock=clock)
        with breaker:
            assert breaker.metrics().successes == 0
        with contextlib.ExitStack() as stack:
            stack.enter_context(breaker)
        assert breaker.metrics().successes == 2


class TestUntold:
    """Who leaves a block can't always be told: then it is refused, and says what to do."""

    def test_functions_that_enter_and_leave_for_each_other(self, breaker):
        def enter():
            breaker.__enter__()

        def leave():
            breaker.__exit__(None, None, None)

        enter()
        leave()
        assert (in_flight(breaker), breaker.success_count) == (0, 1)
        enter()
        with breaker, pytest.raises(RuntimeError, match=r"use `with circuit\(name\):`"):
            leave()
        assert in_flight(breaker) == 1

    def test_a_named_block_of_its_own_can_always_be_told(self, breaker):
        def enter(entered):
            entered.__enter__()

        def leave(left):
            left.__exit__(None, None, None)

        first, second = circuit("netflix"), circuit("netflix")
        enter(first), enter(second)
        leave(first), leave(second)
        assert (in_flight(breaker), breaker.success_count) == (0, 2)


def test_nothing_of_a_frame_is_kept_after_its_block(make_breaker):
    class Big:
        """Something whose end can be seen."""

    breaker, gone = make_breaker(), []

    def inside():
        big = Big()
        with breaker:
            weakref.finalize(big, gone.append, True)

    inside()
    gc.collect()
    assert gone == [True]
