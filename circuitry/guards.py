"""How each kind of callable is guarded.

A guard is a plain function that stands for another. There are four, two by two: a function and a
coroutine function, a generator function and an async generator function. The two of a pair are
the same but for `await`, and a test holds them to it. All go the same way:

1. be admitted: by the breaker's `evidence` at once, or by asking; a rejection goes to the
   fallback or to the caller;
2. run the user's function;
3. take the outcome back to what admitted the call.

A plain function may also return something that goes on after it: a coroutine, a future, a
generator. Then its permit goes along (`_hand_over`), and the outcome is that of the whole.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from types import AsyncGeneratorType, GeneratorType, NoneType
from typing import Any, NamedTuple, TypeAlias

import wrapt

from circuitry.breaker import Breaker
from circuitry.config import Judge
from circuitry.errors import CircuitOpenError
from circuitry.fallback import Fallback
from circuitry.machine import Admission
from circuitry.permit import Admitted, Permit

Guard: TypeAlias = Callable[..., Any]
Call: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]


class Terms(NamedTuple):
    """What a guard goes by: one breaker or, in a family, who chooses one for each call."""

    breaker: Any  # a Breaker; None beside `choose`
    judge: Judge | None = None
    fallback: Fallback | None = None
    choose: Callable[..., Breaker] | None = None


def guard(fn: Callable[..., Any], terms: Terms) -> Guard:
    """The guard for this kind of callable.

    Raises:
        TypeError: the callable can't be guarded, or not with this fallback.
    """
    make = kind_of(fn)
    fallback = terms.fallback
    if fallback is not None and fallback.is_async and make in (guard_function, guard_generator):
        raise TypeError(
            f"the fallback of {fn!r} is async, and a sync call can't await it: give a sync fallback, "
            "or make the guarded function async"
        )
    return make(fn, terms)


def kind_of(fn: object) -> Callable[[Callable[..., Any], Terms], Guard]:
    """Which of the four guards a callable takes.

    Raises:
        TypeError: none of them, with the reason and what to do.
    """
    if isinstance(fn, type):
        raise TypeError(
            f"the class {fn!r} can't be guarded: that would guard the making of its objects, not their "
            "methods; decorate the methods, or a function that makes one"
        )
    if not callable(fn):
        raise TypeError(
            f"{fn!r} can't be guarded: it isn't callable; decorate the function or method beneath it"
        )
    forms: tuple[object, ...] = (fn, _call_of(fn))
    if any(inspect.isasyncgenfunction(form) for form in forms):
        return guard_async_generator
    if any(inspect.iscoroutinefunction(form) for form in forms):
        return guard_coroutine
    if any(inspect.isgeneratorfunction(form) for form in forms):
        return guard_generator
    return guard_function


def _call_of(fn: object) -> object:
    """The method that runs when an object is called, beneath any partials."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return getattr(type(fn), "__call__", None)  # noqa: B004 - the method, not whether there is one


# -- Functions and coroutine functions ---------------------------------------------------------------


def guard_function(fn: Callable[..., Any], terms: Terms) -> Guard:
    """Guard a plain function, and what it returns if that goes on after it."""
    single, judge, fallback, choose = terms
    result_failed = _judged_by(judge)
    plain: type = NoneType  # the class of the last result that was complete in itself

    def guarded(*args: Any, **kwargs: Any) -> Any:
        nonlocal plain
        breaker: Breaker = single if choose is None else choose(*args, **kwargs)
        admission: Admission | None = breaker.evidence
        if admission is None:
            try:
                admission = breaker.admit()
            except CircuitOpenError as rejection:
                if fallback is None:
                    raise
                breaker.stood_in(rejection)
                return fallback.serve(rejection, args, kwargs)
        try:
            result = fn(*args, **kwargs)
        except BaseException as error:
            outcome = breaker.ended(admission, error, judge)
            if fallback is None or not fallback.serves(outcome, error):
                raise
            breaker.stood_in(error)
            return fallback.serve(error, args, kwargs)
        if result.__class__ is not plain:
            if goes_on(result):
                permit = Permit(breaker, admission)
                return _hand_over(result, permit, terms, (args, kwargs))
            plain = result.__class__
        if result_failed is not None and result_failed(result):
            breaker.failure(admission, None)
        elif admission.run:
            breaker.success(admission)
        else:
            breaker.count()
        return result

    return guarded


def guard_coroutine(fn: Callable[..., Any], terms: Terms) -> Guard:
    """Guard a coroutine function: nothing happens, and nothing is rejected, before it is awaited."""
    single, judge, fallback, choose = terms
    result_failed = _judged_by(judge)

    async def guarded(*args: Any, **kwargs: Any) -> Any:
        breaker: Breaker = single if choose is None else choose(*args, **kwargs)
        admission: Admission | None = breaker.evidence
        if admission is None:
            try:
                admission = await breaker.admit_async()
            except CircuitOpenError as rejection:
                if fallback is None:
                    raise
                breaker.stood_in(rejection)
                return await fallback.serve_async(rejection, args, kwargs)
        try:
            result = await fn(*args, **kwargs)
        except BaseException as error:
            outcome = breaker.ended(admission, error, judge)
            if fallback is None or not fallback.serves(outcome, error):
                raise
            breaker.stood_in(error)
            return await fallback.serve_async(error, args, kwargs)
        if result_failed is not None and result_failed(result):
            breaker.failure(admission, None)
        elif admission.run:
            breaker.success(admission)
        else:
            breaker.count()
        return result

    return guarded


def _judged_by(judge: Judge | None) -> Callable[[object], bool] | None:
    """The test of a returned value, if there is one."""
    return judge.result_failed if judge is not None and judge.judges_results else None


# -- Generator functions and async generator functions -----------------------------------------------


def guard_generator(fn: Callable[..., Any], terms: Terms) -> Guard:
    """Guard a generator function from the first `next` to the end of the iteration."""
    single, judge, fallback, choose = terms

    def guarded(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        breaker: Breaker = single if choose is None else choose(*args, **kwargs)
        admission: Admission | None = breaker.evidence
        if admission is None:
            try:
                admission = breaker.admit()
            except CircuitOpenError as rejection:
                if fallback is None:
                    raise
                breaker.stood_in(rejection)
                for item in fallback.serve(rejection, args, kwargs):
                    yield item
                return None
        begun = False
        try:
            stream = fn(*args, **kwargs)
            item = next(stream)
            begun = True
            while True:
                try:
                    sent = yield item
                except GeneratorExit:
                    stream.close()
                    raise
                except BaseException as error:
                    item = stream.throw(error)
                else:
                    item = stream.send(sent)
        except StopIteration as end:
            breaker.success(admission)
            return end.value
        except GeneratorExit:
            breaker.left_early(admission)
            raise
        except BaseException as error:
            outcome = breaker.ended(admission, error, judge)
            if begun or fallback is None or not fallback.serves(outcome, error):
                raise
            breaker.stood_in(error)
            for item in fallback.serve(error, args, kwargs):
                yield item

    return guarded


def guard_async_generator(fn: Callable[..., Any], terms: Terms) -> Guard:
    """Guard an async generator function from the first `anext` to the end of the iteration."""
    single, judge, fallback, choose = terms

    async def guarded(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        breaker: Breaker = single if choose is None else choose(*args, **kwargs)
        admission: Admission | None = breaker.evidence
        if admission is None:
            try:
                admission = await breaker.admit_async()
            except CircuitOpenError as rejection:
                if fallback is None:
                    raise
                breaker.stood_in(rejection)
                async for item in _each(await fallback.serve_async(rejection, args, kwargs)):
                    yield item
                return
        begun = False
        try:
            stream = fn(*args, **kwargs)
            item = await anext(stream)
            begun = True
            while True:
                try:
                    sent = yield item
                except GeneratorExit:
                    await stream.aclose()
                    raise
                except BaseException as error:
                    item = await stream.athrow(error)
                else:
                    item = await stream.asend(sent)
        except StopAsyncIteration:
            breaker.success(admission)
        except GeneratorExit:
            breaker.left_early(admission)
            raise
        except BaseException as error:
            outcome = breaker.ended(admission, error, judge)
            if begun or fallback is None or not fallback.serves(outcome, error):
                raise
            breaker.stood_in(error)
            async for item in _each(await fallback.serve_async(error, args, kwargs)):
                yield item

    return guarded


async def _each(items: Any) -> AsyncGenerator[Any, None]:
    """The items of an iterable of either colour."""
    if hasattr(items, "__aiter__"):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


# -- What goes on after the function has returned ------------------------------------------------------


def goes_on(result: object) -> bool:
    """Whether a call isn't over when it has returned this."""
    kind = type(result)
    return kind in _STREAMS or hasattr(kind, "__await__") or hasattr(kind, "add_done_callback")


_STREAMS: dict[type, Callable[[Callable[..., Any], Terms], Guard]] = {
    GeneratorType: guard_generator,
    AsyncGeneratorType: guard_async_generator,
}


def _hand_over(result: Any, permit: Permit, terms: Terms, call: Call) -> Any:
    """What the caller gets in place of `result`: the same kind of thing, under the call's permit."""
    if hasattr(result, "add_done_callback"):
        return _watch(result, permit, terms.judge)
    admitted: Any = Admitted(permit)
    terms = terms._replace(breaker=admitted, choose=None)
    make = _STREAMS.get(type(result), guard_coroutine)
    guarded = make(lambda *_, **__: result, terms)
    args, kwargs = call
    if make is guard_coroutine and not isinstance(result, Coroutine):
        return GuardedAwaitable(result, permit, terms.judge, lambda: guarded(*args, **kwargs))
    return guarded(*args, **kwargs)


def _watch(future: Any, permit: Permit, judge: Judge | None) -> Any:
    """A future is the caller's own object, with its methods and its identity: it is only watched."""

    def done(future: Any) -> None:
        if future.cancelled():
            permit.release()
            return
        # `exception()` would tell asyncio that somebody has seen it, and hide a forgotten error.
        error = future._exception if hasattr(future, "_exception") else future.exception()
        if error is not None:
            permit.ended(error, judge)
        elif judge is not None and judge.result_failed(future.result()):
            permit.failure()
        else:
            permit.success()

    future.add_done_callback(done)
    return future


class GuardedAwaitable(wrapt.ObjectProxy[Any]):
    """An awaitable that is no coroutine, such as aiohttp's `session.get()`.

    Awaiting it, or entering it with `async with`, is the call that is guarded; else it is what it was.
    """

    def __init__(self, wrapped: Any, permit: Permit, judge: Judge | None, awaited: Callable[[], Any]) -> None:
        super().__init__(wrapped)
        self._self_permit = permit
        self._self_judge = judge
        self._self_awaited = awaited

    def __await__(self) -> Generator[Any, Any, Any]:
        awaited: Generator[Any, Any, Any] = self._self_awaited().__await__()
        return awaited

    async def __aenter__(self) -> Any:
        try:
            entered = await self.__wrapped__.__aenter__()
        except BaseException as error:
            self._self_permit.ended(error, self._self_judge)
            raise
        self._self_permit.success()
        return entered

    async def __aexit__(self, *details: Any) -> Any:
        return await self.__wrapped__.__aexit__(*details)
