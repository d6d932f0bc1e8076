"""Sets the stage: starts the platforms and the gateways, and puts circuits into one of the two.

All servers run in one task group: whatever ends the run, be it Ctrl-C, ends everything.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import SocketAttribute

from circuitry import CircuitBreakerConfig
from circuitry.cli.demo.gateway import Gateway
from circuitry.cli.demo.normalizers import DisneyPlus, Netflix, PrimeVideo, Title, guarded
from circuitry.cli.demo.platforms import DISNEY_PLUS, NETFLIX, PRIME_VIDEO
from circuitry.cli.demo.stage import WITH, WITHOUT, News, Side, Stage
from circuitry.cli.demo.traffic import Visitors
from circuitry.cli.demo.web import Client, listen, serve

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from anyio.abc import TaskGroup

    from circuitry.cli.demo.platforms import Platform
    from circuitry.cli.demo.scenario import Scenario
    from circuitry.cli.demo.web import Handler, Listener
    from circuitry.integrations.normalizers import CircuitBreakerNormalizer, PlatformNormalizer

#: Seconds between the last visitor and the end of the servers: asyncio complains of a connection that arrives
#: while its listener is being cancelled.
SETTLING = 0.05


@asynccontextmanager
async def set_stage(scenario: Scenario, port: int = 0) -> AsyncGenerator[Stage, None]:
    """Start all servers, and stop them at the end.

    The gateway with circuits listens on `port` if it is free; all others on free ports.
    """
    stage = Stage(scenario)
    async with anyio.create_task_group() as group:
        for server in stage.servers:
            _start(group, stage, server.platform.id, await listen(), server.handle)
        guarded_platforms = _with_circuits(stage, _normalizers(stage, WITH))
        _open_gateway(group, stage, WITH, guarded_platforms, await _listen_here_or_anywhere(stage, port))
        _open_gateway(group, stage, WITHOUT, _normalizers(stage, WITHOUT), await listen())
        try:
            yield stage
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(SETTLING)
        group.cancel_scope.cancel()


def _normalizers(stage: Stage, user_agent: str) -> list[PlatformNormalizer[Any, Title]]:
    def client(platform: Platform) -> Client:
        return Client(stage.ports[platform.id], stage.scenario.client_timeout, user_agent)

    return [Netflix(client(NETFLIX)), PrimeVideo(client(PRIME_VIDEO)), DisneyPlus(client(DISNEY_PLUS))]


def _with_circuits(
    stage: Stage, normalizers: Sequence[PlatformNormalizer[Any, Title]]
) -> list[CircuitBreakerNormalizer[Any, Title]]:
    config = CircuitBreakerConfig(
        failure_threshold=3,
        success_threshold=2,
        timeout_duration=stage.scenario.open_for,
        half_open_max_calls=1,
    )
    guarded_normalizers = [guarded(normalizer, config) for normalizer in normalizers]
    for normalizer in guarded_normalizers:
        stage.watch(normalizer.platform_id, normalizer.circuit_breaker)
    return guarded_normalizers


def _open_gateway(
    group: TaskGroup,
    stage: Stage,
    name: str,
    platforms: Sequence[PlatformNormalizer[Any, Title]],
    listener: Listener,
) -> None:
    gateway = Gateway(platforms, stage.scenario.workers)
    _start(group, stage, name, listener, gateway.handle)
    stage.sides.append(Side(name, Visitors(stage.ports[name], stage.now, stage.fault)))


def _start(group: TaskGroup, stage: Stage, name: str, listener: Listener, handler: Handler) -> None:
    stage.ports[name] = listener.extra(SocketAttribute.local_port)
    group.start_soon(serve, listener, handler)


async def _listen_here_or_anywhere(stage: Stage, port: int) -> Listener:
    try:
        return await listen(port)
    except OSError as refused:
        listener = await listen()
        instead = listener.extra(SocketAttribute.local_port)
        text = f"port {port} can't be had ({refused.strerror or refused}): it is port {instead} instead"
        stage.news.append(News(0.0, "", text))
        return listener
