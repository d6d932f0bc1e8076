"""The deadline of a call: `call_timeout`.

Only async code can be stopped from outside. anyio does it, for asyncio and trio alike, and is imported by
the first function that has a deadline.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from circuitry.breaker import CONDEMNED, Condemned
from circuitry.config import CircuitBreakerConfig, Seconds
from circuitry.fallback import MISSING, Missing
from circuitry.judging import Judge
from circuitry.kinds import Kind


class OverdueError(TimeoutError):
    """A call has outlived its deadline: a failure of its own circuit, whatever that excludes."""

    is_judged = False


def bounded(fn: Callable[..., Any], seconds: Seconds) -> Callable[..., Any]:
    """`fn`, cancelled after so many seconds; then it raises a `TimeoutError`."""
    from anyio import move_on_after

    limit = cast("float", seconds)  # a configuration has settled it

    async def call(*args: Any, **kwargs: Any) -> Any:
        with move_on_after(limit):
            return await fn(*args, **kwargs)
        raise OverdueError(f"no result within call_timeout={limit:g} s")

    return call


def in_time(
    fn: Callable[..., Any],
    usual: Callable[..., Any],
    own: Seconds | Missing | None,
    config: CircuitBreakerConfig,
) -> Callable[..., Any]:
    """What to call: with the decoration's own deadline, or its breaker's. Operators' goes before both.

    A breaker that has a deadline withholds its evidence, so that other calls needn't ask for one.
    """
    seconds = config.call_timeout
    if seconds is None or (own is not MISSING and config.coded_call_timeout is not None):
        return usual
    return bounded(fn, seconds)


def judge_for(error: BaseException, judge: Judge | None) -> Judge | Condemned | None:
    """Who judges what a call with a deadline has raised. Where it is the deadline, it is a failure."""
    if isinstance(error, OverdueError) and not error.is_judged:
        error.is_judged = True
        return CONDEMNED
    return judge


def check_deadline(fn: object, kind: Kind, deadline: Seconds | Missing | None) -> None:
    """Refuse a deadline that nobody could keep.

    Raises:
        TypeError: `fn` isn't a coroutine function; with the reason, and what to do.
    """
    if deadline is None or kind is Kind.COROUTINE:
        return
    said = f"call_timeout={deadline!r} can't end a call of {fn!r}: "
    if kind is Kind.FUNCTION:
        raise TypeError(
            f"{said}it isn't async, and nothing stops a thread from outside; give the client beneath it a "
            "timeout, make the function async, or say call_timeout=None for it"
        )
    raise TypeError(
        f"{said}a stream lasts for as long as its consumer takes; put a timeout around each item, such as "
        "anyio.fail_after, or say call_timeout=None for it"
    )
