from __future__ import annotations

from typing import Any

import pytest

from circuitry import CircuitBreaker

from .doubles import Naive
from .scenes import Scene, error_of, fails

pytestmark = pytest.mark.core


class Registering(type):
    """A metaclass, as frameworks have them for their exceptions."""


class NotFoundError(Exception, metaclass=Registering):
    pass


class TakesItForAPredicate(Naive):
    def is_failure(self, error: BaseException) -> bool:
        return not any(
            isinstance(error, excluded) if type(excluded) is type else excluded(error)
            for excluded in self.exclude
        )


def exhibit(kind: Any, colour: Any) -> None:
    scene = Scene(kind, colour, exclude=(NotFoundError,))
    missing = NotFoundError("no such title")

    def looks_up() -> None:
        raise missing

    for _ in range(3):
        scene.call(looks_up, expect=missing)
    assert scene.state == "closed", "the excluded exception counted"
    for _ in range(3):
        error_of(colour, scene.breaker.call, colour.function(fails))
    assert scene.state == "open", "everything is excluded"


def test_an_excluded_class_with_a_metaclass_excludes_only_itself(colour: Any) -> None:
    """pybreaker takes such a class for a predicate, and an exception of it is true."""
    exhibit(CircuitBreaker, colour)


def test_the_faulty_double_is_caught(colour: Any) -> None:
    with pytest.raises(AssertionError, match="everything is excluded"):
        exhibit(TakesItForAPredicate, colour)
