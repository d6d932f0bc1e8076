from __future__ import annotations

from typing import Any

import pytest

from circuitry import CircuitBreaker

from .doubles import Naive
from .scenes import Scene, crowd

pytestmark = pytest.mark.core


class Stampede(Naive):
    def is_full(self) -> bool:
        return False


def exhibit(kind: Any, colour: Any, permitted: int) -> None:
    scene = Scene(kind, colour, half_open_max_calls=permitted, success_threshold=20)
    scene.probe_due()
    through = crowd(scene, 20)
    assert through == permitted, "they all reached the sick backend"


@pytest.mark.parametrize("permitted", [1, 3])
def test_twenty_callers_at_the_end_of_the_timeout_make_no_stampede(colour: Any, permitted: int) -> None:
    """In circuitbreaker, aiobreaker, purgatory, pyresilience, semian, stoplight and failsafe-rs all twenty
    reach the sick backend.
    """
    exhibit(CircuitBreaker, colour, permitted)


def test_the_faulty_double_is_caught(colour: Any) -> None:
    with pytest.raises(AssertionError, match="all reached the sick backend"):
        exhibit(Stampede, colour, 1)
