from __future__ import annotations

from typing import Any

import pytest

from circuitry import CircuitBreaker

from .doubles import Stateless
from .scenes import Scene

pytestmark = pytest.mark.core

ENDINGS = {"success": None, "failure": OSError("late"), "excluded": KeyError("late")}


def exhibit(kind: Any, colour: Any, ending: str) -> None:
    scene = Scene(kind, colour, success_threshold=2, half_open_max_calls=2, exclude=(KeyError,))
    before: list[Any] = []

    def slow() -> None:
        scene.probe_due()
        scene.breaker.acquire().success()  # half-open, one of two successes
        before.extend(standing(scene.breaker))
        if (error := ENDINGS[ending]) is not None:
            raise error

    scene.call(slow, expect=ENDINGS[ending])
    assert standing(scene.breaker) == before, "a call admitted earlier was judged as a probe"


def standing(breaker: Any) -> list[Any]:
    metrics = breaker.metrics()
    return [metrics.state, metrics.success_count, metrics.half_open_calls]


@pytest.mark.parametrize("ending", list(ENDINGS))
def test_only_probes_decide_in_half_open(colour: Any, ending: str) -> None:
    """In Hystrix and Sentinel any completion decides the state, also that of a call admitted earlier."""
    exhibit(CircuitBreaker, colour, ending)


@pytest.mark.parametrize("ending", list(ENDINGS))
def test_the_faulty_double_is_caught(colour: Any, ending: str) -> None:
    with pytest.raises(AssertionError, match="judged as a probe"):
        exhibit(Stateless, colour, ending)
