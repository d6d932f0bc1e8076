"""Processes, each with a limit."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .contenders import CONTENDERS
from .worker import JobError, serve

#: Every process is forked from one that has loaded what they need, and has done nothing yet.
FRESH = multiprocessing.get_context("forkserver")
FRESH.set_forkserver_preload(
    ["benchmarks.redis.worker", "redis.asyncio", "circuitry.redis", *(kind.module for kind in CONTENDERS)]
)
START_LIMIT = 30.0
JOB_LIMIT = 20.0


class HangsError(Exception):
    """There was no answer within the limit."""


class Worker:
    """A member of a fleet: a process that does one job after the other."""

    def __init__(self, who: str, colour: str, url: str | None) -> None:
        self.who, self.colour = who, colour
        self._conn, theirs = FRESH.Pipe()
        self._process = FRESH.Process(target=serve, args=(theirs, who, colour, url), daemon=True)
        self._process.start()
        theirs.close()
        self.asked_at = 0.0

    def tell(self, job: str, **arguments: Any) -> None:
        """Give it a job, without waiting for the answer."""
        self.asked_at = time.monotonic()
        self._conn.send((job, arguments))

    def has_answered(self, limit: float) -> bool:
        """Whether an answer comes within so many seconds."""
        return self._conn.poll(max(0.0, limit))

    def answer(self, limit: float = JOB_LIMIT) -> Any:
        """What came of its job.

        Raises:
            HangsError: nothing did within `limit` seconds.
            JobError: the job failed.
        """
        if not self.has_answered(limit):
            raise HangsError(f"> {limit:g} s")
        try:
            answer = self._conn.recv()
        except (EOFError, ConnectionResetError):
            raise JobError("its process died") from None
        if isinstance(answer, JobError):
            raise answer
        return answer

    def ask(self, job: str, **arguments: Any) -> Any:
        """Give it a job, and wait for the answer."""
        self.tell(job, **arguments)
        return self.answer()

    def kill(self) -> None:
        """End it, as the system would."""
        self._process.kill()
        self._process.join()
        self._conn.close()


@contextmanager
def crew(who: str, colour: str, url: str | None, count: int) -> Iterator[list[Worker]]:
    """So many processes of one contender, which have started."""
    with workers([(who, colour)] * count, url) as started:
        yield started


@contextmanager
def workers(kinds: list[tuple[str, str]], url: str | None) -> Iterator[list[Worker]]:
    """A process for each (contender, colour)."""
    started = [Worker(who, colour, url) for who, colour in kinds]
    try:
        for worker in started:
            worker.answer(START_LIMIT)
        yield started
    finally:
        for worker in started:
            worker.kill()


def _send(conn: Any, fn: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    conn.send(fn(*arguments))


def apart(fn: Callable[..., Any], *arguments: Any, limit: float) -> Any:
    """Call a function in a process of its own.

    Raises:
        HangsError: it took longer than `limit` seconds.
        JobError: it failed.
    """
    ours, theirs = FRESH.Pipe()
    process = FRESH.Process(target=_send, args=(theirs, fn, arguments), daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(limit):
            raise HangsError(f"> {limit:g} s")
        return ours.recv()
    except EOFError:
        raise JobError("its process died") from None
    finally:
        process.kill()
        process.join()
