from __future__ import annotations

from typing import Any

import pytest

from circuitry import CircuitBreaker

from .doubles import Naive
from .scenes import Scene

pytestmark = pytest.mark.core

ENDINGS = {"success": None, "failure": OSError("late")}


class NoRounds(Naive):
    """Compares the state of a result with that of its admission, which isn't enough."""

    def admit(self) -> Any:
        super().admit()
        return self.state

    def ended(self, admission: Any, error: BaseException | None) -> None:
        super().ended(self.generation if admission == self.state else None, error)


def exhibit(kind: Any, colour: Any, ending: str) -> None:
    scene = Scene(kind, colour, half_open_max_calls=2)
    scene.probe_due()

    def probe_of_round_1() -> None:
        scene.breaker.acquire().failure(OSError("down"))  # the other probe ends round 1
        scene.wait()
        scene.breaker.acquire().release()  # round 2 has begun
        if (error := ENDINGS[ending]) is not None:
            raise error

    scene.call(probe_of_round_1, expect=ENDINGS[ending])
    assert scene.state == "half_open", "a probe of round 1 decided round 2"


@pytest.mark.parametrize("ending", list(ENDINGS))
def test_a_probe_of_one_round_does_not_decide_the_next(colour: Any, ending: str) -> None:
    """In nopanic, resilix and fluxgate a probe of round 1 decides round 2."""
    exhibit(CircuitBreaker, colour, ending)


@pytest.mark.parametrize("ending", list(ENDINGS))
def test_the_faulty_double_is_caught(colour: Any, ending: str) -> None:
    with pytest.raises(AssertionError, match="decided round 2"):
        exhibit(NoRounds, colour, ending)
