from __future__ import annotations

from typing import Any

import pytest

from circuitry import CircuitBreaker, CircuitOpenError

from .doubles import Naive
from .scenes import Scene

pytestmark = pytest.mark.core


class UntilAPastDeadline(Naive):
    """Always says how long it is until the deadline of the open state, in half_open too."""

    def rejection(self) -> Exception:
        return CircuitOpenError(self.name, self.state, self.deadline - self.clock(), None)


class SaysNothing(Naive):
    def rejection(self) -> Exception:
        return CircuitOpenError(self.name)


def exhibit(kind: Any, colour: Any) -> None:
    scene = Scene(kind, colour, probe_timeout=4.0)
    scene.trip()
    for passed, left in ((0.0, 10.0), (2.5, 7.5), (7.25, 0.25)):
        scene.wait(passed)
        assert told(scene) == left, "the rejection says something else than the time that is left"
    scene.wait(told(scene))
    probe = scene.permit()  # so it was worth waiting for
    scene.wait(1)
    assert told(scene) >= 0, "retry_after is negative"
    scene.wait(told(scene))
    assert scene.admits()
    probe.release()


def told(scene: Scene) -> float:
    rejection = scene.rejection()
    assert rejection is not None
    assert len(rejection.args) > 2, "retry_after is missing"
    return rejection.retry_after


def test_a_rejection_says_how_long_to_wait_and_means_it(colour: Any) -> None:
    """In several libraries it is negative once the deadline has passed, or missing."""
    exhibit(CircuitBreaker, colour)


def test_past_the_deadline_it_is_zero(colour: Any) -> None:
    """Nobody has called yet, so the circuit still says open."""
    scene = Scene(CircuitBreaker, colour)
    scene.trip()
    scene.wait(11)
    metrics = scene.breaker.metrics()
    assert (metrics.state, metrics.retry_after) == ("open", 0.0)


def test_a_forced_open_circuit_gives_a_hint(colour: Any) -> None:
    """Nobody knows when it ends, but a client needs a number for its Retry-After."""
    scene = Scene(CircuitBreaker, colour)
    scene.breaker.force_open()
    assert told(scene) == 10.0


@pytest.mark.parametrize(
    ("double", "symptom"), [(UntilAPastDeadline, "is negative"), (SaysNothing, "is missing")]
)
def test_the_faulty_double_is_caught(colour: Any, double: Any, symptom: str) -> None:
    with pytest.raises(AssertionError, match=symptom):
        exhibit(double, colour)
