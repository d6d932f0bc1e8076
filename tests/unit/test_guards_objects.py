"""Callables that are no plain functions, and what is refused."""

from __future__ import annotations

import contextlib
import functools
import inspect
import operator
import sys
import types
import warnings
from unittest import mock

import anyio
import pytest

from circuitry import CircuitOpenError, ConfigurationError, circuit, circuit_of
from circuitry.testing import fresh_registry

pytestmark = pytest.mark.core


class Multiply:
    """A callable object."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, number):
        return self.factor * number


class MultiplyLater(Multiply):
    async def __call__(self, number):
        await anyio.lowlevel.checkpoint()
        return self.factor * number


class Count:
    def __call__(self, number):
        yield from range(number)


class CountLater:
    async def __call__(self, number):
        for item in range(number):
            yield item


def run(fn, *args):
    return anyio.run(fn, *args)


async def collected(stream):
    return [item async for item in stream]


class TestPartials:
    def test_of_each_colour(self, colour, breaker):
        power = functools.partial(colour.function(lambda number, exponent: number**exponent), exponent=3)
        assert colour.run(breaker(power), 2) == 8
        assert breaker.metrics().successes == 1

    def test_of_an_async_function_is_guarded_to_its_end(self, breaker):
        async def fails(_):
            raise OSError("down")

        guarded = breaker(functools.partial(functools.partial(fails), 1))
        assert inspect.iscoroutinefunction(guarded)
        with pytest.raises(OSError):
            run(guarded)
        assert breaker.failure_count == 1

    def test_of_a_generator_function(self, breaker):
        stream = breaker(functools.partial(Count().__call__, 2))()
        assert inspect.isgenerator(stream)
        assert list(stream) == [0, 1]

    def test_of_an_async_generator_function(self, breaker):
        stream = breaker(functools.partial(CountLater().__call__, 2))()
        assert inspect.isasyncgen(stream)
        assert run(collected, stream) == [0, 1]

    def test_of_an_async_callable_object(self, breaker):
        guarded = breaker(functools.partial(MultiplyLater(2), 21))
        coroutine = guarded()
        assert breaker.metrics().calls == 0
        assert run(lambda: coroutine) == 42
        assert breaker.metrics().successes == 1

    def test_keeps_its_attributes(self, breaker):
        guarded = breaker(functools.partial(int, base=2))
        assert (guarded.func, guarded.keywords) == (int, {"base": 2})
        assert guarded("101") == 5

    def test_in_a_class_is_not_bound_as_ever(self, breaker):
        class Api:
            parse = breaker(functools.partial(int, base=2))

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of 3.13: partials will be bound one day
            assert (Api.parse("101"), Api().parse("11")) == (5, 3)


class TestCallableObjects:
    def test_sync(self, breaker):
        guarded = breaker(Multiply(2))
        assert guarded(21) == 42
        assert breaker.metrics().successes == 1

    def test_async(self, breaker):
        guarded = breaker(MultiplyLater(2))
        coroutine = guarded(21)
        assert breaker.metrics().calls == 0
        assert run(lambda: coroutine) == 42
        assert breaker.metrics().successes == 1

    def test_streaming(self, breaker):
        assert list(breaker(Count())(2)) == [0, 1]
        assert run(collected, breaker(CountLater())(2)) == [0, 1]
        assert breaker.metrics().successes == 2

    @pytest.mark.parametrize("original", [Multiply(2), MultiplyLater(2), Count(), CountLater()])
    def test_its_call_is_of_the_same_kind_for_frameworks_that_look_at_it(self, breaker, original):
        guarded = breaker(original)
        kinds = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
        for is_kind in kinds:
            assert is_kind(guarded.__call__) == is_kind(original.__call__)
        assert inspect.signature(guarded) == inspect.signature(original)

    def test_async_under_two_circuits_is_still_async(self, breaker, make_breaker):
        async def cached(_):
            return "cached"

        outer = make_breaker("outer", fallback=cached)
        guarded = outer(breaker(MultiplyLater(2)))
        assert run(guarded, 21) == 42
        assert (breaker.metrics().successes, outer.metrics().successes) == (1, 1)

    def test_is_still_the_object(self, breaker):
        original = Multiply(2)
        guarded = breaker(original)
        assert isinstance(guarded, Multiply)
        assert guarded.factor == 2
        guarded.factor = 3
        assert original.factor == 3
        assert guarded(2) == 6
        assert guarded.__doc__ == "A callable object."
        assert inspect.unwrap(guarded) is original
        assert circuit_of(guarded) is breaker

    def test_in_a_class_is_not_bound_as_ever(self, breaker):
        class Api:
            double = breaker(Multiply(2))

        assert (Api.double(1), Api().double(2)) == (2, 4)
        assert circuit_of(Api.double) is breaker

    def test_one_that_binds_is_bound(self, breaker):
        class Method(Multiply):
            def __get__(self, instance, owner=None):
                return self if instance is None else types.MethodType(self, instance)

            def __call__(self, instance, number):
                return instance, self.factor * number

        class Api:
            double = breaker(Method(2))

        api = Api()
        assert api.double(1) == (api, 2)
        assert breaker.metrics().successes == 1

    def test_mocks(self, breaker):
        fetch, fetch_later = mock.Mock(return_value="now"), mock.AsyncMock(return_value="later")
        assert breaker(fetch)(1) == "now"
        assert run(breaker(fetch_later), 2) == "later"
        fetch.assert_called_once_with(1)
        fetch_later.assert_awaited_once_with(2)
        assert breaker.metrics().successes == 2


class TestFunctionsOfTheStandardLibrary:
    def test_cached_functions_keep_their_cache(self, breaker):
        @breaker
        @functools.lru_cache
        def square(number):
            return number**2

        assert [square(2), square(2)] == [4, 4]
        assert square.cache_info().hits == 1
        assert breaker.metrics().successes == 2
        square.cache_clear()
        assert square.cache_info().hits == 0
        assert circuit_of(square) is breaker

    def test_cached_methods_are_bound(self, breaker):
        class Api:
            @breaker
            @functools.lru_cache  # noqa: B019 - the test is about it
            def me(self):
                return self

        api = Api()
        assert api.me() is api
        assert Api.me(api) is api
        assert circuit_of(api.me) is circuit_of(Api.me) is breaker
        assert Api.me.cache_info().hits == 1

    def test_a_cache_over_a_guard_asks_it_once(self, breaker):
        cached = functools.lru_cache(breaker(lambda number: number))
        assert [cached(1), cached(1)] == [1, 1]
        assert breaker.metrics().successes == 1

    def test_builtins(self, breaker):
        assert breaker(len)("abc") == 3
        assert breaker(str.upper)("abc") == "ABC"
        assert breaker("abc".upper)() == "ABC"
        assert breaker(operator.itemgetter(1))("abc") == "b"
        assert breaker.metrics().successes == 4

    def test_single_dispatch(self, breaker):
        @functools.singledispatch
        def kind(_):
            return "object"

        guarded = breaker(kind)
        guarded.register(int, lambda _: "int")
        assert (guarded(""), guarded(1)) == ("object", "int")
        assert breaker.metrics().successes == 2

    def test_generator_based_coroutines(self, breaker):
        """`types.coroutine` makes generators that can be awaited: they stay so."""

        @breaker
        @types.coroutine
        def step():
            yield from anyio.lowlevel.checkpoint().__await__()
            return "done"

        async def main():
            return await step()

        assert run(main) == "done"
        assert breaker.metrics().successes == 1

    def test_a_returned_generator_based_coroutine(self, breaker):
        @types.coroutine
        def step():
            yield from anyio.lowlevel.checkpoint().__await__()
            return "done"

        async def main():
            return await breaker(lambda: step())()

        assert run(main) == "done"
        assert breaker.metrics().successes == 1

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="inspect.markcoroutinefunction is of 3.12")
    def test_functions_marked_as_coroutine_functions(self, breaker):
        guarded = breaker(inspect.markcoroutinefunction(lambda: MultiplyLater(2)(21)))
        assert inspect.iscoroutinefunction(guarded)
        assert run(guarded) == 42
        assert breaker.metrics().successes == 1


class TestRefused:
    """What can't be guarded is refused where it is decorated, with the reason and what to do."""

    @pytest.fixture(params=["breaker", "circuit", "call"])
    def guard(self, request, breaker):
        if request.param == "circuit":
            with fresh_registry():
                yield circuit("refused")
        else:
            yield breaker if request.param == "breaker" else breaker.call

    def test_a_class(self, guard):
        with pytest.raises(TypeError, match=r"Multiply.* can't be guarded: .* decorate the methods"):
            guard(Multiply)

    @pytest.mark.parametrize(
        "thing",
        [None, 42, "name", property(len), functools.cached_property(len), functools.partialmethod(len)],
    )
    def test_what_is_not_callable(self, guard, thing):
        with pytest.raises(TypeError, match="isn't callable; decorate the function or method beneath it"):
            guard(thing)

    @pytest.mark.parametrize("kind", [contextlib.contextmanager, contextlib.asynccontextmanager])
    def test_a_function_that_makes_a_block(self, guard, kind):
        with pytest.raises(TypeError, match=r"above @contextmanager, .* decorate the generator beneath it"):
            guard(kind(Count().__call__))

    @pytest.mark.parametrize("settings", [{"preset": "pubnub"}, {"fallback_value": None}])
    def test_settings_beside_a_function(self, settings):
        with pytest.raises(ConfigurationError, match="the first argument must be a name"):
            circuit(len, **settings)

    @pytest.mark.parametrize("kind", [classmethod, staticmethod])
    def test_a_class_under_a_classmethod(self, breaker, kind):
        with pytest.raises(TypeError, match="can't be guarded"):
            breaker(kind(Multiply))

    def test_an_async_fallback_of_a_sync_function(self, make_breaker):
        with pytest.raises(TypeError, match="give a sync fallback, or make the guarded function async"):
            make_breaker(fallback=MultiplyLater(2))(len)

    def test_leaves_no_circuit_behind(self, fresh):
        with pytest.raises(TypeError):
            circuit("refused")(Multiply)
        assert "refused" not in fresh


class TestCall:
    def test_guards_anything_for_one_call(self, breaker):
        assert breaker.call(Multiply(2), 21) == 42
        assert run(lambda: breaker.call(MultiplyLater(2), 21)) == 42
        assert list(breaker.call(Count(), 2)) == [0, 1]
        assert run(collected, breaker.call(CountLater(), 2)) == [0, 1]
        assert breaker.metrics().successes == 4

    def test_its_own_parameters_leave_all_names_to_the_function(self, breaker):
        taken = breaker.call(lambda **kwargs: kwargs, fn=1, self=2, fallback=3)
        assert taken == {"fn": 1, "self": 2, "fallback": 3}

    def test_what_can_be_awaited_is_rejected_when_it_is_awaited(self, breaker):
        breaker.force_open()
        coroutine = breaker.call(MultiplyLater(2), 21)
        with pytest.raises(CircuitOpenError):
            run(lambda: coroutine)

    def test_raises_what_the_function_raises(self, breaker):
        with pytest.raises(ZeroDivisionError):
            breaker.call(divmod, 1, 0)
        assert breaker.failure_count == 1

    def test_uses_the_fallback_of_the_breaker(self, make_breaker):
        breaker = make_breaker(fallback_value="cached")
        breaker.force_open()
        assert breaker.call(divmod, 1, 0) == "cached"

    def test_uses_the_fallback_of_the_call_instead(self, colour, make_breaker):
        breaker = make_breaker(fallback_value="of the breaker")
        fetch, fallback = colour.function(lambda number: number), lambda number: -number
        assert colour.run(breaker.call_with_fallback, fetch, fallback, 1) == 1
        breaker.force_open()
        assert colour.run(breaker.call_with_fallback, fetch, fallback, 1) == -1
        assert breaker.metrics().fallbacks == 1

    def test_a_fallback_of_the_call_is_for_rejections_only(self, make_breaker):
        breaker = make_breaker()
        with pytest.raises(ZeroDivisionError):
            breaker.call_with_fallback(divmod, lambda *_: "cached", 1, 0)
