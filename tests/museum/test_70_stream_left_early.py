from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from circuitry import CircuitBreaker

from .doubles import ForLoop
from .scenes import Scene, Stream, in_sync, play

pytestmark = pytest.mark.core


def rows() -> Iterator[str]:
    yield "first"
    yield "second"


def exhibit(kind: Any, colour: Any) -> None:
    scene = Scene(kind, colour)
    scene.probe_due()

    async def story() -> None:
        stream = Stream(scene.breaker(colour.stream(rows))())
        assert await stream.send() == "first"
        await stream.close()

    play(colour, story)
    assert scene.state == "closed", "a stream that was left early is ignored, and half_open never closes"


def exhibit_break(kind: Any, colour: Any) -> None:
    scene = Scene(kind, colour)
    scene.probe_due()
    for _ in scene.breaker(rows)():
        break
    assert scene.state == "closed", "a stream that was left early is ignored, and half_open never closes"


def test_a_stream_that_is_left_early_is_a_success(colour: Any) -> None:
    """Found while planning: where it is ignored, and readers take a page each, half_open never closes."""
    exhibit(CircuitBreaker, colour)


@in_sync
def test_so_is_one_whose_loop_breaks(colour: Any) -> None:
    """Nobody closes it but the interpreter."""
    exhibit_break(CircuitBreaker, colour)


def test_the_faulty_double_is_caught(colour: Any) -> None:
    with pytest.raises(AssertionError, match="half_open never closes"):
        exhibit(ForLoop, colour)


@in_sync
def test_the_faulty_double_is_caught_where_a_loop_breaks(colour: Any) -> None:
    with pytest.raises(AssertionError, match="half_open never closes"):
        exhibit_break(ForLoop, colour)
