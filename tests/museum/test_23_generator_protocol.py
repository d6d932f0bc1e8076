from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

import pytest

from circuitry import CircuitBreaker

from .doubles import ForLoop
from .scenes import Scene, Stream, in_sync, play

pytestmark = pytest.mark.core


class CloseIsAFailure(ForLoop):
    def is_failure(self, error: BaseException) -> bool:
        return True


class Echo:
    """A generator that says what was sent and thrown to it, and whether it was closed."""

    def __init__(self) -> None:
        self.is_closed = False

    def say(self) -> Generator[str, str, str]:
        said = "ready"
        try:
            while said != "goodbye":
                try:
                    said = yield said
                except KeyError as error:
                    said = f"caught {error}"
            return "done"
        finally:
            self.is_closed = True

    async def say_async(self) -> AsyncGenerator[str, str]:
        said = "ready"
        try:
            while True:
                try:
                    said = yield said
                except KeyError as error:
                    said = f"caught {error}"
        finally:
            self.is_closed = True


def guarded(scene: Scene, echo: Echo) -> Callable[..., Any]:
    return scene.breaker(echo.say_async if scene.colour.is_async else echo.say)


def exhibit(kind: Any, colour: Any) -> None:
    scene, echo = Scene(kind, colour, failure_threshold=1), Echo()

    async def story() -> None:
        stream = Stream(guarded(scene, echo)())
        try:
            assert await stream.send() == "ready"
            assert await stream.send("hello") == "hello", "what was sent got lost"
            assert await stream.throw(KeyError("k")) == "caught 'k'", "what was thrown got lost"
        finally:
            await stream.close()
        assert echo.is_closed, "the close got lost"

    play(colour, story)


def exhibit_early_close(kind: Any, colour: Any) -> None:
    scene, echo = Scene(kind, colour, failure_threshold=1), Echo()

    async def story() -> None:
        stream = Stream(guarded(scene, echo)())
        await stream.send()
        await stream.close()

    play(colour, story)
    assert scene.state == "closed", "an early close counted as a failure"


def exhibit_return_value(kind: Any, colour: Any) -> None:
    scene = Scene(kind, colour)

    def delegating() -> Generator[str, str, None]:
        yield f"returned {(yield from guarded(scene, Echo())())}"

    stream = delegating()
    next(stream)
    assert stream.send("goodbye") == "returned done", "what the generator returned got lost"


def test_a_guarded_generator_keeps_send_throw_and_close(colour: Any) -> None:
    """circuitbreaker and pybreaker lose them, or asend, athrow and aclose."""
    exhibit(CircuitBreaker, colour)


@in_sync
def test_a_guarded_generator_keeps_its_return_value(colour: Any) -> None:
    """A loop over the items, as in circuitbreaker, loses it to `yield from`."""
    exhibit_return_value(CircuitBreaker, colour)


def test_an_early_close_is_no_failure(colour: Any) -> None:
    """In circuitbreaker and pybreaker GeneratorExit counts as a failure."""
    exhibit_early_close(CircuitBreaker, colour)


def test_the_faulty_double_is_caught(colour: Any) -> None:
    with pytest.raises(AssertionError, match="what was sent got lost"):
        exhibit(ForLoop, colour)
    with pytest.raises(AssertionError, match="early close counted"):
        exhibit_early_close(CloseIsAFailure, colour)


@in_sync
def test_the_faulty_double_without_a_return_value_is_caught(colour: Any) -> None:
    with pytest.raises(AssertionError, match="returned got lost"):
        exhibit_return_value(ForLoop, colour)
