from __future__ import annotations

from typing import Any

import pytest

from circuitry import CircuitBreaker

from .doubles import Naive
from .scenes import Scene

pytestmark = pytest.mark.core


class OffByOne(Naive):
    def admit(self) -> Any:
        before = self.state
        admission = super().admit()
        if before == "open":
            self.in_flight = 0  # the call that found the timeout over isn't counted
        return admission


def exhibit(kind: Any, colour: Any, permitted: int) -> None:
    scene = Scene(kind, colour, half_open_max_calls=permitted)
    scene.probe_due()
    probes = [scene.permit()]
    while scene.admits():
        probes.append(scene.permit())
    assert len(probes) == permitted, "the first probe wasn't counted"


@pytest.mark.parametrize("permitted", [1, 2])
def test_the_first_probe_counts_against_the_limit(colour: Any, permitted: int) -> None:
    """The Rust original let limit + 1 probes out: the first after the timeout wasn't counted."""
    exhibit(CircuitBreaker, colour, permitted)


def test_the_faulty_double_is_caught(colour: Any) -> None:
    with pytest.raises(AssertionError, match="first probe wasn't counted"):
        exhibit(OffByOne, colour, 2)
