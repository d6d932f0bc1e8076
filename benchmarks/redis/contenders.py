"""Who shares a verdict through Redis, each used as its own documentation says.

A contender is made for one colour, with a URL or, as its own yardstick, without: then it is the same
library's circuit that isn't shared. What it gives is a decorator.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from datetime import timedelta
from importlib import metadata
from typing import Any, ClassVar, NamedTuple
from urllib.parse import urlsplit

Fn = Callable[..., Any]
Decorator = Callable[[Fn], Fn]
BOTH = ("sync", "asyncio")


class Settings(NamedTuple):
    """What everybody is told. Always: one probe at a time, and one success closes."""

    threshold: int = 5
    timeout: float = 30.0
    quorum: int = 1


class Contender:
    """One library. `lacks` says why a colour is missing."""

    name: ClassVar[str]
    package: ClassVar[str]
    module: ClassVar[str]
    colours: ClassVar[tuple[str, ...]] = BOTH
    lacks: ClassVar[str] = ""
    polls: ClassVar[float] = 0.0  # seconds between two looks at the server, where nothing is pushed
    slack: ClassVar[float] = 0.0  # seconds that a circuit must be open longer for all to see it
    chatty: ClassVar[bool] = True  # whether each call asks the server
    quorums: ClassVar[tuple[int, ...]] = (1,)

    def __init__(self, colour: str, url: str | None) -> None:
        self.is_async = colour == "asyncio"
        self.url = url
        self.lib = importlib.import_module(self.module)
        self.rejections: tuple[type[Exception], ...] = ()
        self.set_up()

    @classmethod
    def version(cls) -> str:
        """The installed version.

        Raises:
            ImportError: it isn't installed, or can't be imported.
        """
        importlib.import_module(cls.module)
        try:
            return metadata.version(cls.package)
        except metadata.PackageNotFoundError:
            return "checkout"

    def set_up(self) -> None:
        raise NotImplementedError

    async def guard(self, circuit: str, settings: Settings) -> Decorator:
        """A circuit that is ready: it has heard where its fleet stands, if it listens to that."""
        raise NotImplementedError

    async def close(self) -> None:
        """Let go of what runs in the background."""

    def client(self) -> Any:
        """redis-py's client, made as all of their documentations make it."""
        redis = importlib.import_module("redis.asyncio" if self.is_async else "redis")
        place = urlsplit(self.url)
        return redis.Redis(host=place.hostname, port=place.port)


class Circuitry(Contender):
    """Ourselves: one store for both colours."""

    name = module = "circuitry"
    package = "circuitry-breaker"
    chatty = False
    quorums = (1, 2)

    def set_up(self) -> None:
        self.rejections = (self.lib.CircuitOpenError,)
        self.store: Any = None
        if self.url:
            self.store = importlib.import_module("circuitry.redis").RedisStore.from_url(self.url)

    async def guard(self, circuit: str, settings: Settings) -> Decorator:
        config = self.lib.CircuitBreakerConfig(
            failure_threshold=settings.threshold,
            success_threshold=1,
            timeout_duration=settings.timeout,
            half_open_max_calls=1,
            quorum=settings.quorum,
        )
        breaker: Decorator = self.lib.CircuitBreaker(circuit, config, store=self.store)
        if self.store and not self.store.wait_ready(5.0):
            raise RuntimeError("the store isn't ready")
        return breaker

    async def close(self) -> None:
        if self.store:
            self.store.close()


class Interlock(Contender):
    """A lane of its own for each breaker, which polls. One runtime for each storage."""

    name = "interlock"
    package = "interlock-cb"
    module = "interlock"
    polls = 1.0
    slack = 1.5
    chatty = False

    def set_up(self) -> None:
        self.rejections = (self.lib.CircuitOpenError,)
        self.storage: Any = None
        self.breakers: list[Any] = []
        if self.url:
            storages = importlib.import_module("interlock.integrations.redis")
            kind = storages.AsyncRedisStorage if self.is_async else storages.RedisStorage
            self.storage = kind(self.client())

    async def guard(self, circuit: str, settings: Settings) -> Decorator:
        config = self.lib.Config(
            failure_rate_threshold=1.0,
            minimum_number_of_calls=settings.threshold,
            window_size=settings.threshold,
            permitted_calls_in_half_open=1,
            wait_duration_in_open=settings.timeout,
        )
        breaker = self.lib.CircuitBreaker(name=circuit, config=config, storage=self.storage)
        self.breakers.append(breaker)
        guard: Decorator = breaker
        return guard

    async def close(self) -> None:
        for breaker in self.breakers:
            if self.is_async:
                await breaker.aclose()
            else:
                breaker.close()


class NopanicRedis(Contender):
    """Two scripts a call. Without Redis it is nopanic's own circuit breaker."""

    name = package = "nopanic-redis"
    module = "nopanic_redis"

    def set_up(self) -> None:
        self.local = importlib.import_module("nopanic")
        self.rejections = (self.local.CircuitOpen,)
        self.shared = self.client() if self.url else None

    async def guard(self, circuit: str, settings: Settings) -> Decorator:
        rules = {
            "failure_threshold": 0.5,
            "min_calls": settings.threshold,
            "reset_timeout": settings.timeout,
            "half_open_max_calls": 1,
        }
        guard: Decorator
        if self.shared is None:
            guard = self.local.circuit_breaker(**rules)
        else:
            guard = self.lib.redis_circuit_breaker(self.shared, name=circuit, **rules)
        return guard


class Pybreaker(Contender):
    """Several commands a call."""

    name = package = module = "pybreaker"
    colours = ("sync",)
    lacks = "it has no asyncio (its async calls are Tornado's)"
    slack = 1.0  # it keeps whole seconds

    def set_up(self) -> None:
        self.rejections = (self.lib.CircuitBreakerError,)
        self.shared = self.client() if self.url else None

    async def guard(self, circuit: str, settings: Settings) -> Decorator:
        storage = None
        if self.shared is not None:
            storage = self.lib.CircuitRedisStorage(self.lib.STATE_CLOSED, self.shared, namespace=circuit)
        guard: Decorator = self.lib.CircuitBreaker(
            fail_max=settings.threshold, reset_timeout=settings.timeout, state_storage=storage, name=circuit
        )
        return guard


class Aiobreaker(Contender):
    """Several commands a call, by a sync client, in async code too."""

    name = package = module = "aiobreaker"
    slack = 1.0  # it keeps whole seconds

    def set_up(self) -> None:
        self.rejections = (self.lib.CircuitBreakerError,)
        self.is_async = False  # its client
        self.shared = self.client() if self.url else None

    async def guard(self, circuit: str, settings: Settings) -> Decorator:
        storage = None
        if self.shared is not None:
            storages = importlib.import_module("aiobreaker.storage.redis")
            closed = self.lib.CircuitBreakerState.CLOSED
            storage = storages.CircuitRedisStorage(closed, self.shared, namespace=circuit)
        guard: Decorator = self.lib.CircuitBreaker(
            fail_max=settings.threshold,
            timeout_duration=timedelta(seconds=settings.timeout),
            state_storage=storage,
            name=circuit,
        )
        return guard


class Purgatory(Contender):
    """Several commands a call. Its extra wants redis-py < 6; here it has the same one as the others."""

    name = package = module = "purgatory"
    colours = ("asyncio",)
    lacks = "its SyncRedisUnitOfWork uses the asyncio client and never awaits it"

    def set_up(self) -> None:
        self.rejections = (importlib.import_module("purgatory.domain.model").OpenedState,)
        self.work = self.lib.AsyncRedisUnitOfWork(self.url) if self.url else None

    async def guard(self, circuit: str, settings: Settings) -> Decorator:
        factory = self.lib.AsyncCircuitBreakerFactory(uow=self.work)
        await factory.initialize()
        guard: Decorator = factory(circuit, threshold=settings.threshold, ttl=settings.timeout)
        return guard


CONTENDERS: tuple[type[Contender], ...] = (
    Circuitry,
    Interlock,
    NopanicRedis,
    Pybreaker,
    Aiobreaker,
    Purgatory,
)
BY_NAME = {kind.name: kind for kind in CONTENDERS}
OURS = Circuitry.name
