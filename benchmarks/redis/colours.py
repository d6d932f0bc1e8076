"""One way to write what a process does, with or without an event loop.

A job is a coroutine function that awaits only what stands here. Under `Sync` nothing of it ever suspends,
so one step runs it to its end, in a thread without an event loop, as sync code runs.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from multiprocessing.connection import Connection
from typing import Any

Job = Callable[[], Coroutine[Any, Any, Any]]
Fn = Callable[..., Any]


def drive(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run what never suspends."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise RuntimeError("it waits for an event loop")


class Sync:
    """Threads, and calls that block."""

    name = "sync"

    def run(self, job: Job) -> Any:
        return drive(job())

    async def call(self, fn: Fn) -> Any:
        return fn()

    async def pause(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 - no event loop runs here

    async def receive(self, conn: Connection) -> Any:
        return conn.recv()

    async def together(self, jobs: Sequence[Job]) -> None:
        threads = [threading.Thread(target=self.run, args=(job,), daemon=True) for job in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def backend(self, work: Callable[[], float], end: Callable[[], str]) -> Fn:
        """A function that is guarded: it works for so many seconds, and then ends so."""

        def fetch() -> str:
            seconds = work()
            if seconds:
                time.sleep(seconds)
            return end()

        return fetch


class Asyncio:
    """Tasks of one event loop, which runs all the time."""

    name = "asyncio"

    def run(self, job: Job) -> Any:
        return asyncio.run(job())

    async def call(self, fn: Fn) -> Any:
        return await fn()

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def receive(self, conn: Connection) -> Any:
        return await asyncio.to_thread(conn.recv)

    async def together(self, jobs: Sequence[Job]) -> None:
        await asyncio.gather(*(job() for job in jobs))

    def backend(self, work: Callable[[], float], end: Callable[[], str]) -> Fn:
        async def fetch() -> str:
            seconds = work()
            if seconds:
                await asyncio.sleep(seconds)
            return end()

        return fetch


COLOURS: dict[str, Sync | Asyncio] = {colour.name: colour for colour in (Sync(), Asyncio())}
