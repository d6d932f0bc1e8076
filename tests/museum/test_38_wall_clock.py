from __future__ import annotations

import sys
import time
from typing import Any

import pytest

from circuitry import CircuitBreaker

from .doubles import Naive
from .scenes import Scene

pytestmark = pytest.mark.core
HOUR = 3600.0


class ByTheWallClock(Naive):
    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, clock=lambda: time.time(), **settings)


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts the wall clock on or back, wherever circuitry reads it."""
    real = time.time
    ahead = [0.0]

    def shown() -> float:
        return real() + ahead[0]

    monkeypatch.setattr(time, "time", shown)
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "circuitry":
            for attribute in [at for at, value in vars(module).items() if value is real]:
                monkeypatch.setattr(module, attribute, shown)
    return lambda seconds: ahead.__setitem__(0, seconds)


def by_its_own_clock(kind: Any, colour: Any, timeout_duration: float) -> Scene:
    scene = Scene(CircuitBreaker, colour)
    scene.breaker = kind("netflix", timeout_duration=timeout_duration)
    return scene


def exhibit_forward(kind: Any, colour: Any, wall: Any) -> None:
    scene = by_its_own_clock(kind, colour, timeout_duration=10.0)
    scene.trip()
    wall(HOUR)
    rejection = scene.rejection()
    assert rejection is not None, "the wall clock opened the way early"
    assert rejection.retry_after <= 10


def exhibit_back(kind: Any, colour: Any, wall: Any) -> None:
    scene = by_its_own_clock(kind, colour, timeout_duration=0.001)
    scene.trip()
    wall(-HOUR)
    begun = time.monotonic()
    while time.monotonic() < begun + 0.002:
        pass
    assert scene.admits(), "the circuit stays open until the wall clock has caught up"


def test_a_wall_clock_put_forward_lets_nobody_through_early(colour: Any, wall: Any) -> None:
    """Eight libraries go by the wall clock."""
    exhibit_forward(CircuitBreaker, colour, wall)


def test_a_wall_clock_put_back_keeps_no_circuit_open(colour: Any, wall: Any) -> None:
    """In the same eight the circuit stays open an hour longer."""
    exhibit_back(CircuitBreaker, colour, wall)


def test_the_faulty_double_is_caught(colour: Any, wall: Any) -> None:
    with pytest.raises(AssertionError, match="opened the way early"):
        exhibit_forward(ByTheWallClock, colour, wall)
    with pytest.raises(AssertionError, match="caught up"):
        exhibit_back(ByTheWallClock, colour, wall)
