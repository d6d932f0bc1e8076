from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from circuitry import CircuitBreaker

from .doubles import Naive
from .scenes import Scene, error_of, in_sync

pytestmark = [pytest.mark.core, in_sync]


def exhibit(kind: Any, colour: Any) -> None:
    scene = Scene(kind, colour, failure_threshold=1)

    def rows() -> Iterator[str]:
        yield "first"
        raise OSError("connection lost")

    assert isinstance(error_of(colour, list, scene.breaker(rows)()), OSError)
    assert scene.state == "open", "only the generator's creation is guarded"


def exhibit_probe(kind: Any, colour: Any) -> None:
    scene = Scene(kind, colour)

    def rows() -> Iterator[str]:
        yield "first"
        yield "second"

    scene.probe_due()
    stream = scene.breaker(rows)()
    assert next(stream) == "first"
    assert scene.state == "half_open", "the creation of a generator was the probe"
    assert not scene.admits()
    assert list(stream) == ["second"]
    assert scene.state == "closed"


def test_a_generator_is_guarded_over_the_whole_iteration(colour: Any) -> None:
    """interlock, pyresilience, resilix and fluxgate guard its creation only, which never fails."""
    exhibit(CircuitBreaker, colour)


def test_a_generator_is_a_probe_until_it_ends(colour: Any) -> None:
    """In the same four it is over before it has begun, and closes the circuit."""
    exhibit_probe(CircuitBreaker, colour)


def test_the_faulty_double_is_caught(colour: Any) -> None:
    """The breaker of the textbook has this bug."""
    with pytest.raises(AssertionError, match="only the generator's creation"):
        exhibit(Naive, colour)
    with pytest.raises(AssertionError, match="was the probe"):
        exhibit_probe(Naive, colour)
