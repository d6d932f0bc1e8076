from __future__ import annotations

from typing import Any

import pytest

from circuitry import CircuitBreaker

from .doubles import Naive
from .scenes import Scene

pytestmark = pytest.mark.core


class Thorough(Naive):
    def failed(self) -> None:
        if self.state == "half_open" and self.failure_count + 1 < self.half_open_max_calls:
            self.failure_count += 1  # let us see what the others say
        else:
            super().failed()


def exhibit(kind: Any, colour: Any) -> None:
    scene = Scene(kind, colour, half_open_max_calls=10)
    scene.probe_due()
    hits: list[object] = []
    down = OSError("down")

    def backend() -> None:
        hits.append(None)
        raise down

    for _ in range(10):
        if scene.admits():
            scene.call(backend, expect=down)
    assert len(hits) == 1, "the dead backend was hit more than once in one round"
    assert scene.state == "open"


def test_one_failed_probe_reopens_the_circuit_at_once(colour: Any) -> None:
    """interlock waits for the verdict of all permitted probes: ten hits on a dead backend each round."""
    exhibit(CircuitBreaker, colour)


def test_the_faulty_double_is_caught(colour: Any) -> None:
    with pytest.raises(AssertionError, match="more than once in one round"):
        exhibit(Thorough, colour)
