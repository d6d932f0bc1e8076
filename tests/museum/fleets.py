"""Scenes with several members of a fleet, and `Pooled`: the double that shares its verdict as most do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import redis

from circuitry import CircuitBreaker
from circuitry.redis import RedisStore

from ..fleet.fleet_scenes import until
from ..fleet.servers import Server
from .doubles import Naive
from .scenes import NUMBERS, Scene

#: 3 failures open the circuit for a moment, one success of its single probe closes it.
SHARED = {**NUMBERS, "timeout_duration": 0.1, "probe_timeout": 2.0}


def shared(
    url: str, *, skew: float = 0.0, quorum: int = 1, check_period: float = 10.0, **given: Any
) -> CircuitBreaker:
    """circuitry's breaker as a member of its own. `skew`: seconds by which its clock is ahead."""
    store = RedisStore(url, quorum=quorum, check_period=check_period)
    clock = lambda: time.monotonic() + skew  # noqa: E731
    breaker = CircuitBreaker("netflix", store=store, clock=clock, **given)
    assert store.wait_ready(5)
    return breaker


class Pooled(Naive):
    """Asks Redis at each call, and tells it of each step: right as long as nothing goes wrong."""

    patience = 5.0

    def __init__(self, url: str, **given: Any) -> None:
        self.redis = redis.Redis.from_url(url, decode_responses=True, socket_timeout=self.patience)
        super().__init__("netflix", **given)

    def enter(self, state: str) -> None:
        super().enter(state)
        if self.generation > 1:
            self.write(state)

    def write(self, state: str) -> None:
        self.redis.set(key("state"), state)
        self.redis.set(key("last_failure"), int(time.time()))

    def read(self) -> str:
        return str(self.redis.get(key("state")) or "closed")

    def look(self) -> None:
        found = self.read()
        if found != self.state:
            self.adopt(found)

    def adopt(self, state: str) -> None:
        Naive.enter(self, state)

    def admit(self) -> Any:
        self.look()
        return super().admit()


class Member(Scene):
    """One member of a fleet, called in one colour, in real time."""

    def __init__(self, breaker: Any, colour: Any) -> None:
        self.breaker, self.colour = breaker, colour

    @property
    def rejects(self) -> bool:
        return not self.admits()

    def fail(self, times: int = 1) -> None:
        for _ in range(times):
            self.permit().failure(OSError("down"))


class Fleet:
    """Members on one server. What has to come true is waited for, with little patience where it can't."""

    def __init__(self, kind: Any, colour: Any, server: Server, size: int = 2, **given: Any) -> None:
        self.kind, self.colour, self.server = kind, colour, server
        self.patience = 2.0 if kind is shared else 0.3
        self.given = {**SHARED, **given}
        self.held: Any = None
        self.members: list[Member] = []
        for _ in range(size):
            self.join()
        self.redis = redis.Redis.from_url(server.url(), decode_responses=True)

    def join(self, **given: Any) -> Member:
        self.members.append(Member(self.kind(self.server.url(), **{**self.given, **given}), self.colour))
        return self.members[-1]

    def until(self, is_so: Callable[[], object], otherwise: str, patience: float | None = None) -> None:
        until(is_so, otherwise, self.patience if patience is None else patience)

    def get(self, kind: str) -> Any:
        return self.redis.get(key(kind))

    def probe_due(self) -> None:
        """Open the circuit for all, and let its timeout end: the next call of anybody is a probe."""
        self.members[0].fail(3)
        for member in self.members:
            self.until(lambda member=member: member.rejects, "it isn't open for all")
        time.sleep(self.given["timeout_duration"] + 0.02)

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *details: object) -> None:
        self.redis.close()
        for member in self.members:
            close(member.breaker)


def close(breaker: Any) -> None:
    (breaker.redis if isinstance(breaker, Pooled) else breaker.store).close()


def key(kind: str) -> str:
    return f"circuit:netflix:{kind}"
