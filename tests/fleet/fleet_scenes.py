"""What scenes of a fleet have in common: patience, a watch on the event loop, and forked children."""

from __future__ import annotations

import os
import select
import signal
import time
import warnings
from collections.abc import Callable
from typing import Any

import anyio

from circuitry import CircuitBreaker, CircuitOpenError

#: 3 failures open the circuit for a moment, one success of its single probe closes it.
NUMBERS = {
    "failure_threshold": 3,
    "success_threshold": 1,
    "timeout_duration": 0.1,
    "half_open_max_calls": 1,
    "probe_timeout": 2.0,
}


class Join:
    """Makes members of one fleet on one server. What they share begins with a prefix of its own."""

    def __init__(self, url: str, server: Any = None) -> None:
        self.url, self.server = url, server
        self.prefix = f"test-{os.urandom(6).hex()}:"
        self.stores: list[Any] = []
        self._client: Any = None

    def store(self, **settings: Any) -> Any:
        from circuitry.redis import RedisStore

        self.stores.append(RedisStore(self.url, **{"prefix": self.prefix, **settings}))
        return self.stores[-1]

    def __call__(self, name: str = "netflix", *, store: Any = None, **settings: Any) -> CircuitBreaker:
        ours = {key: settings.pop(key) for key in ("redis_timeout", "check_period") if key in settings}
        store = store or self.store(**ours)
        breaker = CircuitBreaker(name, store=store, **{**NUMBERS, **settings})
        assert store.wait_ready(5)
        return breaker

    @property
    def client(self) -> Any:
        """For looking at what is stored."""
        if self._client is None:
            import redis

            self._client = redis.Redis.from_url(self.url, decode_responses=True)
        return self._client

    def get(self, kind: str, name: str = "netflix") -> Any:
        return self.client.get(f"{self.prefix}{name}:{kind}")

    def commands(self) -> int:
        """How often the script has been run on this server."""
        return sum(
            int(stats["calls"])
            for name, stats in self.client.info("commandstats").items()
            if name in ("cmdstat_evalsha", "cmdstat_eval")
        )

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
        for store in self.stores:
            store.close()


def fail(breaker: CircuitBreaker, times: int = 1) -> None:
    for _ in range(times):
        breaker.acquire().failure(OSError("down"))


def open_for_all(*breakers: CircuitBreaker) -> None:
    fail(breakers[0], breakers[0].config.failure_threshold)
    for breaker in breakers:
        until(lambda breaker=breaker: breaker.state == "open", "it isn't open for all")
        until(lambda breaker=breaker: breaker.metrics().verdict == "fleet", "it isn't the fleet's verdict")


def probe_due(*breakers: CircuitBreaker) -> None:
    """Open the circuit for all, and let its timeout end: the next call of anybody is a probe."""
    open_for_all(*breakers)
    time.sleep(breakers[0].config.timeout_duration + 0.02)


def admits(breaker: CircuitBreaker) -> bool:
    """Whether a call would go out now. It says nothing of the dependency."""
    try:
        breaker.acquire().release()
    except CircuitOpenError:
        return False
    return True


async def longest_hold(work: Any) -> float:
    """For how long the event loop was held up at most while `work` ran, in seconds."""
    held = 0.0
    async with anyio.create_task_group() as group:

        async def tick() -> None:
            nonlocal held
            while True:
                before = time.perf_counter()
                await anyio.sleep(0.002)
                held = max(held, time.perf_counter() - before - 0.002)

        group.start_soon(tick)
        await anyio.sleep(0.01)
        await work()
        await anyio.sleep(0.01)
        group.cancel_scope.cancel()
    return held


def until(is_so: Callable[[], object], otherwise: str, patience: float = 5.0) -> None:
    deadline = time.monotonic() + patience
    while not is_so():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.001)


class Child:
    """A forked child that does something, says so, and waits for its end."""

    def __init__(
        self, act: Callable[[], object], meanwhile: Callable[[], object] = bool, *, wait: bool = True
    ) -> None:
        self._reading, writing = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # there are threads, and it is fine
            self.pid = os.fork()
        if self.pid == 0:
            self._run(act, writing)
        os.close(writing)
        meanwhile()
        self.said = self.hear() if wait else b""

    def hear(self) -> bytes:
        """A sign that it has done it, or nothing if it has failed."""
        speaks, _, _ = select.select([self._reading], [], [], 30)
        said = os.read(self._reading, 1) if speaks else b""
        os.close(self._reading)
        return said

    @staticmethod
    def _run(act: Callable[[], object], writing: int) -> None:
        try:
            signal.alarm(20)
            act()
            os.write(writing, b"+")
            signal.pause()
        except BaseException:
            pass  # it hasn't said anything, and that says it all
        os._exit(1)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
