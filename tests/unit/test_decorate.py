"""How a guard takes the place of what it guards: names, binding, pickling, and the way back."""

from __future__ import annotations

import abc
import asyncio
import copy
import dataclasses
import functools
import inspect
import pickle
import typing

import pytest

from circuitry import CircuitBreaker, CircuitOpenError, ConfigurationError, circuit, circuit_of
from circuitry.testing import fresh_registry

pytestmark = pytest.mark.core

module_breaker = CircuitBreaker("module")


def plain(first: int, /, second: str = "x", *rest: bytes, flag: bool = False) -> str:
    """What it does."""
    return f"{first}{second}{rest}{flag}"


async def waits(first: int) -> str:
    """Wait for it."""
    return str(first)


def streams(first: int) -> typing.Iterator[int]:
    """Give it."""
    yield first


async def streams_async(first: int) -> typing.AsyncIterator[int]:
    """Give it, later."""
    yield first


KINDS = [plain, waits, streams, streams_async]

guarded_plain = module_breaker(plain)
#: What pickle finds by name has to be the guarded one: as `@circuit` makes it.
with fresh_registry():

    @circuit
    def decorated():
        """Found by its name."""
        return "decorated"

    class Service:
        @circuit
        def method(self):
            return "method"

        @circuit
        @classmethod
        def below(cls):
            return cls

    @circuit
    @functools.lru_cache
    def cached():
        return "cached"


@pytest.mark.parametrize("fn", KINDS)
class TestEveryKind:
    def test_keeps_its_name_docs_and_module(self, fn, breaker):
        guarded = breaker(fn)
        for name in ("__name__", "__qualname__", "__doc__", "__module__", "__annotations__"):
            assert getattr(guarded, name) == getattr(fn, name)

    def test_keeps_its_signature(self, fn, breaker):
        assert inspect.signature(breaker(fn)) == inspect.signature(fn)
        assert typing.get_type_hints(breaker(fn)) == typing.get_type_hints(fn)

    def test_is_of_its_kind(self, fn, breaker):
        guarded = breaker(fn)
        for asks in (
            callable,
            inspect.isfunction,
            inspect.isroutine,
            inspect.iscoroutinefunction,
            inspect.isgeneratorfunction,
            inspect.isasyncgenfunction,
            asyncio.iscoroutinefunction,
        ):
            assert asks(guarded) == asks(fn), asks

    def test_is_the_original_to_unwrap(self, fn, breaker):
        assert inspect.unwrap(breaker(fn)) is fn

    def test_has_its_source(self, fn, breaker):
        assert inspect.getsource(breaker(fn)) == inspect.getsource(fn)

    def test_gives_its_circuit(self, fn, breaker):
        assert circuit_of(breaker(fn)) is breaker
        assert breaker(fn).circuit is breaker

    def test_keeps_its_attributes(self, fn, breaker):
        fn.mark = "kept"
        assert breaker(fn).mark == "kept"


class TestMethods:
    def test_a_method_is_bound(self, colour, breaker):
        class Api:
            fetch = breaker(colour.function(lambda self, number: (self, number)))

        api = Api()
        assert colour.run(api.fetch, 1) == (api, 1)
        assert colour.run(Api.fetch, api, 2) == (api, 2)
        assert circuit_of(api.fetch) is circuit_of(Api.fetch) is breaker
        assert breaker.metrics().successes == 2

    @pytest.mark.parametrize("guard_above", [True, False])
    @pytest.mark.parametrize("kind", [classmethod, staticmethod])
    def test_classmethods_and_staticmethods_in_either_order(self, colour, breaker, kind, guard_above):
        take = colour.function(lambda *args: args)

        class Api:
            fetch = breaker(kind(take)) if guard_above else kind(breaker(take))

        class Derived(Api):
            pass

        for asked in (Derived, Derived()):
            expected = (Derived, 1) if kind is classmethod else (1,)
            assert colour.run(asked.fetch, 1) == expected
        assert isinstance(inspect.getattr_static(Api, "fetch"), kind)
        assert circuit_of(Api.fetch) is circuit_of(Api().fetch) is breaker
        assert breaker.metrics().successes == 2

    def test_a_generator_method(self, breaker):
        class Api:
            @breaker
            def items(self):
                yield self

        api = Api()
        assert list(api.items()) == [api]

    def test_a_method_is_shared_by_subclasses_and_overridden_by_them(self, breaker):
        class Base:
            @breaker
            def fetch(self):
                return "base"

        class Derived(Base):
            def fetch(self):
                return "derived, " + super().fetch()

        assert Derived().fetch() == "derived, base"
        assert breaker.metrics().successes == 1

    def test_a_method_put_into_a_class_later_is_bound(self, breaker):
        class Api:
            pass

        Api.fetch = breaker(lambda self, number: (self, number))
        api = Api()
        assert api.fetch(1) == (api, 1)
        assert circuit_of(api.fetch) is breaker

    def test_a_guarded_bound_method(self, breaker):
        class Api:
            def fetch(self, number):
                return self, number

        api = Api()
        guarded = breaker(api.fetch)
        assert guarded(1) == (api, 1)
        assert guarded.__self__ is api
        assert circuit_of(guarded) is breaker

    def test_an_abstract_method_stays_abstract(self, breaker):
        class Base(abc.ABC):
            @breaker
            @abc.abstractmethod
            def fetch(self):
                """Not here."""

        assert Base.__abstractmethods__ == {"fetch"}

    def test_in_a_dataclass_with_slots(self, breaker):
        @dataclasses.dataclass(slots=True)
        class Api:
            url: str

            @breaker
            def fetch(self):
                return self.url

        assert Api("here").fetch() == "here"

    def test_in_a_named_tuple(self, breaker):
        class Api(typing.NamedTuple):
            url: str

            @breaker
            def fetch(self):
                return self.url

        assert Api("here").fetch() == "here"

    def test_a_special_method(self, breaker):
        class Api:
            @breaker
            def __call__(self):
                return "called"

            @breaker
            async def __aenter__(self):
                return "entered"

            async def __aexit__(self, *_):
                pass

        async def enter():
            async with Api() as entered:
                return entered

        assert Api()() == "called"
        assert asyncio.run(enter()) == "entered"
        assert breaker.metrics().successes == 2

    def test_a_property_over_a_guard(self, breaker):
        class Api:
            @property
            @breaker
            def url(self):
                return "here"

        assert Api().url == "here"
        assert breaker.metrics().successes == 1

    def test_methods_are_equal_and_hashed_as_ever(self, breaker):
        class Api:
            @breaker
            def fetch(self):
                """Nothing."""

        api = Api()
        assert api.fetch == api.fetch
        assert len({api.fetch, api.fetch}) == 1


class TestPickling:
    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    @pytest.mark.parametrize("fn", [decorated, cached])
    def test_by_reference(self, fn, protocol):
        assert pickle.loads(pickle.dumps(fn, protocol)) is fn

    def test_methods_too(self):
        assert pickle.loads(pickle.dumps(Service.method)) is Service.method
        assert pickle.loads(pickle.dumps(Service().method))() == "method"
        assert pickle.loads(pickle.dumps(Service.below))() is Service

    def test_a_local_one_is_refused_as_ever(self, breaker):
        with pytest.raises((pickle.PicklingError, AttributeError)):
            pickle.dumps(breaker(lambda: None))

    def test_one_without_a_name_is_refused_with_advice(self, breaker):
        with pytest.raises(pickle.PicklingError, match="no name to be pickled by: guard a function"):
            pickle.dumps(breaker(functools.partial(plain, 1)))

    def test_a_copy_is_the_same_guard(self):
        assert copy.copy(decorated) is decorated
        assert copy.deepcopy([decorated])[0] is decorated
        assert copy.copy(cached) is cached

    def test_a_breaker_is_neither_copied_nor_pickled(self, breaker):
        for copied in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match=r"circuit 'netflix' can't be copied or pickled"):
                copied(breaker)


class TestStacked:
    def test_each_circuit_counts(self, colour, make_breaker):
        inner, outer = make_breaker("inner"), make_breaker("outer")
        guarded = outer(inner(colour.function(lambda: "done")))
        assert colour.run(guarded) == "done"
        assert (inner.metrics().successes, outer.metrics().successes) == (1, 1)

    def test_the_inner_rejection_is_a_failure_of_the_outer(self, colour, make_breaker):
        inner, outer = make_breaker("inner"), make_breaker("outer")
        inner.force_open()
        with pytest.raises(CircuitOpenError) as caught:
            colour.run(outer(inner(colour.function(lambda: "done"))))
        assert caught.value.circuit_name == "inner"
        assert outer.metrics().failures == 1

    def test_the_outermost_is_the_one_that_is_found(self, make_breaker):
        inner, outer = make_breaker("inner"), make_breaker("outer")
        guarded = outer(inner(plain))
        assert circuit_of(guarded) is outer
        assert inspect.unwrap(guarded) is plain
        assert inspect.signature(guarded) == inspect.signature(plain)

    def test_methods(self, make_breaker):
        inner, outer = make_breaker("inner"), make_breaker("outer")

        class Api:
            @outer
            @inner
            def fetch(self):
                return self

            @outer
            @classmethod
            @inner
            def make(cls):
                return cls

        api = Api()
        assert (api.fetch(), Api.make()) == (api, Api)
        assert (inner.metrics().successes, outer.metrics().successes) == (2, 2)

    def test_streams(self, make_breaker):
        inner, outer = make_breaker("inner"), make_breaker("outer")
        stream = outer(inner(streams))(1)
        assert next(stream) == 1
        stream.close()
        assert (inner.metrics().successes, outer.metrics().successes) == (1, 1)


class TestTheWayBack:
    def test_a_callable_that_is_not_guarded_has_no_circuit(self):
        with pytest.raises(TypeError, match=r"<function plain .*> is not guarded by a circuit"):
            circuit_of(plain)

    def test_a_circuit_of_another_kind_is_refused(self, breaker, fresh):
        family = circuit("platform", key=lambda number: number)(plain)
        assert circuit_of(family) is fresh.family("platform")
        assert circuit_of(family, type(fresh.family("platform"))) is fresh.family("platform")
        with pytest.raises(TypeError, match=r"is guarded by <CircuitBreaker .*> *, not by a CircuitFamily"):
            circuit_of(breaker(plain), type(fresh.family("platform")))


class TestAutomaticNames:
    def test_module_and_qualname(self):
        assert circuit_of(decorated).name == f"{__name__}.decorated"
        assert circuit_of(Service.method).name == f"{__name__}.Service.method"
        assert circuit_of(Service.below).name == f"{__name__}.Service.below"
        assert circuit_of(cached).name == f"{__name__}.cached"

    @pytest.mark.parametrize("nameless", [lambda: None, functools.partial(plain, 1)])
    def test_what_has_no_name_must_be_given_one(self, nameless, fresh):
        with pytest.raises(ConfigurationError, match=r'give one, circuit\("name"\)'):
            circuit(nameless)
        assert circuit_of(circuit("given")(nameless)).name == "given"

    def test_an_object_without_a_name_must_be_given_one(self, fresh):
        class Api:
            def __call__(self):
                """Nothing."""

        with pytest.raises(ConfigurationError, match="has no name of its own"):
            circuit(Api())


def test_a_guard_shows_what_it_guards(breaker):
    assert "Guarded" in repr(breaker(plain))
