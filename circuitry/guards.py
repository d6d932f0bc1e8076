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
from contextlib import aclosing
from types import AsyncGeneratorType, GeneratorType, NoneType
from typing import Any, NamedTuple, TypeAlias

import wrapt

from circuitry.breaker import Breaker
from circuitry.config import Seconds
from circuitry.deadline import bounded, check_deadline, in_time, judge_for
from circuitry.errors import CircuitOpenError
from circuitry.fallback import MISSING, Fallback, Missing, each_of
from circuitry.judging import Judge
from circuitry.kinds import Kind, check_guardable, kind_of
from circuitry.last_good import LastGood
from circuitry.machine import Admission
from circuitry.permit import Admitted, Permit

Guard: TypeAlias = Callable[..., Any]
Call: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]


class Terms(NamedTuple):
    """What a guard goes by: one breaker or, in a family, who chooses one for each call.

    `judge` is the decoration's own, if it has one; else the breaker judges. `result_failed` tests what
    is returned, and `remember` is told of each good result, with the arguments of its call:
    `remember(args, kwargs, result)`.
    """

    breaker: Any  # a Breaker, or None
    judge: Judge | None = None
    result_failed: Callable[[object], bool] | None = None
    fallback: Fallback | None = None
    choose: Any = None  # a Callable[..., Breaker], where `breaker` is None
    remember: Callable[..., None] | None = None
    deadline: Seconds | Missing | None = MISSING  # where it says nothing, the breaker does


def guard(fn: Callable[..., Any], terms: Terms) -> Guard:
    """The guard for this kind of callable.

    Raises:
        TypeError: the callable can't be guarded, or not with this fallback.
    """
    check_guard(fn, terms)
    fallback = terms.fallback
    if fallback is not None and isinstance(fallback.call, LastGood):
        memory = fallback.call.memory(fn)
        terms = terms._replace(fallback=fallback.calling(memory), remember=memory.keep)
    return _GUARDS[kind_of(fn)](fn, terms)


def check_guard(fn: object, terms: Terms) -> None:
    """Refuse what can't be guarded, and a fallback whose result nobody could use.

    Raises:
        TypeError: with the reason, and what to do.
    """
    check_guardable(fn)
    kind, fallback = kind_of(fn), terms.fallback
    if terms.deadline is not MISSING:
        check_deadline(fn, kind, terms.deadline)
    elif terms.breaker is not None:
        check_deadline(fn, kind, terms.breaker.config.coded_call_timeout)
    if fallback is None:
        return
    if kind in (Kind.GENERATOR, Kind.ASYNC_GENERATOR) and isinstance(fallback.call, LastGood):
        raise TypeError(f"last_good can't stand in for {fn!r}: what a stream gives is gone once it was read")
    awaited = fallback.kind is Kind.COROUTINE and kind in (Kind.FUNCTION, Kind.GENERATOR)
    if awaited or (fallback.kind is Kind.ASYNC_GENERATOR and kind is Kind.GENERATOR):
        raise TypeError(
            f"the fallback of {fn!r} is async, and a sync call can't await it: give a sync fallback, "
            "or make the guarded function async"
        )


# -- Functions and coroutine functions ---------------------------------------------------------------


def guard_function(fn: Callable[..., Any], terms: Terms) -> Guard:
    """Guard a plain function, and what it returns if that goes on after it."""
    single, judge, result_failed, fallback, choose, remember, _ = terms
    skips = not (choose or remember or result_failed)
    count = single.count if skips else None  # None: nothing can be skipped
    plain: type = NoneType  # the class of the last result that was complete in itself

    def guarded(*args: Any, **kwargs: Any) -> Any:
        nonlocal plain
        breaker: Any = single
        if breaker is None:
            breaker = choose(*args, **kwargs)
        admission: Any = breaker.evidence
        if admission is None:
            if fallback is None:
                admission = breaker.admit()
            else:
                try:
                    admission = breaker.admit()
                except CircuitOpenError as rejection:
                    breaker.stood_in(rejection)
                    return fallback.serve(rejection, args, kwargs)
        try:
            result = fn(*args, **kwargs) if kwargs else fn(*args)  # `**` copies, even nothing
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
        if count is not None and not admission.run:
            next(count)
        elif result_failed is not None and result_failed(result):
            breaker.failure(admission, None, result)
        else:
            breaker.success(admission)
            if remember is not None:
                remember(args, kwargs, result)
        return result

    return guarded


def guard_coroutine(fn: Callable[..., Any], terms: Terms) -> Guard:
    """Guard a coroutine function: nothing happens, and nothing is rejected, before it is awaited."""
    single, judge, result_failed, fallback, choose, remember, own = terms
    skips = not (choose or remember or result_failed)
    count = single.count if skips else None  # None: nothing can be skipped
    usual = fn if own is None or isinstance(own, Missing) else bounded(fn, own)

    async def guarded(*args: Any, **kwargs: Any) -> Any:
        breaker: Any = single
        if breaker is None:
            breaker = choose(*args, **kwargs)
        call = usual
        admission: Any = breaker.evidence
        if admission is None:
            if fallback is None:
                admission = await breaker.admit_async()
            else:
                try:
                    admission = await breaker.admit_async()
                except CircuitOpenError as rejection:
                    breaker.stood_in(rejection)
                    return await fallback.serve_async(rejection, args, kwargs)
            call = in_time(fn, usual, own, breaker.config)
        try:
            result = await (call(*args, **kwargs) if kwargs else call(*args))
        except BaseException as error:
            judged_by = judge if call is fn else judge_for(error, judge)
            outcome = breaker.ended(admission, error, judged_by)
            if fallback is None or not fallback.serves(outcome, error):
                raise
            breaker.stood_in(error)
            return await fallback.serve_async(error, args, kwargs)
        if count is not None and not admission.run:
            next(count)
        elif result_failed is not None and result_failed(result):
            breaker.failure(admission, None, result)
        else:
            breaker.success(admission)
            if remember is not None:
                remember(args, kwargs, result)
        return result

    return guarded


# -- Generator functions and async generator functions -----------------------------------------------


def guard_generator(fn: Callable[..., Any], terms: Terms) -> Guard:
    """Guard a generator function from the first `next` to the end of the iteration."""
    single, judge, _, fallback, choose, *_ = terms

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
                yield from fallback.serve(rejection, args, kwargs)
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
                    value = stream.close()
                    if value is None:  # it may give one since Python 3.13
                        raise
                    breaker.left_early(admission)
                    return value
                except BaseException as error:
                    item = stream.throw(error)
                else:
                    item = stream.send(sent)
        except StopIteration as end:
            breaker.success(admission)
            return end.value
        except GeneratorExit:
            if begun:
                breaker.left_early(admission)
            else:
                breaker.ignore(admission)
            raise
        except BaseException as error:
            outcome = breaker.ended(admission, error, judge)
            if begun or fallback is None or not fallback.serves(outcome, error):
                raise
            breaker.stood_in(error)
            yield from fallback.serve(error, args, kwargs)

    return guarded


def guard_async_generator(fn: Callable[..., Any], terms: Terms) -> Guard:
    """Guard an async generator function from the first `anext` to the end of the iteration."""
    single, judge, _, fallback, choose, *_ = terms

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
                async with aclosing(each_of(await fallback.serve_async(rejection, args, kwargs))) as items:
                    async for item in items:
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
            if begun:
                breaker.left_early(admission)
            else:
                breaker.ignore(admission)
            raise
        except BaseException as error:
            outcome = breaker.ended(admission, error, judge)
            if begun or fallback is None or not fallback.serves(outcome, error):
                raise
            breaker.stood_in(error)
            async with aclosing(each_of(await fallback.serve_async(error, args, kwargs))) as items:
                async for item in items:
                    yield item

    return guarded


_GUARDS = {
    Kind.FUNCTION: guard_function,
    Kind.COROUTINE: guard_coroutine,
    Kind.GENERATOR: guard_generator,
    Kind.ASYNC_GENERATOR: guard_async_generator,
}


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
        return _watch(result, permit, terms, call)
    admitted: Any = Admitted(permit, result)
    remember = None if terms.remember is None else functools.partial(terms.remember, awaited=True)
    terms = terms._replace(breaker=admitted, choose=None, remember=remember)
    make = guard_coroutine if inspect.isawaitable(result) else _STREAMS[result.__class__]
    guarded = make(lambda *_, **__: result, terms)
    args, kwargs = call
    if make is guard_coroutine and not isinstance(result, (Coroutine, GeneratorType)):
        return GuardedAwaitable(result, permit, terms.judge, lambda: guarded(*args, **kwargs))
    return guarded(*args, **kwargs)


def _watch(future: Any, permit: Permit, terms: Terms, call: Call) -> Any:
    """A future is the caller's own object, with its methods and its identity: it is only watched."""

    def done(future: Any) -> None:
        if future.cancelled():
            permit.release()
            return
        # `exception()` would tell asyncio that somebody has seen it, and hide a forgotten error.
        error = future._exception if hasattr(future, "_exception") else future.exception()
        if error is not None:
            permit.ended(error, terms.judge)
        elif terms.result_failed is not None and terms.result_failed(future.result()):
            permit._breaker.failure(permit.take(), None, future.result())
        else:
            permit.success()
            if terms.remember is not None:
                terms.remember(*call, future)  # once done, it can be awaited and asked again

    future.add_done_callback(done)
    return future


class GuardedAwaitable(wrapt.ObjectProxy[Any]):
    """An awaitable that is no coroutine, such as aiohttp's `session.get()`.

    Awaiting it, or entering it with `async with`, is the call that is guarded; else, and when it is done
    again, it is what it was.
    """

    def __init__(self, wrapped: Any, permit: Permit, judge: Judge | None, awaited: Callable[[], Any]) -> None:
        super().__init__(wrapped)
        self._self_permit = permit
        self._self_judge = judge
        self._self_awaited = awaited

    def __await__(self) -> Generator[Any, Any, Any]:
        awaited: Any = self.__wrapped__ if self._self_permit.resolved else self._self_awaited()
        steps: Generator[Any, Any, Any] = awaited.__await__()
        return steps

    async def __aenter__(self) -> Any:
        if self._self_permit.resolved:
            return await self.__wrapped__.__aenter__()
        try:
            entered = await self.__wrapped__.__aenter__()
        except BaseException as error:
            self._self_permit.ended(error, self._self_judge)
            raise
        self._self_permit.success()
        return entered

    async def __aexit__(self, *details: Any) -> Any:
        return await self.__wrapped__.__aexit__(*details)
