"""Runs the fleet's demo once, from the first process to the report. Whatever ends it ends everything."""

from __future__ import annotations

import signal
import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
from anyio.abc import SocketAttribute

from circuitry.cli.demo.assembly import SETTLING
from circuitry.cli.demo.fleet.plan import AGREEING, OVER_AT, Plan
from circuitry.cli.demo.fleet.report import FleetReport, read_fleet, report_on
from circuitry.cli.demo.fleet.server import GivenServer, OwnServer, find_program
from circuitry.cli.demo.fleet.stage import FleetStage
from circuitry.cli.demo.play import keep_showing
from circuitry.cli.demo.web import listen, serve

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from anyio.abc import TaskGroup

    from circuitry.cli.demo.display import Display


async def play_fleet(
    plan: Plan, began: float, redis_url: str | None, display: Display[FleetStage, FleetReport]
) -> FleetReport:
    """Set the stage, run, and report. The demo `began` at that moment of the monotonic clock.

    Raises:
        NoServerError: there is no Redis server.
        WorkerError: a worker doesn't start.
        TerminatedError: a signal came.
    """
    async with _ending_when_told(), redis_server(redis_url) as redis:
        plan = replace(plan, disturbs_redis=isinstance(redis, OwnServer))
        async with set_fleet(plan, began, redis) as stage:
            await _show(stage, display)
            fleet = await anyio.to_thread.run_sync(read_fleet, redis.url, redis.prefix)
            return report_on(stage, fleet)


class TerminatedError(Exception):
    """Somebody has told the demo to end, not by Ctrl-C; the argument is the signal."""


@asynccontextmanager
async def _ending_when_told() -> AsyncGenerator[None, None]:
    """Leave nothing running when the demo is terminated, or its terminal goes."""

    async def listen_to(signals: AsyncIterator[signal.Signals]) -> None:
        async for number in signals:
            raise TerminatedError(number)

    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGHUP) as signals:
        async with anyio.create_task_group() as group:
            group.start_soon(listen_to, signals)
            yield
            group.cancel_scope.cancel()


@asynccontextmanager
async def set_fleet(
    plan: Plan, began: float, redis: OwnServer | GivenServer
) -> AsyncGenerator[FleetStage, None]:
    """Start the platforms and the workers, and end them. What the start takes is cut from a long run."""
    stage = FleetStage(plan, redis)
    async with anyio.create_task_group() as group:
        try:
            await _open_platforms(group, stage)
            await stage.gather(group)
            stage.plan = plan.within(OVER_AT - AGREEING - (time.monotonic() - began))
            await stage.hire(plan.workers)
            yield stage
        finally:
            await stage.dismiss()
            with anyio.CancelScope(shield=True):
                await anyio.sleep(SETTLING)
        group.cancel_scope.cancel()


@asynccontextmanager
async def redis_server(url: str | None) -> AsyncGenerator[OwnServer | GivenServer, None]:
    """The server of this run.

    Raises:
        NoServerError: there is none, or the one that was given doesn't answer.
    """
    with tempfile.TemporaryDirectory(prefix="circuitry-demo-") as directory:
        server = OwnServer(find_program(), directory) if url is None else GivenServer(url)
        try:
            await server.start()
            yield server
        finally:
            with anyio.CancelScope(shield=True):
                await server.stop()


async def _open_platforms(group: TaskGroup, stage: FleetStage) -> None:
    for server in stage.servers:
        listener = await listen()
        stage.ports[server.platform.id] = listener.extra(SocketAttribute.local_port)
        group.start_soon(serve, listener, server.handle)


async def _show(stage: FleetStage, display: Display[FleetStage, FleetReport]) -> None:
    display.open(stage)
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(keep_showing, display)
            await stage.run()
            group.cancel_scope.cancel()
        display.refresh()
    finally:
        display.close()
