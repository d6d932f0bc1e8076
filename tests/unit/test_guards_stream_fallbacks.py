"""What stands in for a stream: before its first item, and never after it."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from circuitry import CircuitOpenError

pytestmark = pytest.mark.core


def each(*items):
    yield from items


def breaks(items, error):
    yield from range(items)
    raise error


async def each_async(*items):
    for item in items:
        yield item


def test_its_items_stand_in_for_a_rejected_stream(colour, make_breaker):
    breaker = make_breaker(fallback=lambda *items: [*items, "cached"])
    breaker.force_open()
    assert colour.collect(breaker(colour.stream(each)), 1, 2) == [1, 2, "cached"]
    assert (breaker.metrics().rejected, breaker.metrics().fallbacks) == (1, 1)


def test_it_may_be_a_generator(colour, make_breaker):
    breaker = make_breaker(fallback=each)
    breaker.force_open()
    assert colour.collect(breaker(colour.stream(each)), 1, 2) == [1, 2]


def test_it_is_not_asked_while_the_stream_is_admitted(colour, make_breaker):
    breaker = make_breaker(fallback=lambda *_: pytest.fail("asked"))
    assert colour.collect(breaker(colour.stream(each)), 1, 2) == [1, 2]


def test_it_stands_in_for_a_failure_before_the_first_item(colour, make_breaker):
    breaker = make_breaker(fallback=lambda *_: "ab", fallback_on=OSError)
    guarded = breaker(colour.stream(breaks))
    assert colour.collect(guarded, 0, OSError("down")) == ["a", "b"]
    metrics = breaker.metrics()
    assert (metrics.failures, metrics.fallbacks, metrics.calls) == (1, 1, 1)


def test_it_is_never_used_after_an_item(colour, make_breaker):
    breaker = make_breaker(fallback=lambda *_: "ab", fallback_on=OSError)
    with pytest.raises(OSError, match="down"):
        colour.collect(breaker(colour.stream(breaks)), 1, OSError("down"))
    assert breaker.metrics().fallbacks == 0


@pytest.mark.parametrize("error", [ValueError("other"), KeyboardInterrupt()])
def test_it_stands_in_only_for_what_it_is_for(colour, make_breaker, error):
    breaker = make_breaker(fallback=lambda *_: "ab", fallback_on=(OSError, KeyboardInterrupt))
    with pytest.raises(type(error)):
        colour.collect(breaker(colour.stream(breaks)), 0, error)
    assert breaker.metrics().fallbacks == 0


def test_its_own_error_comes_from_what_it_stood_in_for(colour, make_breaker):
    def fallback(*_):
        raise LookupError("nothing cached")

    breaker = make_breaker(fallback=fallback, fallback_on=OSError)
    guarded = breaker(colour.stream(breaks))
    down = OSError("down")
    with pytest.raises(LookupError) as caught:
        colour.collect(guarded, 0, down)
    assert caught.value.__cause__ is down
    breaker.force_open()
    with pytest.raises(LookupError) as caught:
        colour.collect(guarded, 0, down)
    assert isinstance(caught.value.__cause__, CircuitOpenError)


def test_it_is_told_the_error_if_it_asks(colour, make_breaker):
    def fallback(*_, error):
        return [error]

    breaker = make_breaker(fallback=fallback)
    breaker.force_open()
    (rejection,) = colour.collect(breaker(colour.stream(each)), 1)
    assert isinstance(rejection, CircuitOpenError)


def test_one_that_awaits_is_refused_for_a_sync_stream(make_breaker):
    async def fallback():
        """Nobody could await this in a `for`."""

    with pytest.raises(TypeError, match="is async, and a sync call can't await it"):
        make_breaker(fallback=fallback)(each)


def test_an_async_generator_is_refused_for_a_sync_stream(make_breaker):
    """Its items could not be had in a `for`."""
    with pytest.raises(TypeError, match="is async"):
        make_breaker(fallback=each_async)(each)


def test_a_sync_one_that_is_left_is_closed_with_the_stream(make_breaker):
    heard = []

    def fallback():
        try:
            yield "cached"
        finally:
            heard.append("closed")

    breaker = make_breaker(fallback=fallback)
    breaker.force_open()
    stream = breaker(each)()
    assert next(stream) == "cached"
    stream.close()
    assert heard == ["closed"]


@pytest.mark.anyio
class TestForAsyncStreams:
    async def test_it_may_be_an_async_generator(self, make_breaker):
        breaker = make_breaker(fallback=each_async)
        breaker.force_open()
        assert [item async for item in breaker(each_async)(1, 2)] == [1, 2]

    async def test_it_may_be_a_coroutine_function(self, make_breaker):
        async def fallback(*items):
            return items

        breaker = make_breaker(fallback=fallback)
        breaker.force_open()
        assert [item async for item in breaker(each_async)(1, 2)] == [1, 2]

    async def test_it_may_be_anything_to_iterate_over(self, make_breaker):
        class Pages:
            def __aiter__(self):
                self.left = 2
                return self

            async def __anext__(self):
                if not self.left:
                    raise StopAsyncIteration
                self.left -= 1
                return self.left

        breaker = make_breaker(fallback=lambda *_: Pages())
        breaker.force_open()
        assert [item async for item in breaker(each_async)(1, 2)] == [1, 0]

    async def test_one_that_is_left_is_closed_with_the_stream(self, make_breaker):
        heard = []

        async def fallback():
            try:
                yield "cached"
            finally:
                heard.append("closed")

        breaker = make_breaker(fallback=fallback)
        breaker.force_open()
        async with aclosing(breaker(each_async)()) as stream:
            assert await anext(stream) == "cached"
        assert heard == ["closed"]

    async def test_one_that_is_left_after_a_failure_is_closed_too(self, make_breaker):
        heard = []

        async def fallback():
            try:
                yield "cached"
            finally:
                heard.append("closed")

        @make_breaker(fallback=fallback, fallback_on=OSError)
        async def down():
            raise OSError("down")
            yield

        async with aclosing(down()) as stream:
            assert await anext(stream) == "cached"
        assert heard == ["closed"]
