"""`with` and `async with`: each block has a permit of its own, wherever it stands.

Each scenario runs over a breaker, over a shared `circuit("name")`, and over a new one each time.
"""

from __future__ import annotations

import contextlib
import gc
import threading

import anyio
import pytest

from circuitry import CircuitOpenError, TooManyCallsError, circuit

pytestmark = pytest.mark.core


@pytest.fixture(params=["breaker", "shared", "new"])
def block(request, fresh, clock):
    """What gives the next block: `with block():`."""
    numbers = {"failure_threshold": 3, "success_threshold": 2, "half_open_max_calls": 2}
    breaker = fresh.get_or_create("netflix", timeout_duration=10.0, clock=clock, **numbers)
    shared = circuit("netflix")
    kinds = {"breaker": lambda: breaker, "shared": lambda: shared, "new": lambda: circuit("netflix")}
    return kinds[request.param]


@pytest.fixture
def breaker(fresh, block):
    """The breaker behind `block`."""
    return fresh["netflix"]


@pytest.fixture
def half_open(breaker, clock, fail):
    """Half-open, from the first call on: each block is a probe then, and shows its permit."""
    fail(breaker, 3)
    clock.advance(10)
    return breaker


def counts(breaker):
    metrics = breaker.metrics()
    return metrics.successes, metrics.failures, metrics.ignored


def in_flight(breaker):
    return breaker.metrics().half_open_calls


class TestOneBlock:
    def test_it_gives_the_breaker(self, colour, block, breaker):
        assert colour.block(block()) is breaker

    def test_leaving_it_is_a_success(self, colour, block, breaker):
        colour.block(block())
        assert counts(breaker) == (1, 0, 0)

    def test_an_exception_is_a_failure_and_comes_out_as_it_is(self, colour, block, breaker):
        error = OSError("down")

        def fails(_):
            raise error

        with pytest.raises(OSError) as caught:
            colour.block(block(), fails)
        assert caught.value is error
        assert (breaker.failure_count, counts(breaker)) == (1, (0, 1, 0))

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
    def test_what_is_no_exception_is_ignored(self, block, breaker, kind):
        with pytest.raises(kind), block():
            raise kind
        assert counts(breaker) == (0, 0, 1)

    def test_it_is_rejected_at_its_beginning(self, colour, block, breaker, fail):
        fail(breaker, 3)
        with pytest.raises(CircuitOpenError):
            colour.block(block(), lambda _: pytest.fail("entered"))
        assert breaker.metrics().rejected == 1

    def test_it_holds_a_probe(self, colour, block, half_open):
        assert colour.block(block(), in_flight) == 1
        assert (half_open.state, half_open.success_count) == ("half_open", 1)
        colour.block(block())
        assert half_open.state == "closed"

    def test_a_failing_probe_opens_the_circuit(self, colour, block, half_open):
        with pytest.raises(ZeroDivisionError):
            colour.block(block(), lambda _: 1 / 0)
        assert half_open.state == "open"

    def test_leaving_by_return_break_and_continue_is_a_success(self, block, breaker):
        def returns():
            with block():
                return "returned"

        assert returns() == "returned"
        for turn in range(2):
            with block():
                if turn:
                    break
                continue
        assert counts(breaker) == (3, 0, 0)

    def test_a_success_ends_the_streak(self, colour, block, breaker, fail):
        fail(breaker, 2)
        colour.block(block())
        assert breaker.failure_count == 0


class TestNested:
    def test_in_one_frame(self, block, half_open):
        with block():
            assert in_flight(half_open) == 1
            with block():
                assert in_flight(half_open) == 2
                with pytest.raises(TooManyCallsError), block():
                    pytest.fail("a third probe")
            assert in_flight(half_open) == 1
        assert half_open.state == "closed"

    @pytest.mark.anyio
    async def test_in_one_coroutine(self, block, half_open):
        async with block():
            async with block():
                assert in_flight(half_open) == 2
            assert in_flight(half_open) == 1
        assert half_open.state == "closed"

    def test_both_colours_in_one_frame(self, block, breaker):
        async def main():
            async with block():
                with block():
                    pass
                assert breaker.metrics().successes == 1

        anyio.run(main)
        assert breaker.metrics().successes == 2

    def test_the_inner_failure_is_the_inner_blocks_own(self, block, breaker):
        with block():
            with pytest.raises(OSError), block():
                raise OSError
            assert counts(breaker) == (0, 1, 0)
        assert counts(breaker) == (1, 1, 0)

    def test_recursive(self, block, breaker):
        def descend(depth):
            with block():
                if depth:
                    descend(depth - 1)
                assert breaker.metrics().successes == depth

        descend(5)
        assert breaker.metrics().successes == 6

    def test_a_failure_through_all_of_them_is_one_for_each(self, block, breaker):
        with pytest.raises(OSError), block(), block():
            raise OSError
        assert counts(breaker) == (0, 2, 0)


class TestInterleaved:
    def test_generators_on_one_breaker(self, block, half_open):
        def inside(fails):
            with block():
                yield
                if fails:
                    raise OSError

        first, second = inside(False), inside(True)
        next(first), next(second)
        assert in_flight(half_open) == 2
        next(first, None)
        assert (in_flight(half_open), half_open.success_count) == (1, 1)
        with pytest.raises(OSError):
            next(second)
        assert half_open.state == "open"

    def test_generators_left_in_the_other_order(self, block, half_open):
        def inside():
            with block():
                yield

        first, second = inside(), inside()
        next(first), next(second)
        with pytest.raises(OSError):
            second.throw(OSError())
        assert half_open.state == "open"
        next(first, None)
        assert half_open.state == "open", "the probe of another generation counts no more"

    def test_an_abandoned_generator_gives_its_probe_back(self, block, half_open):
        def inside():
            with block():
                yield

        next(inside())
        gc.collect()
        assert (in_flight(half_open), half_open.metrics().ignored) == (0, 1)

    def test_the_inner_block_of_a_later_generation_counts_there(self, block, breaker):
        """Also if the block that was entered first has been left meanwhile."""

        def inside():
            with block():
                yield

        def outer():
            with block():
                yield
                breaker.reset()
                breaker.force_open()
                breaker.reset()
                with contextlib.suppress(OSError), block():
                    raise OSError
                yield

        first, second = inside(), outer()
        next(first), next(second)
        next(first, None)
        next(second)
        assert breaker.failure_count == 1


class TestThreadsAndTasks:
    def test_threads(self, block, half_open):
        both, checked = threading.Barrier(3, timeout=10), threading.Barrier(3, timeout=10)

        def inside():
            with block():
                both.wait()
                checked.wait()

        threads = [threading.Thread(target=inside) for _ in range(2)]
        for thread in threads:
            thread.start()
        both.wait()
        assert in_flight(half_open) == 2
        checked.wait()
        for thread in threads:
            thread.join()
        assert half_open.state == "closed"

    @pytest.mark.anyio
    async def test_tasks(self, block, half_open):
        async def inside(leave):
            async with block():
                await leave.wait()

        first, second = anyio.Event(), anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(inside, first)
            group.start_soon(inside, second)
            await anyio.wait_all_tasks_blocked()
            assert in_flight(half_open) == 2
            first.set()
            await anyio.wait_all_tasks_blocked()
            assert (in_flight(half_open), half_open.success_count) == (1, 1)
            second.set()
        assert half_open.state == "closed"

    @pytest.mark.anyio
    async def test_a_cancelled_task_gives_its_probe_back(self, block, half_open):
        with anyio.CancelScope() as scope:
            async with block():
                scope.cancel()
                await anyio.lowlevel.checkpoint()
        assert (in_flight(half_open), half_open.metrics().ignored) == (0, 1)

    @pytest.mark.anyio
    async def test_a_sync_block_may_stand_across_an_await(self, block, half_open):
        seen = []

        async def inside():
            with block():
                await anyio.wait_all_tasks_blocked()
                seen.append(in_flight(half_open))

        async with anyio.create_task_group() as group:
            group.start_soon(inside)
            group.start_soon(inside)
        assert (max(seen), half_open.state) == (2, "closed")

    def test_a_coroutine_that_is_dropped_gives_its_probe_back(self, block, half_open):
        class Once:
            def __await__(self):
                yield

        async def inside():
            async with block():
                await Once()

        coroutine = inside()
        coroutine.send(None)
        del coroutine
        gc.collect()
        assert (in_flight(half_open), half_open.metrics().ignored) == (0, 1)


class TestRefused:
    def test_a_block_without_a_name(self, colour):
        with pytest.raises(TypeError, match=r'a block needs a name.*: circuit\("name"\)'):
            colour.block(circuit())

    @pytest.mark.parametrize(
        "setting",
        [
            {"fallback": print},
            {"fallback_value": 1},
            {"fallback_value": 1, "fallback_on": OSError},
            {"key": id},
        ],
    )
    def test_a_block_with_a_fallback_or_a_key(self, colour, fresh, setting):
        with pytest.raises(
            TypeError, match=rf"a block can't use {next(iter(setting))}=: .* decorate a function"
        ):
            colour.block(circuit("refused", **setting))
        assert "refused" not in fresh

    def test_a_breaker_with_a_fallback(self, colour, make_breaker):
        breaker = make_breaker(fallback=print)
        with pytest.raises(
            TypeError, match=r"has a fallback, .* decorate a function, or catch CircuitOpenError"
        ):
            colour.block(breaker)
        assert breaker.metrics().successes == 0

    def test_a_breaker_with_a_fallback_that_is_open_says_the_same(self, colour, make_breaker, clock, fail):
        breaker = make_breaker(fallback=print)
        fail(breaker, 3)
        with pytest.raises(TypeError, match="has a fallback"):
            colour.block(breaker)
        clock.advance(10)
        with pytest.raises(TypeError, match="has a fallback"):
            colour.block(breaker)
        assert (breaker.state, breaker.metrics().rejected, in_flight(breaker)) == ("open", 0, 0)

    def test_a_block_whose_result_would_be_judged(self, colour, fresh):
        with pytest.raises(TypeError, match="a block can't use failure_if=: it returns nothing"):
            colour.block(circuit("refused", failure_if=bool))
        assert "refused" not in fresh

    def test_leaving_what_was_not_entered(self, breaker):
        with pytest.raises(RuntimeError, match="this block was entered somewhere else"):
            breaker.__exit__(None, None, None)


class TestNamedBlocks:
    def test_settings_stand_beside_the_name(self, colour, fresh):
        colour.block(circuit("settled", failure_threshold=7))
        assert fresh["settled"].config.failure_threshold == 7

    def test_the_judging_is_the_breakers(self, colour, fresh):
        fresh.get_or_create("lenient", exclude=ZeroDivisionError)
        with pytest.raises(ZeroDivisionError):
            colour.block(circuit("lenient"), lambda _: 1 / 0)

    def test_what_it_says_of_failures_holds_for_itself(self, colour, fresh):
        with pytest.raises(ZeroDivisionError):
            colour.block(circuit("shared", exclude=ZeroDivisionError), lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError), contextlib.ExitStack() as stack:
            stack.enter_context(circuit("shared", include=OSError))
            1 / 0
        assert counts(fresh["shared"]) == (0, 0, 2)
        with pytest.raises(ZeroDivisionError):
            colour.block(circuit("shared"), lambda _: 1 / 0)
        assert counts(fresh["shared"]) == (0, 1, 2)

    def test_the_name_is_looked_up_when_it_is_entered(self, fresh):
        entered = circuit("later")
        assert "later" not in fresh
        with entered as breaker:
            assert fresh["later"] is breaker
