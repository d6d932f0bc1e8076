"""What one process of a fleet does: the other end of `crew.Worker`."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from .colours import COLOURS, Asyncio, Fn, Sync
from .contenders import BY_NAME, Contender, Settings

RAN, FAILED, REJECTED, ERROR = "ran", "failed", "rejected", "error"
Answer = dict[str, Any]


class DownError(Exception):
    """What the guarded function raises when it is to fail."""


class Backend:
    """What is guarded. It knows which calls went out."""

    def __init__(self) -> None:
        self.entered: list[float] = []
        self.ended = 0
        self.fails = False
        self.takes = 0.0
        self.tell: Callable[[str], object] | None = None

    def work(self) -> float:
        self.entered.append(time.monotonic())
        if self.tell is not None:
            self.tell("out")
        return self.takes

    def end(self) -> str:
        self.ended += 1
        if self.fails:
            raise DownError
        return "answer"


class Hand:
    """Every method that has no underscore is a job."""

    def __init__(self, contender: Contender, colour: Sync | Asyncio, conn: Connection) -> None:
        self._contender = contender
        self._colour = colour
        self._conn = conn
        self._backends: dict[str, Backend] = {}
        self._guarded: dict[str, Fn] = {}
        self._breakdowns: dict[str, str] = {}

    async def prepare(self, circuit: str, settings: Settings, warm: int = 0) -> None:
        """Make a circuit, and let some calls through it."""
        backend = self._backends[circuit] = Backend()
        guard = await self._contender.guard(circuit, settings)
        self._guarded[circuit] = guard(self._colour.backend(backend.work, backend.end))
        for _ in range(warm):
            await self._attempt(circuit)
        backend.entered.clear()

    async def _attempt(self, circuit: str) -> str:
        """One call, and what became of it."""
        backend = self._backends[circuit]
        before = len(backend.entered)
        try:
            await self._colour.call(self._guarded[circuit])
        except DownError:
            return FAILED
        except self._contender.rejections:
            # Some say of the call that trips that it was rejected.
            return FAILED if len(backend.entered) > before else REJECTED
        except Exception as error:
            self._breakdowns.setdefault(type(error).__name__, str(error))
            return FAILED if len(backend.entered) > before else ERROR
        return RAN

    async def calls(self, circuit: str, count: int) -> Answer:
        """So many calls, one by one."""
        told: Answer = {}
        for _ in range(count):
            outcome = await self._attempt(circuit)
            told[outcome] = told.get(outcome, 0) + 1
        return told

    async def trip(self, circuit: str, at: float = 0.0, most: int = 15) -> float | None:
        """Fail until the circuit opens. When the call that opened it failed; None if it never did."""
        backend = self._backends[circuit]
        backend.fails = True
        await self._colour.pause(max(0.0, at - time.monotonic()))
        for _ in range(most):
            if await self._attempt(circuit) == REJECTED:
                break
        else:
            return None
        backend.fails = False
        return backend.entered[-1] if backend.entered else None

    async def await_rejection(self, circuit: str, at: float, limit: float) -> float | None:
        """Call until a call is rejected; when that was."""
        await self._colour.pause(max(0.0, at - time.monotonic()))
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            if await self._attempt(circuit) == REJECTED:
                return time.monotonic()
            await self._colour.pause(0.0002)
        return None

    async def probe_together(
        self, circuit: str, at: float, width: int, takes: float, limit: float
    ) -> list[float]:
        """So many callers at once, each until it got through; when calls went out."""
        backend = self._backends[circuit]
        backend.takes = takes
        await self._colour.pause(max(0.0, at - time.monotonic()))

        async def caller() -> None:
            deadline = time.monotonic() + limit
            while time.monotonic() < deadline and await self._attempt(circuit) in (REJECTED, ERROR):
                await self._colour.pause(0.02)

        await self._colour.together([caller] * width)
        return backend.entered

    async def hold_probe(self, circuit: str, limit: float) -> None:
        """Get through, and stay there; says when it did."""
        backend = self._backends[circuit]
        backend.takes, backend.tell = 60.0, self._conn.send
        await self.recover(circuit, limit)

    async def recover(self, circuit: str, limit: float) -> float | None:
        """Call until a call gets through; when that was."""
        backend = self._backends[circuit]
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            before = len(backend.entered)
            await self._attempt(circuit)
            if len(backend.entered) > before:
                return backend.entered[-1]
            await self._colour.pause(0.005)
        return None

    async def cancel_probe(self, circuit: str, limit: float) -> float | None:
        """Get through, be cancelled there, and call again; seconds until the next call gets through."""
        backend = self._backends[circuit]
        backend.takes = 60.0
        backend.entered.clear()
        probe = asyncio.create_task(self.recover(circuit, limit))
        deadline = time.monotonic() + limit
        while not backend.entered and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.002)
        if not backend.entered:
            raise RuntimeError("no probe got through at all")
        backend.takes = 0.0
        probe.cancel()
        await asyncio.wait([probe])
        cancelled = time.monotonic()
        back = await self.recover(circuit, limit)
        return None if back is None else back - cancelled

    async def traffic(self, circuit: str, at: float, rate: float, seconds: float, fails: bool) -> Answer:
        """Calls at an even pace, as far as they keep up; how many went out, and what became of all."""
        backend = self._backends[circuit]
        backend.fails = fails
        told: Answer = {"rate": 0.0}
        calls = 0
        while (now := time.monotonic()) < at + seconds:
            if now < (due := at + calls / rate):
                await self._colour.pause(due - now)
                continue
            outcome = await self._attempt(circuit)
            told[outcome] = told.get(outcome, 0) + 1
            calls += 1
        return told | {"out": len(backend.entered), "rate": calls / seconds}

    async def burst(self, circuit: str, count: int, takes: float, fails: bool) -> Answer:
        """So many tasks at once. Seconds, and what became of them."""
        backend = self._backends[circuit]
        backend.takes, backend.fails = takes, fails
        told: Answer = {}

        async def caller() -> None:
            outcome = await self._attempt_in_crowd(circuit)
            told[outcome] = told.get(outcome, 0) + 1

        start = time.monotonic()
        await self._colour.together([caller] * count)
        seconds = time.monotonic() - start
        return told | {"seconds": seconds, "breakdowns": dict(self._breakdowns)}

    async def _attempt_in_crowd(self, circuit: str) -> str:
        """As `_attempt`, where others go out meanwhile."""
        try:
            await self._colour.call(self._guarded[circuit])
        except DownError:
            return FAILED
        except self._contender.rejections:
            return REJECTED
        except Exception as error:
            self._breakdowns.setdefault(type(error).__name__, str(error))
            return ERROR
        return RAN

    async def outage(self, healthy: str, failing: str | None, count: int, limit: float) -> Answer:
        """What a call takes, what it takes unguarded, and whether failures still open a circuit."""
        start = time.monotonic()
        answer = await self._latencies(healthy, count, start + limit / 2)
        if failing is not None:
            answer |= await self._trips(failing, start + limit * 0.9)
        return answer | {"breakdowns": dict(self._breakdowns)}

    async def _latencies(self, circuit: str, count: int, deadline: float) -> Answer:
        bare = self._colour.backend(lambda: 0.0, lambda: "answer")
        guarded: list[float] = []
        unguarded: list[float] = []
        errors = 0
        clock = time.perf_counter
        while len(guarded) < count and time.monotonic() < deadline:
            await self._colour.pause(0.002)
            start = clock()
            errors += await self._attempt(circuit) == ERROR
            middle = clock()
            await self._colour.call(bare)
            guarded.append(middle - start)
            unguarded.append(clock() - middle)
        return {"guarded": guarded, "unguarded": unguarded, "errors": errors}

    async def _trips(self, circuit: str, deadline: float) -> Answer:
        self._backends[circuit].fails = True
        outcomes: list[str] = []
        while len(outcomes) < 15 and time.monotonic() < deadline:
            outcomes.append(await self._attempt(circuit))
            if outcomes[-1] == REJECTED:
                break
        return {"outcomes": outcomes}

    async def close(self) -> None:
        await self._contender.close()


class JobError(Exception):
    """A job raised something: here is what, as text."""


def serve(conn: Connection, who: str, colour_name: str, url: str | None) -> None:
    """The life of the process."""
    logging.disable(logging.CRITICAL)  # some log each call with a traceback, when the server is away
    colour = COLOURS[colour_name]

    async def life() -> None:
        hand = Hand(BY_NAME[who](colour_name, url), colour, conn)
        conn.send(None)
        while (order := await colour.receive(conn)) is not None:
            job, arguments = order
            answer: Any
            try:
                answer = await getattr(hand, job)(**arguments)
            except Exception as error:
                answer = JobError(f"{type(error).__name__}: {error}")
            conn.send(answer)

    colour.run(life)
