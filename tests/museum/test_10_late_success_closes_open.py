from __future__ import annotations

from typing import Any

import pytest

from circuitry import CircuitBreaker

from .doubles import Naive
from .scenes import Scene

pytestmark = pytest.mark.core


class Optimist(Naive):
    def ended(self, admission: Any, error: BaseException | None) -> None:
        if error is None and self.state == "open":
            self.enter("closed")
        super().ended(admission, error)


def exhibit(kind: Any, colour: Any) -> None:
    scene = Scene(kind, colour)
    scene.call(scene.trip)  # began while closed, and succeeds now that the circuit is open
    assert scene.state == "open", "a late success closed the open circuit"
    assert not scene.admits()


def test_a_late_success_does_not_close_an_open_circuit(colour: Any) -> None:
    """In circuitbreaker and keel a success that began while closed closes an open circuit."""
    exhibit(CircuitBreaker, colour)


def test_the_faulty_double_is_caught(colour: Any) -> None:
    with pytest.raises(AssertionError, match="late success closed"):
        exhibit(Optimist, colour)
