from __future__ import annotations

from typing import Any

import pytest

from circuitry import CircuitBreaker

from .doubles import Naive
from .scenes import Scene

pytestmark = pytest.mark.core


class Restarts(Naive):
    def ended(self, admission: Any, error: BaseException | None) -> None:
        if error is not None and self.state == "open":
            self.enter("open")
        super().ended(admission, error)


def exhibit(kind: Any, colour: Any) -> None:
    scene = Scene(kind, colour)
    late = OSError("read timed out")
    slow_calls = [scene.permit() for _ in range(5)]

    def slowest() -> None:
        scene.trip()
        for permit in slow_calls:
            scene.wait(2)
            permit.failure(late)
        raise late

    scene.call(slowest, expect=late)
    assert scene.admits(), "late failures restarted the timer"


def test_late_failures_do_not_restart_the_open_timer(colour: Any) -> None:
    """In aiobreaker, keel and the Rust original the circuit never recovers under slow traffic."""
    exhibit(CircuitBreaker, colour)


def test_the_faulty_double_is_caught(colour: Any) -> None:
    with pytest.raises(AssertionError, match="restarted the timer"):
        exhibit(Restarts, colour)
