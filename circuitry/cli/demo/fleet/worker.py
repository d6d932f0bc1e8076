"""One worker of the fleet, a process: a media gateway whose circuits and caches are shared on Redis.

It waits for its `Settings`, a line of JSON on stdin, and then tells the demo what happens, in lines of JSON
on stdout. It ends when its stdin does: so none is left, whatever becomes of the demo.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TextIO
from xml.etree import ElementTree

import anyio
from anyio.abc import SocketAttribute

from circuitry import CircuitBreakerConfig, CircuitState
from circuitry.cli.demo.fleet.plan import LEASE_LIMIT
from circuitry.cli.demo.gateway import Gateway
from circuitry.cli.demo.normalizers import DisneyPlus, Netflix, PrimeVideo
from circuitry.cli.demo.web import Client, listen, serve
from circuitry.integrations.normalizers import CircuitBreakerNormalizer
from circuitry.integrations.redis_cache import RedisFallbackCache
from circuitry.redis import RedisStore

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence
    from datetime import datetime

    from circuitry import CircuitBreaker, TransitionEvent
    from circuitry.cli.demo.normalizers import Title
    from circuitry.integrations.normalizers import PlatformNormalizer
    from circuitry.redis import Report

STATUS_EVERY = 0.2  # seconds
PATIENCE = 2.0  # seconds for the first word of Redis

CALL, PROBE_FOR_ALL, PROBE_ALONE = "call", "probe for the fleet", "probe alone"


@dataclass(frozen=True, slots=True)
class Settings:
    """What a worker is told."""

    name: str
    ports: dict[str, int]  # the platforms'
    redis_url: str
    prefix: str
    open_for: float
    client_timeout: float
    pages_at_once: int

    def dump(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self))


class MemberClient:
    """An HTTP client that says who asks, and whether it is a probe."""

    def __init__(self, name: str, port: int, timeout: float) -> None:
        self._name = name
        self._port = port
        self._timeout = timeout
        self.breaker: CircuitBreaker | None = None

    async def get(self, path: str, **query: str) -> bytes:
        """Return the body of a good answer."""
        return await Client(self._port, self._timeout, f"{self._name}/{self._role()}").get(path, **query)

    def _role(self) -> str:
        """In half-open only probes are admitted."""
        if self.breaker is None or self.breaker.state != CircuitState.HALF_OPEN:
            return CALL
        return PROBE_FOR_ALL if self.breaker.metrics().verdict == "fleet" else PROBE_ALONE


#: The seconds that the present call has spent at the platform.
_away: ContextVar[list[float]] = ContextVar("away")


class Measured:
    """A platform's normalizer; or, with `calls`, one behind a circuit: notes what circuit and cache add."""

    def __init__(self, inner: PlatformNormalizer[Any, Title], calls: list[Sample] | None = None) -> None:
        self._inner = inner
        self._calls = calls

    async def fetch_catalog_delta(self, since: datetime, region: str) -> Sequence[Any]:
        """Fetch, and note how long it took."""
        if self._calls is None:
            return await self._fetch_at_the_platform(since, region)
        away: list[float] = []
        _away.set(away)
        may_probe = _may_probe(self.circuit_breaker)
        began = time.monotonic()
        try:
            return await self._inner.fetch_catalog_delta(since, region)
        finally:
            self._calls.append((began, time.monotonic() - began - sum(away), may_probe))

    async def _fetch_at_the_platform(self, since: datetime, region: str) -> Sequence[Any]:
        began = time.monotonic()
        try:
            return await self._inner.fetch_catalog_delta(since, region)
        finally:
            _away.get().append(time.monotonic() - began)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def measured(inner: PlatformNormalizer[Any, Title], calls: list[Sample] | None = None) -> Any:
    """A normalizer that notes."""
    return Measured(inner, calls)


#: When a call began, the seconds that were added to it, and whether a fleet was to be asked for a probe.
Sample = tuple[float, float, bool]


def _may_probe(breaker: CircuitBreaker) -> bool:
    """Only then may a call wait for Redis: a round trip, for leave to probe."""
    if breaker.state == CircuitState.CLOSED:
        return False
    metrics = breaker.metrics()
    return metrics.state == CircuitState.HALF_OPEN or not metrics.retry_after


class Teller:
    """Says things in lines of JSON, from any thread: listeners are called by those of circuitry."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._lock = threading.Lock()

    def say(self, what: str, value: object) -> None:
        """Say one thing."""
        with self._lock:
            try:
                self._out.write(json.dumps({what: value}) + "\n")
                self._out.flush()
            except OSError:
                pass  # the demo has gone, and stdin ends


class Worker:
    """The gateway, its circuits, and what it tells."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._calls: list[Sample] = []
        self._say = Teller(sys.stdout).say
        self._store = RedisStore(settings.redis_url, prefix=f"{settings.prefix}circuit:")
        self._store.on_event(self._tell_of_redis)
        self._caches: list[RedisFallbackCache[Any]] = []
        self._platforms = [self._platform(kind) for kind in (Netflix, PrimeVideo, DisneyPlus)]

    async def run(self) -> None:
        """Serve until stdin ends."""
        await anyio.to_thread.run_sync(self._get_ready)
        listener = await listen()
        gateway = Gateway([measured(it, self._calls) for it in self._platforms], self._settings.pages_at_once)
        async with anyio.create_task_group() as group:
            group.start_soon(serve, listener, gateway.handle)
            group.start_soon(self._keep_telling)
            self._tell_status()
            self._say("ready", listener.extra(SocketAttribute.local_port))
            await anyio.to_thread.run_sync(sys.stdin.buffer.read)
            group.cancel_scope.cancel()
        self._tell_status()
        self._store.close()

    def _get_ready(self) -> None:
        """Know what the fleet knows before the first visitor comes."""
        self._store.wait_ready(PATIENCE)
        for cache in self._caches:
            cache.wait_ready(PATIENCE)

    def _platform(self, kind: Any) -> CircuitBreakerNormalizer[Any, Title]:
        settings = self._settings
        client = MemberClient(settings.name, settings.ports[kind.platform_id], settings.client_timeout)
        normalizer = kind(client)
        config = CircuitBreakerConfig(
            failure_threshold=3,
            success_threshold=2,
            timeout_duration=settings.open_for,
            half_open_max_calls=LEASE_LIMIT,
        )
        shared = CircuitBreakerNormalizer[Any, Any].with_redis(measured(normalizer), config, self._store)
        client.breaker = shared.circuit_breaker
        shared.circuit_breaker.on_transition(lambda event: self._tell_of_turn(kind.platform_id, event))
        return shared.with_cache(self._cache(normalizer))

    def _cache(self, normalizer: PlatformNormalizer[Any, Title]) -> RedisFallbackCache[Any]:
        def content_id(raw: Any) -> Hashable:
            return normalizer.normalize(raw).content_id

        is_xml = isinstance(normalizer, PrimeVideo)
        forms: dict[str, Any] = {"to_json": _as_text, "from_json": ElementTree.fromstring} if is_xml else {}
        cache = RedisFallbackCache[Any](
            self._settings.redis_url,
            normalizer.platform_id,
            key=content_id,
            prefix=f"{self._settings.prefix}catalog:",
            **forms,
        )
        self._caches.append(cache)
        return cache

    async def _keep_telling(self) -> None:
        while True:
            self._tell_status()
            await anyio.sleep(STATUS_EVERY)

    def _tell_status(self) -> None:
        calls, self._calls[:] = list(self._calls), []
        snapshots = {it.platform_id: it.circuit_breaker.metrics() for it in self._platforms}
        states = {name: [metrics.state, metrics.verdict] for name, metrics in snapshots.items()}
        self._say("status", {"states": states, "link": self._store.health().link, "calls": calls})

    def _tell_of_turn(self, platform_id: str, event: TransitionEvent) -> None:
        told = (platform_id, event.old_state, event.new_state, event.source, event.last_failure)
        self._say("turned", [*told, time.monotonic()])

    def _tell_of_redis(self, report: Report) -> None:
        self._say("redis", [report.kind, report.detail, time.monotonic()])


def _as_text(title: ElementTree.Element) -> str:
    return ElementTree.tostring(title, "unicode").strip()


def main() -> None:
    """Wait to be needed, and be a worker until stdin ends."""
    print(json.dumps({"loaded": True}), flush=True)
    settings = sys.stdin.buffer.readline()
    if settings:
        anyio.run(Worker(Settings(**json.loads(settings))).run)


if __name__ == "__main__":
    main()
