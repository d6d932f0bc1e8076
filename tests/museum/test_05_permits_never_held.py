from __future__ import annotations

from typing import Any

import pytest

from circuitry import CircuitBreaker

from .doubles import Naive
from .scenes import Scene

pytestmark = pytest.mark.core


class Generous(Naive):
    def ended(self, admission: Any, error: BaseException | None) -> None:
        if error is not None and not self.is_failure(error):
            admission = self.generation  # any ignored result gives a slot back
        super().ended(admission, error)


def exhibit(kind: Any, colour: Any) -> None:
    scene = Scene(kind, colour)
    late = [scene.permit() for _ in range(50)]
    scene.probe_due()
    probes = [scene.permit()]
    for permit in late:
        permit.release()
        if scene.admits():
            probes.append(scene.permit())
    assert len(probes) == 1, "late ignored results gave back slots that they never held"


def test_late_ignored_results_give_back_no_slot_they_never_held(colour: Any) -> None:
    """resilience4j made 51 probes where 1 was permitted: each late ignored error returned a permit."""
    exhibit(CircuitBreaker, colour)


def test_the_faulty_double_is_caught(colour: Any) -> None:
    with pytest.raises(AssertionError, match="never held"):
        exhibit(Generous, colour)
