"""A store and a raw member of the same fleet, and patience."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from circuitry import CircuitBreaker, CircuitOpenError, Permit
from circuitry.redis import RedisStore

from ..fleet.model_fleet import Fleet

LATE = 5.0  # seconds: what hasn't come by then doesn't come


def comes_true(is_so: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + LATE
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.002)
    return is_so()


def joined(store: RedisStore, **settings: Any) -> CircuitBreaker:
    """A circuit that knows where its fleet stands, and hears it; it goes by the raw member's numbers."""
    numbers = {"failure_threshold": 3, "success_threshold": 2, "timeout_duration": 10.0}
    breaker = CircuitBreaker("netflix", store=store, **{**numbers, "half_open_max_calls": 2, **settings})
    assert store.wait_ready(LATE)
    assert comes_true(lambda: store.health().subscription and breaker._gate.view is not None)
    return breaker


def on_the_servers_clock(make_fleet: Callable[..., Fleet], **settings: Any) -> Fleet:
    fleet = make_fleet(**settings)
    fleet.now = None
    return fleet


def probe(breaker: CircuitBreaker) -> Permit:
    """Leave to probe, as soon as there is any."""
    permits: list[Permit] = []

    def is_let_through() -> bool:
        try:
            permits.append(breaker.acquire())
        except CircuitOpenError:
            return False
        return True

    assert comes_true(lambda: bool(permits) or is_let_through())
    return permits[0]
