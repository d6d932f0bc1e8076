from __future__ import annotations

from typing import Any

import pytest

from circuitry import CircuitBreaker
from circuitry.policies import FailureRate, within

from .doubles import Naive
from .scenes import Scene

pytestmark = pytest.mark.core


def exhibit(kind: Any, colour: Any) -> None:
    """Three failures, an hour of silence, one failure."""
    scene = Scene(kind, colour)
    for _ in range(3):
        scene.permit().failure(OSError("down"))
    scene.wait(3600)
    scene.permit().failure(OSError("down"))
    assert scene.state == "closed", "failures of an hour ago have opened it"


class ByTheMinute(CircuitBreaker):
    """4 failures of 4 calls within a minute open it."""

    __slots__ = ()

    def __init__(self, name: str, *, clock: Any, **_settings: Any) -> None:
        super().__init__(name, trip=FailureRate(1.0, window=within(60), minimum_calls=4), clock=clock)


class KeepsIdleBuckets(Naive):
    """Buckets are dropped when a new one is begun beside them: at the next call but one, after a silence."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **{**settings, "failure_threshold": 4})
        self.buckets: dict[int, int] = {}

    def failed(self) -> None:
        now = int(self.clock() // 60)
        self.failure_count = sum(self.buckets.values()) + 1
        self.buckets = {now: self.buckets.get(now, 0) + 1}
        if self.failure_count >= self.failure_threshold:
            self.enter("open")


def test_a_silence_empties_the_window(colour: Any) -> None:
    """fluxgate keeps idle buckets for ever, and trips on what is stale."""
    exhibit(ByTheMinute, colour)


def test_the_faulty_double_is_caught(colour: Any) -> None:
    with pytest.raises(AssertionError, match="failures of an hour ago"):
        exhibit(KeepsIdleBuckets, colour)
