"""The cells of the speed table: what is timed, against which yardstick, to which goal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .contenders import (
    Contender,
    Fn,
    Role,
    Timed,
    fetch,
    fetch_async,
    fetch_cached,
    fetch_down,
)
from .timing import Drive, Samples, interleave, sampler

CALL = 'op("$key")'
CALL_AND_CATCH = 'try: op("$key")\nexcept Exception: pass'


def _nothing_to_check(contender: Contender, op: Any) -> None:
    """A block that admits shows it by not raising while it is timed."""


def _answers(contender: Contender, op: Any) -> None:
    if op("disney") != "disney":
        raise AssertionError(f"{contender.name}: a closed circuit lost the answer")


def _raised_by(op: Fn) -> type[Exception] | None:
    try:
        op("disney")
    except Exception as error:
        return type(error)
    return None


def _fails_as_the_function(contender: Contender, op: Any) -> None:
    if _raised_by(op) is not ValueError:
        raise AssertionError(f"{contender.name}: not the function's own error")


def _rejects(contender: Contender, op: Any) -> None:
    """A yardstick lets the function's error through; a circuit has one of its own."""
    error = _raised_by(op)
    own = error is not None and error is not ValueError
    if own is (contender.role is Role.YARDSTICK):
        raise AssertionError(f"{contender.name}: {error} is no rejection")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One line of the table. `build` gives what a contender brings to it, or None."""

    name: str
    title: str
    goal: float
    build: Callable[[Contender], Any]
    statement: str = CALL
    drive: Drive = Drive.SYNC
    yardstick: str = "wrapt"
    check: Callable[[Contender, Any], None] = _nothing_to_check

    def timed(self, contender: Contender) -> Timed | None:
        built = self.build(contender)
        if built is None or isinstance(built, Timed):
            return built
        return Timed(built, self.statement)

    def measure(self, contenders: Sequence[Contender], rounds: int, calls: int) -> Samples:
        """Nanoseconds a call, by contender; those without the feature are left out."""
        entries = [(contender, self.timed(contender)) for contender in contenders]
        timed = {who.name: (who, what) for who, what in entries if what is not None}
        self._check_all(timed)
        with asyncio.Runner() as runner:
            samplers = {
                name: sampler(what.statement, what.op, self.drive, calls, runner)
                for name, (_, what) in timed.items()
            }
            samples = interleave(samplers, rounds)
        self._check_all(timed)
        return samples

    def _check_all(self, timed: Mapping[str, tuple[Contender, Timed]]) -> None:
        for contender, what in timed.values():
            self.check(contender, what.op)


def _method(contender: Contender) -> Any:
    """A guarded method, looked up on its instance at each call, as callers do."""

    class Client:
        @contender.guard
        def fetch(self, platform: str) -> str:
            return platform

    return Client() if Client.fetch is not None else None


def _answers_as_method(contender: Contender, op: Any) -> None:
    _answers(contender, op.fetch)


CELLS = (
    Cell(
        name="sync",
        title="closed, sync",
        goal=0.35,
        build=lambda who: who.guard(fetch),
        check=_answers,
    ),
    Cell(
        name="fallback",
        title="closed, sync, with `fallback=`",
        goal=0.36,
        build=lambda who: who.with_fallback(fetch, fetch_cached),
        check=_answers,
    ),
    Cell(
        name="method",
        title="closed, a bound method",
        goal=0.40,
        build=_method,
        statement='op.fetch("$key")',
        check=_answers_as_method,
    ),
    Cell(
        name="async",
        title="closed, async",
        goal=0.45,
        build=lambda who: who.guard_async(fetch_async),
        statement='await op("$key")',
        drive=Drive.ASYNC,
    ),
    Cell(
        name="threads",
        title="closed, 4 threads on one breaker",
        goal=0.35,
        build=lambda who: who.guard(fetch),
        drive=Drive.THREADS,
        check=_answers,
    ),
    Cell(
        name="failing",
        title="a failing call, closed, default logging",
        goal=1.0,
        build=lambda who: who.never_trips(fetch_down),
        statement=CALL_AND_CATCH,
        check=_fails_as_the_function,
    ),
    Cell(
        name="rejected",
        title="a rejection, raised and caught",
        goal=0.80,
        build=lambda who: who.rejecting(),
        statement=CALL_AND_CATCH,
        check=_rejects,
    ),
    Cell(
        name="with",
        title="`with breaker:`",
        goal=2.5,
        build=lambda who: who.block(),
        yardstick="empty block",
    ),
    Cell(
        name="async-with",
        title="`async with breaker:`",
        goal=3.0,
        build=lambda who: who.async_block(),
        drive=Drive.ASYNC,
        yardstick="empty block",
    ),
    Cell(
        name="named-with",
        title='`with circuit("name"):`',
        goal=1.5,
        build=lambda who: who.named_block(),
    ),
    Cell(
        name="key",
        title="closed, sync, with `key=`",
        goal=0.9,
        build=lambda who: who.keyed(fetch),
        check=_answers,
    ),
    Cell(
        name="panic",
        title="closed, sync, with `key=` and `max_open_fraction=`",
        goal=0.9,
        build=lambda who: who.keyed_with_panic(fetch),
        check=_answers,
    ),
    Cell(
        name="window",
        title="closed, sync, with a count window",
        goal=0.8,
        build=lambda who: who.with_window(fetch),
        check=_answers,
    ),
    Cell(
        name="failing-window",
        title="closed, sync, with a count window that has a failure in it",
        goal=0.8,
        build=lambda who: who.with_failing_window(fetch),
        check=_answers,
    ),
    Cell(
        name="time-window",
        title="closed, sync, with a time window",
        goal=1.2,
        build=lambda who: who.with_time_window(fetch),
        check=_answers,
    ),
    Cell(
        name="slow-calls",
        title="closed, sync, with a slow-call watch that sees calls in flight",
        goal=1.2,
        build=lambda who: who.with_slow_calls(fetch),
        check=_answers,
    ),
    Cell(
        name="adaptive",
        title="closed, sync, with `trip=Adaptive()`",
        goal=1.2,
        build=lambda who: who.with_shedding(fetch),
        check=_answers,
    ),
    Cell(
        name="ramp-up",
        title="closed, sync, with `ramp_up=`, while it isn't ramping",
        goal=0.35,
        build=lambda who: who.with_ramp(fetch),
        check=_answers,
    ),
    Cell(
        name="latency",
        title="closed, sync, with `latency=True`",
        goal=1.4,
        build=lambda who: who.with_latency(fetch),
        check=_answers,
    ),
    Cell(
        name="backoff",
        title="closed, sync, with `backoff=` and `retry_after=`",
        goal=0.35,
        build=lambda who: who.with_backoff(fetch),
        check=_answers,
    ),
    Cell(
        name="health-check",
        title="closed, sync, with `health_check=`",
        goal=0.35,
        build=lambda who: who.with_check(fetch),
        check=_answers,
    ),
    Cell(
        name="call-timeout",
        title="closed, async, with `call_timeout=`",
        goal=20.0,
        build=lambda who: who.with_deadline(fetch_async),
        statement='await op("$key")',
        drive=Drive.ASYNC,
    ),
)
