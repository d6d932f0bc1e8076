"""What stands in for a call that is rejected or, if asked for, has failed."""

from __future__ import annotations

import asyncio
import functools

import pytest

from circuitry import CircuitBreaker, CircuitOpenError, ConfigurationError, TooManyCallsError, circuit
from circuitry.fallback import MISSING

pytestmark = pytest.mark.core


def fetch(region, page=1):
    return f"{region}/{page}"


def cached(region, page=1):
    return f"cached {region}/{page}"


async def cached_later(region, page=1):
    await asyncio.sleep(0)
    return cached(region, page)


class TestRejections:
    @pytest.mark.parametrize("state", ["open", "half_open", "forced_open"])
    def test_it_serves_them_in_every_state_that_rejects(self, colour, make_breaker, clock, fail, state):
        breaker = make_breaker(fallback=cached)
        guarded = breaker(colour.function(fetch))
        fail(breaker, 3)
        probes = []
        if state == "half_open":
            clock.advance(10)
            probes = [breaker.acquire(), breaker.acquire()]
        if state == "forced_open":
            breaker.force_open()
        assert colour.run(guarded, "eu", page=2) == "cached eu/2"
        metrics = breaker.metrics()
        assert (metrics.state, metrics.rejected, metrics.fallbacks) == (state, 1, 1)
        del probes

    def test_it_is_not_asked_while_calls_are_admitted(self, colour, make_breaker):
        breaker = make_breaker(fallback=lambda *_: pytest.fail("asked"))
        assert colour.run(breaker(colour.function(fetch)), "eu") == "eu/1"
        assert breaker.metrics().fallbacks == 0

    def test_it_is_told_the_rejection_if_it_asks(self, colour, make_breaker, clock, fail):
        breaker = make_breaker(fallback=lambda *_, error: error)
        guarded = breaker(colour.function(fetch))
        fail(breaker, 3)
        assert type(colour.run(guarded, "eu")) is CircuitOpenError
        clock.advance(10)
        probes = [breaker.acquire(), breaker.acquire()]
        assert type(colour.run(guarded, "eu")) is TooManyCallsError
        del probes

    @pytest.mark.parametrize(
        "fallback",
        [
            lambda error: error,
            lambda region, error=None: (region, error),
            lambda *args, **kwargs: (args, kwargs),
        ],
    )
    def test_only_a_keyword_only_parameter_of_that_name_asks(self, colour, make_breaker, fallback):
        breaker = make_breaker(fallback=fallback)
        breaker.force_open()
        answer = colour.run(breaker(colour.function(fetch)), "eu")
        assert answer in ("eu", ("eu", None), (("eu",), {}))

    def test_a_value_may_stand_in(self, colour, make_breaker):
        value = ["shared, not copied"]
        breaker = make_breaker(fallback_value=value)
        breaker.force_open()
        guarded = breaker(colour.function(fetch))
        assert colour.run(guarded, "eu") is value
        assert colour.run(guarded, "us", page=3) is value

    @pytest.mark.parametrize("value", [None, False, 0, "", print])
    def test_any_value_may(self, colour, make_breaker, value):
        breaker = make_breaker(fallback_value=value)
        breaker.force_open()
        assert colour.run(breaker(colour.function(fetch)), "eu") is value

    def test_a_builtin_without_a_signature_may(self, make_breaker):
        breaker = make_breaker(fallback=dict)
        breaker.force_open()
        assert breaker(lambda **_: None)(region="eu") == {"region": "eu"}

    def test_a_method_gets_its_self(self, colour, make_breaker):
        breaker = make_breaker(fallback=lambda self, region: (self, region))

        class Api:
            fetch = breaker(colour.function(lambda self, region: region))

        breaker.force_open()
        api = Api()
        assert colour.run(api.fetch, "eu") == (api, "eu")

    def test_it_belongs_to_the_decoration(self, colour, fresh):
        """Two functions on one circuit may have different ones, or none."""
        served = circuit("netflix", fallback=cached)(colour.function(fetch))
        bare = circuit("netflix")(colour.function(fetch))
        fresh["netflix"].force_open()
        assert colour.run(served, "eu") == "cached eu/1"
        with pytest.raises(CircuitOpenError):
            colour.run(bare, "eu")


class TestFailures:
    def test_it_is_for_rejections_only(self, colour, make_breaker):
        breaker = make_breaker(fallback=lambda: pytest.fail("asked"))
        with pytest.raises(ZeroDivisionError):
            colour.run(breaker(colour.function(lambda: 1 / 0)))

    def test_it_serves_failures_it_is_asked_to(self, colour, make_breaker):
        breaker = make_breaker(fallback=lambda *, error: error, fallback_on=(LookupError, ArithmeticError))
        guarded = breaker(colour.function(lambda: 1 / 0))
        assert type(colour.run(guarded)) is ZeroDivisionError
        metrics = breaker.metrics()
        assert (metrics.failures, metrics.fallbacks, metrics.rejected) == (1, 1, 0)

    def test_and_goes_on_serving_rejections(self, colour, make_breaker):
        breaker = make_breaker(fallback_value="cached", fallback_on=ArithmeticError)
        guarded = breaker(colour.function(lambda: 1 / 0))
        assert [colour.run(guarded) for _ in range(5)] == ["cached"] * 5
        metrics = breaker.metrics()
        assert (metrics.failures, metrics.rejected, metrics.fallbacks) == (3, 2, 5)

    def test_what_is_judged_no_failure_is_not_served(self, colour, make_breaker):
        breaker = make_breaker(fallback_value="cached", fallback_on=Exception, exclude=ZeroDivisionError)
        with pytest.raises(ZeroDivisionError):
            colour.run(breaker(colour.function(lambda: 1 / 0)))
        assert breaker.metrics().ignored == 1

    def test_what_is_no_exception_is_never_served(self, colour, make_breaker):
        breaker = make_breaker(fallback_value="cached", fallback_on=BaseException)

        def interrupted():
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            colour.run(breaker(colour.function(interrupted)))

    def test_an_inner_circuits_rejection_is_a_failure_like_others(self, colour, make_breaker):
        inner, outer = make_breaker("inner"), make_breaker("outer", fallback_value="cached")
        inner.force_open()
        with pytest.raises(CircuitOpenError):
            colour.run(outer(inner(colour.function(fetch))), "eu")
        wider = make_breaker("wider", fallback_value="cached", fallback_on=CircuitOpenError)
        assert colour.run(wider(inner(colour.function(fetch))), "eu") == "cached"


class TestItsOwnErrors:
    @pytest.mark.parametrize("chained", [None, LookupError("the cache is empty")])
    def test_come_out_from_what_it_stood_in_for(self, colour, make_breaker, chained):
        own = ValueError("nothing cached")

        def fallback():
            raise own from chained

        breaker = make_breaker(fallback=fallback)
        breaker.force_open()
        with pytest.raises(ValueError) as caught:
            colour.run(breaker(colour.function(lambda: None)))
        assert caught.value is own
        if chained is None:
            assert isinstance(own.__cause__, CircuitOpenError)
        else:
            assert own.__cause__ is chained, "what it said itself holds"

    def test_also_for_failures(self, colour, make_breaker):
        down = OSError("down")

        def fetch():
            raise down

        def fallback():
            raise ValueError

        breaker = make_breaker(fallback=fallback, fallback_on=OSError)
        with pytest.raises(ValueError) as caught:
            colour.run(breaker(colour.function(fetch)))
        assert caught.value.__cause__ is down

    def test_it_may_raise_the_rejection_again(self, colour, make_breaker):
        def fallback(*, error):
            raise error

        breaker = make_breaker(fallback=fallback)
        breaker.force_open()
        with pytest.raises(CircuitOpenError) as caught:
            colour.run(breaker(colour.function(lambda: None)))
        assert caught.value.__cause__ is None

    def test_are_no_failures_of_the_circuit(self, colour, make_breaker):
        breaker = make_breaker(fallback=lambda: 1 / 0)
        breaker.force_open()
        with pytest.raises(ZeroDivisionError):
            colour.run(breaker(colour.function(lambda: None)))
        assert breaker.metrics().failures == 0

    def test_an_interruption_is_left_alone(self, colour, make_breaker):
        def fallback():
            raise KeyboardInterrupt

        breaker = make_breaker(fallback=fallback)
        breaker.force_open()
        with pytest.raises(KeyboardInterrupt) as caught:
            colour.run(breaker(colour.function(lambda: None)))
        assert caught.value.__cause__ is None


class TestAsync:
    @pytest.mark.parametrize("fallback", [cached, cached_later, functools.partial(cached_later)])
    def test_an_async_call_takes_either_colour(self, make_breaker, fallback):
        async def fetch_later(region, page=1):
            raise OSError("down")

        breaker = make_breaker(fallback=fallback, fallback_on=OSError)
        guarded = breaker(fetch_later)
        assert asyncio.run(guarded("eu")) == "cached eu/1"
        breaker.force_open()
        assert asyncio.run(guarded("eu", page=2)) == "cached eu/2"

    def test_an_error_while_awaiting_comes_from_the_rejection(self, make_breaker):
        async def fallback(*_):
            raise LookupError

        async def fetch_later(_region):
            """Nothing."""

        breaker = make_breaker(fallback=fallback)
        breaker.force_open()
        with pytest.raises(LookupError) as caught:
            asyncio.run(breaker(fetch_later)("eu"))
        assert isinstance(caught.value.__cause__, CircuitOpenError)

    @pytest.mark.parametrize("fallback", [cached_later, functools.partial(cached_later, "eu")])
    def test_a_sync_call_refuses_an_async_one_at_decoration(self, make_breaker, fallback):
        with pytest.raises(TypeError, match=r"the fallback of .* is async, and a sync call can't await it"):
            make_breaker(fallback=fallback)(fetch)
        with pytest.raises(TypeError, match="is async"):
            make_breaker().call_with_fallback(fetch, fallback, "eu")


class TestSettings:
    @pytest.mark.parametrize(
        ("settings", "complaint"),
        [
            ({"fallback": print, "fallback_value": 1}, "two ways to say one thing: give one of them"),
            ({"fallback_on": OSError}, "needs a fallback or a fallback_value"),
            ({"fallback": "text"}, "fallback='text' is not allowed: it must be callable"),
            ({"fallback": print, "fallback_on": OSError()}, "it must be an exception type, or several"),
            ({"fallback": print, "fallback_on": ()}, "it must be an exception type, or several"),
            ({"fallback": print, "fallback_on": (OSError, int)}, "it must be an exception type, or several"),
        ],
    )
    @pytest.mark.parametrize("make", [CircuitBreaker, circuit])
    def test_what_contradicts_itself_is_refused(self, fresh, make, settings, complaint):
        with pytest.raises(ConfigurationError, match=complaint):
            made = make("netflix", **settings)
            made(fetch)

    @pytest.mark.parametrize("types", [OSError, (OSError,), [OSError, KeyError], {OSError}])
    def test_types_may_come_singly_or_together(self, make_breaker, types):
        breaker = make_breaker(fallback_value="cached", fallback_on=types)

        def fails():
            raise OSError

        assert breaker.call(fails) == "cached"

    def test_a_value_that_is_not_given_says_so(self):
        assert repr(MISSING) == "not given"
