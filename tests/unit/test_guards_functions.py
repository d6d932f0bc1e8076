"""Functions and coroutine functions: admitted, run, and their outcome taken back."""

from __future__ import annotations

import contextlib
import gc
import inspect

import anyio
import pytest

from circuitry import CircuitOpenError, TooManyCallsError, circuit

pytestmark = pytest.mark.core


def double(number):
    return number * 2


def refuse(*_args, **_kwargs):
    raise ConnectionError("refused")


def upto(stop):
    yield from range(stop)


class TestBothColours:
    def test_an_admitted_call_gives_its_result(self, colour, breaker):
        assert colour.run(breaker(colour.function(double)), 21) == 42

    def test_arguments_arrive_as_they_were_given(self, colour, breaker):
        def given(*args, **kwargs):
            return args, kwargs

        guarded = breaker(colour.function(given))
        assert colour.run(guarded, 1, "b", self=2, fn=3) == ((1, "b"), {"self": 2, "fn": 3})

    def test_an_exception_comes_out_as_it_is(self, colour, breaker):
        error = ConnectionError("refused")

        def fails():
            raise error

        with pytest.raises(ConnectionError) as caught:
            colour.run(breaker(colour.function(fails)))
        assert caught.value is error
        assert error.__cause__ is None
        assert error.__context__ is None

    @pytest.mark.parametrize(
        ("error", "counted"),
        [(ValueError(), "failures"), (KeyboardInterrupt(), "ignored"), (SystemExit(), "ignored")],
    )
    def test_what_is_no_exception_is_ignored(self, colour, breaker, error, counted):
        def fails():
            raise error

        with pytest.raises(type(error)):
            colour.run(breaker(colour.function(fails)))
        metrics = breaker.metrics()
        assert getattr(metrics, counted) == metrics.calls == 1

    def test_an_open_circuit_rejects_without_running_the_function(self, colour, breaker, fail):
        ran = []
        guarded = breaker(colour.function(ran.append))
        fail(breaker, 3)
        with pytest.raises(CircuitOpenError):
            colour.run(guarded, 1)
        assert ran == []

    def test_a_rejection_is_a_new_object_each_time(self, colour, breaker):
        breaker.force_open()
        guarded = breaker(colour.function(double))
        rejections = []
        for _ in range(2):
            with pytest.raises(CircuitOpenError) as caught:
                colour.run(guarded, 1)
            rejections.append(caught.value)
        assert rejections[0] is not rejections[1]

    def test_half_open_rejections_are_too_many_calls(self, colour, breaker, clock, fail):
        fail(breaker, 3)
        clock.advance(10)
        probes = [breaker.acquire(), breaker.acquire()]
        with pytest.raises(TooManyCallsError) as caught:
            colour.run(breaker(colour.function(double)), 1)
        assert caught.value.state == "half_open"
        assert len(probes) == 2

    def test_a_probe_that_succeeds_brings_the_circuit_back(self, colour, breaker, clock, fail):
        guarded = breaker(colour.function(double))
        fail(breaker, 3)
        clock.advance(10)
        assert [colour.run(guarded, 1), colour.run(guarded, 2)] == [2, 4]
        assert breaker.state == "closed"

    def test_a_probe_that_fails_opens_the_circuit_again(self, colour, breaker, clock, fail):
        fail(breaker, 3)
        clock.advance(10)
        with pytest.raises(ConnectionError):
            colour.run(breaker(colour.function(refuse)))
        assert breaker.state == "open"

    def test_an_ignored_probe_gives_its_slot_back(self, colour, make_breaker, clock, fail):
        breaker = make_breaker(exclude=LookupError)
        guarded = breaker(colour.function({}.__getitem__))
        fail(breaker, 3)
        clock.advance(10)
        for _ in range(5):
            with pytest.raises(KeyError):
                colour.run(guarded, "nothing")
        metrics = breaker.metrics()
        assert (metrics.state, metrics.half_open_calls, metrics.ignored) == ("half_open", 0, 5)

    def test_an_excluded_exception_can_count_as_success(self, colour, make_breaker, fail):
        breaker = make_breaker(exclude=LookupError, exclude_as="success")
        fail(breaker, 2)
        with pytest.raises(KeyError):
            colour.run(breaker(colour.function({}.__getitem__)), "nothing")
        assert (breaker.failure_count, breaker.metrics().successes) == (0, 1)

    def test_a_returned_value_can_be_a_failure(self, colour, make_breaker):
        breaker = make_breaker(failure_if=lambda status: status >= 500)
        guarded = breaker(colour.function(lambda status: status))
        assert colour.run(guarded, 503) == 503
        assert (breaker.failure_count, breaker.metrics().last_failure_at is not None) == (1, True)
        assert colour.run(guarded, 200) == 200
        assert breaker.failure_count == 0

    def test_a_success_ends_the_streak(self, colour, breaker, fail):
        fail(breaker, 2)
        colour.run(breaker(colour.function(double)), 1)
        assert breaker.failure_count == 0

    def test_a_disabled_circuit_counts_and_judges_nothing(self, colour, breaker):
        breaker.disable()
        for _ in range(10):
            with pytest.raises(ConnectionError):
                colour.run(breaker(colour.function(refuse)))
        colour.run(breaker(colour.function(double)), 1)
        metrics = breaker.metrics()
        assert (metrics.state, metrics.failures, metrics.successes) == ("disabled", 10, 1)

    def test_a_shadow_rejects_nothing_and_says_what_it_would_have(self, colour, breaker):
        breaker.shadow()
        for _ in range(5):
            with pytest.raises(ConnectionError):
                colour.run(breaker(colour.function(refuse)))
        metrics = breaker.metrics()
        assert (metrics.state, metrics.shadow_state, metrics.shadow_rejected) == ("shadow", "open", 2)
        assert (metrics.rejected, metrics.failures) == (0, 5)

    def test_call_is_the_same_without_decorating(self, colour, breaker):
        assert colour.run(breaker.call, colour.function(double), 4) == 8

    def test_one_breaker_guards_many_functions(self, colour, breaker):
        for _ in range(3):
            with pytest.raises(ConnectionError):
                colour.run(breaker(colour.function(refuse)))
        with pytest.raises(CircuitOpenError):
            colour.run(breaker(colour.function(double)), 1)

    def test_a_rejection_makes_no_reference_cycle(self, colour, breaker):
        breaker.force_open()
        guarded = breaker(colour.function(double))

        def garbage_of(rejected):
            gc.collect()
            for _ in range(50):
                rejected()
            return gc.collect()

        def rejected():
            with contextlib.suppress(CircuitOpenError):
                coroutine_or_result = guarded(1)
                coroutine_or_result.send(None)  # a rejected coroutine never waits: no loop needed

        assert garbage_of(rejected) < 50


class TestFamilies:
    """With `key=` each call goes to the circuit of its key."""

    def test_functions(self, colour, fresh):
        guarded = circuit("platform", key=lambda number: number % 2)(colour.function(double))
        assert [colour.run(guarded, number) for number in range(5)] == [0, 2, 4, 6, 8]
        family = fresh.family("platform")
        assert [family[key].metrics().successes for key in (0, 1)] == [3, 2]

    def test_one_sick_member_is_cut_off_alone(self, colour, fresh):
        guarded = circuit("platform", key=lambda name: name, failure_threshold=1)(
            colour.function({"well": 1}.__getitem__)
        )
        with pytest.raises(KeyError):
            colour.run(guarded, "sick")
        with pytest.raises(CircuitOpenError) as caught:
            colour.run(guarded, "sick")
        assert caught.value.circuit_name == "platform[sick]"
        assert colour.run(guarded, "well") == 1

    def test_streams(self, colour, fresh):
        guarded = circuit("platform", key=lambda stop: stop)(colour.stream(upto))
        assert colour.collect(guarded, 2) == [0, 1]
        assert fresh["platform[2]"].metrics().successes == 1

    def test_what_goes_on_after_a_function(self, fresh):
        async def later(number):
            return number

        guarded = circuit("platform", key=lambda number: number)(lambda number: later(number))
        assert anyio.run(guarded, 7) == 7
        assert fresh["platform[7]"].metrics().successes == 1

    @pytest.mark.parametrize(("key", "error"), [(lambda _: 1 / 0, ZeroDivisionError), (list, TypeError)])
    def test_an_error_of_the_key_comes_out_and_counts_nowhere(self, colour, fresh, key, error):
        for guarded in (colour.function(str.upper), colour.function(len)):
            with pytest.raises(error):
                colour.run(circuit("platform", key=key)(guarded), "text")
        with pytest.raises(error):
            colour.collect(circuit("platform", key=key)(colour.stream(upto)), "text")
        assert list(fresh) == []


class TestCoroutineFunctions:
    def test_nothing_is_rejected_before_it_is_awaited(self, breaker, anyio_backend):
        guarded = breaker(anyio.sleep)
        breaker.force_open()
        waiting = guarded(0)
        assert inspect.iscoroutine(waiting)
        assert breaker.metrics().rejected == 0
        with pytest.raises(CircuitOpenError):
            anyio.run(lambda: waiting, backend=anyio_backend)

    def test_no_coroutine_of_the_function_is_made_for_a_rejection(self, breaker, anyio_backend):
        """Else Python would warn that it was never awaited."""
        made = []

        class Fetch:
            async def __call__(self):
                made.append(self)

        guarded = breaker(Fetch())
        breaker.force_open()
        with pytest.raises(CircuitOpenError):
            anyio.run(guarded, backend=anyio_backend)
        assert made == []

    def test_a_call_that_is_never_begun_takes_no_permit(self, breaker):
        guarded = breaker(anyio.sleep)
        guarded(0).close()
        assert breaker.metrics().calls == 0

    @pytest.mark.anyio
    async def test_a_cancelled_call_is_ignored(self, breaker):
        guarded = breaker(anyio.sleep)
        with anyio.move_on_after(0) as scope:
            await guarded(60)
        metrics = breaker.metrics()
        assert (scope.cancelled_caught, metrics.ignored, metrics.calls) == (True, 1, 1)

    @pytest.mark.anyio
    async def test_a_cancelled_probe_gives_its_slot_back(self, make_breaker, clock, fail):
        breaker = make_breaker(half_open_max_calls=1)
        fail(breaker, 3)
        clock.advance(10)
        for _ in range(3):
            with anyio.move_on_after(0):
                await breaker(anyio.sleep)(60)
        assert (breaker.state, breaker.metrics().half_open_calls) == ("half_open", 0)

    @pytest.mark.anyio
    async def test_a_cancelled_call_reports_from_a_task_group_too(self, breaker):
        async with anyio.create_task_group() as group:
            group.start_soon(breaker(anyio.sleep), 60)
            group.start_soon(breaker(anyio.sleep), 60)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        assert breaker.metrics().ignored == 2

    @pytest.mark.anyio
    async def test_an_exception_group_is_one_failure(self, breaker):
        @breaker
        async def both():
            async with anyio.create_task_group() as group:
                group.start_soon(breaker.config.replace)
                raise ConnectionError("refused")

        with pytest.raises(ExceptionGroup):
            await both()
        assert (breaker.metrics().failures, breaker.failure_count) == (1, 1)

    @pytest.mark.anyio
    async def test_a_callers_timeout_is_ignored_and_a_timeout_inside_is_a_failure(self, breaker):
        @breaker
        async def impatient():
            with anyio.fail_after(0):
                await anyio.sleep(60)

        with pytest.raises(TimeoutError):
            await impatient()
        with pytest.raises(TimeoutError), anyio.fail_after(0):
            await breaker(anyio.sleep)(60)
        metrics = breaker.metrics()
        assert (metrics.failures, metrics.ignored) == (1, 1)


def test_wrong_arguments_raise_the_type_error_of_the_function(breaker):
    with pytest.raises(TypeError, match=r"double\(\) missing 1 required positional argument"):
        breaker(double)()


def test_a_guard_can_be_called_recursively(breaker):
    @breaker
    def factorial(number):
        return number * factorial(number - 1) if number else 1

    assert factorial(5) == 120
    assert breaker.metrics().successes == 6


def test_a_group_with_a_base_exception_is_ignored(breaker):
    @breaker
    def interrupted():
        raise BaseExceptionGroup("both", [KeyboardInterrupt(), ValueError()])

    with pytest.raises(BaseExceptionGroup):
        interrupted()
    assert breaker.metrics().ignored == 1


def test_a_group_is_excluded_if_all_its_leaves_are(make_breaker):
    breaker = make_breaker(exclude=(KeyError, IndexError))

    @breaker
    def fails(*errors):
        raise ExceptionGroup("some", list(errors))

    nested = ExceptionGroup("nested", [IndexError()])
    for errors in ([KeyError(), nested], [KeyError(), ValueError()]):
        with pytest.raises(ExceptionGroup):
            fails(*errors)
    metrics = breaker.metrics()
    assert (metrics.ignored, metrics.failures) == (1, 1)
