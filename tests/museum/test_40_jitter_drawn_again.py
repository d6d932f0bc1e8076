from __future__ import annotations

import random
from typing import Any

import pytest

from circuitry import CircuitBreaker
from circuitry.policies import Exponential

from .doubles import Naive
from .scenes import Scene

pytestmark = pytest.mark.core


def exhibit(kind: Any, colour: Any, draws: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """The draw is long; each after it would be short."""
    monkeypatch.setattr(random, "uniform", lambda low, high: draws.pop(0) * (high - low) + low)
    scene = Scene(kind, colour, backoff=Exponential(jitter=0.5))
    scene.trip()
    for _ in range(5):
        scene.wait(2.5)  # 12.5 s in the end, of 15
        assert not scene.admits(), "the jitter is drawn at each check, and the shortest draw wins"
    scene.wait(2.5)
    assert scene.admits()
    assert len(draws) == 9


class DrawsAtEachCheck(Naive):
    """Its deadline is worked out whenever somebody asks."""

    def enter(self, state: str) -> None:
        super().enter(state)
        self.since = self.clock()

    def admit(self) -> Any:
        self.deadline = self.since + self.timeout_duration * random.uniform(0.5, 1.5)
        return super().admit()


def test_the_jitter_is_drawn_once_at_the_opening(colour: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """fluxgate draws it at each check, so under traffic every circuit waits for the shortest time."""
    exhibit(CircuitBreaker, colour, [1.0] + [0.0] * 9, monkeypatch)


def test_the_faulty_double_is_caught(colour: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError, match="the shortest draw wins"):
        exhibit(DrawsAtEachCheck, colour, [1.0] * 3 + [0.0] * 90, monkeypatch)
