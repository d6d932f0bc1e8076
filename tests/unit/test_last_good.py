"""`last_good`: the last good result of the same arguments stands in."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import weakref
from datetime import timedelta

import pytest

from circuitry import CircuitBreaker, CircuitOpenError, ConfigurationError, last_good
from circuitry.testing import ManualClock

pytestmark = pytest.mark.core


@pytest.fixture
def breaker() -> CircuitBreaker:
    return CircuitBreaker("catalogue", fallback=last_good())


def memory_of(**terms) -> CircuitBreaker:
    return CircuitBreaker("catalogue", fallback=last_good(**terms), failure_if=lambda result: result == "bad")


def test_a_rejection_gets_the_last_good_result_of_the_same_arguments(breaker):
    answers = iter(["old", "other", "new"])
    fetch = breaker(lambda region, *, page=1: next(answers))
    fetch("US"), fetch("US", page=2), fetch("US")
    breaker.force_open()
    assert (fetch("US"), fetch("US", page=2)) == ("new", "other")


def test_what_was_never_good_is_rejected(breaker):
    fetch = breaker(lambda region: region)
    breaker.force_open()
    with pytest.raises(CircuitOpenError):
        fetch("US")


async def test_a_coroutine_functions_result_stands_in(breaker, anyio_backend):
    async def fetch(region):
        return region.lower()

    guarded = breaker(fetch)
    assert await guarded("US") == "us"
    breaker.force_open()
    assert await guarded("US") == "us"


async def test_a_def_that_returns_a_coroutine_gives_one_again(breaker, anyio_backend):
    async def fetch(region):
        return region.lower()

    guarded = breaker(lambda region: fetch(region))
    assert await guarded("US") == "us"
    breaker.force_open()
    assert (await guarded("US"), await guarded("US")) == ("us", "us")
    with pytest.raises(CircuitOpenError):
        guarded("DE")


def test_a_def_that_returns_a_task_gives_it_again(breaker):
    async def main():
        async def fetch():
            return "good"

        start = breaker(lambda: asyncio.ensure_future(fetch()))
        task = start()
        await task
        breaker.force_open()
        assert start() is task
        assert await start() == "good"

    asyncio.run(main())


def test_a_def_that_returns_a_future_gives_the_last_good_one_again():
    breaker = memory_of()
    results = iter(["good", "bad"])

    def submit():
        future = concurrent.futures.Future()
        future.set_result(next(results))
        return future

    submit = breaker(submit)
    submit(), submit()
    breaker.force_open()
    assert submit().result() == "good"


def test_results_are_served_until_they_are_too_old():
    clock = ManualClock()
    breaker = memory_of(max_age=timedelta(seconds=10), clock=clock)
    fetch = breaker(lambda: "good")
    fetch()
    breaker.force_open()
    clock.advance(10)
    assert fetch() == "good"
    clock.advance(0.001)
    with pytest.raises(CircuitOpenError):
        fetch()


def test_only_so_many_results_are_kept_and_the_longest_unrenewed_goes():
    breaker = memory_of(max_size=2)
    fetch = breaker(lambda region: region)
    for region in ("US", "GB", "US", "DE"):
        fetch(region)
    breaker.force_open()
    assert (fetch("US"), fetch("DE")) == ("US", "DE")
    with pytest.raises(CircuitOpenError):
        fetch("GB")


def test_a_result_that_counts_as_a_failure_is_no_good_one():
    breaker = memory_of()
    answers = iter(["good", "bad"])
    fetch = breaker(lambda: next(answers))
    fetch(), fetch()
    breaker.force_open()
    assert fetch() == "good"


def test_results_are_not_copied(breaker):
    kept = []
    fetch = breaker(lambda: kept)
    fetch()
    breaker.force_open()
    assert fetch() is kept


def test_two_functions_do_not_share_their_results():
    stand_in = last_good()
    breaker = CircuitBreaker("catalogue", fallback=stand_in)
    first, second = breaker(lambda: 1), breaker(lambda: 2)
    first()
    breaker.force_open()
    assert first() == 1
    with pytest.raises(CircuitOpenError):
        second()


class Same:
    """Equal to all its kind, and in no set."""

    __hash__ = None

    def __eq__(self, other):
        return isinstance(other, Same)


def test_self_counts_by_identity():
    breaker = memory_of()

    class Client(Same):
        def __init__(self, name):
            self.name = name

        @breaker
        def fetch(self):
            return self.name

    one, other = Client("one"), Client("other")
    one.fetch()
    breaker.force_open()
    assert one.fetch() == "one"
    with pytest.raises(CircuitOpenError):
        other.fetch()


@pytest.mark.parametrize("terms", [{}, {"key": lambda page: page}], ids=["by arguments", "by key"])
def test_a_bound_methods_results_are_those_of_its_object(terms):
    breaker = memory_of(**terms)

    class Client(Same):
        def __init__(self, name):
            self.name = name

        def fetch(self, page):
            return f"{self.name} {page}"

    one, other = Client("one"), Client("other")
    for page in ("".join("ab"), "c"):
        breaker.call(one.fetch, page)
    breaker.force_open()
    assert breaker.call(one.fetch, "".join(["a", "b"])) == "one ab"
    with pytest.raises(CircuitOpenError):
        breaker.call(other.fetch, "c")


def test_an_object_that_can_not_be_looked_up_has_a_memory_where_it_is_decorated(breaker):
    class Fetch(Same):
        def __call__(self):
            return "good"

    fetch = breaker(Fetch())
    fetch()
    breaker.force_open()
    assert fetch() == "good"


def test_unhashable_arguments_are_kept_by_key():
    breaker = memory_of(key=lambda filters: tuple(filters))
    fetch = breaker(lambda filters: len(filters))
    fetch(["new"])
    breaker.force_open()
    assert fetch(["new"]) == 1


def test_without_a_key_unhashable_arguments_are_logged_and_the_good_result_is_given(breaker, caplog):
    fetch = breaker(lambda filters: len(filters))
    assert fetch(["new"]) == 1
    assert "no key" in caplog.text
    breaker.force_open()
    with pytest.raises(TypeError, match="key=") as refused:
        fetch(["new"])
    assert isinstance(refused.value.__cause__, (CircuitOpenError, TypeError))


def test_a_stream_has_no_last_good_result(breaker):
    def stream():
        yield 1

    with pytest.raises(TypeError, match="stream"):
        breaker(stream)


def test_without_a_function_to_watch_there_is_none():
    error = OSError("away")
    with pytest.raises(OSError, match="away"):
        last_good()(error=error)


def test_builtins_without_a_signature_can_be_remembered(breaker):
    largest = breaker(max)
    assert largest(1, 2) == 2
    breaker.force_open()
    assert largest(1, 2) == 2


def test_a_memory_goes_with_its_function(breaker):
    def fetch():
        return 1

    guarded = breaker(fetch)
    guarded()
    gone = weakref.ref(fetch)
    del fetch, guarded
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    ("terms", "named"),
    [
        ({"max_age": 0}, "max_age=0"),
        ({"max_age": "5"}, "max_age='5'"),
        ({"max_size": 0}, "max_size=0"),
        ({"max_size": True}, "max_size=True"),
        ({"key": 5}, "key=5"),
    ],
)
def test_wrong_terms_are_refused(terms, named):
    with pytest.raises(ConfigurationError, match=named):
        last_good(**terms)


def test_an_async_key_is_refused():
    async def key():
        return 1

    with pytest.raises(ConfigurationError, match="plain function"):
        last_good(key=key)
