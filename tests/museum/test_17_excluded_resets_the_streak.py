from __future__ import annotations

from typing import Any

import pytest

from circuitry import CircuitBreaker

from .doubles import Naive
from .scenes import Scene

pytestmark = pytest.mark.core


class Forgives(Naive):
    def ignored(self, error: BaseException) -> None:
        self.succeeded()


def exhibit(kind: Any, colour: Any) -> None:
    scene = Scene(kind, colour, exclude=(KeyError,))
    down, missing = OSError("down"), KeyError("no such title")

    def raises(error: Exception) -> None:
        def backend() -> None:
            raise error

        scene.call(backend, expect=error)

    for error in (down, missing, down, missing, down):
        raises(error)
    assert scene.state == "open", "excluded errors reset the streak"


def test_excluded_errors_do_not_reset_the_failure_streak(colour: Any) -> None:
    """In pybreaker they do, so a mix of both never opens the circuit."""
    exhibit(CircuitBreaker, colour)


def test_the_faulty_double_is_caught(colour: Any) -> None:
    with pytest.raises(AssertionError, match="reset the streak"):
        exhibit(Forgives, colour)
