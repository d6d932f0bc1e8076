from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest

from circuitry import CircuitOpenError, circuit

from .doubles import Naive
from .scenes import error_of

pytestmark = [pytest.mark.core, pytest.mark.usefixtures("fresh")]


def evicting(name: str, *, key: Any, max_keys: int, **settings: Any) -> Callable[[Any], Any]:
    """A family that lets the least recently used member go, whatever its state."""
    members: OrderedDict[Any, Naive] = OrderedDict()

    def member(found: Any) -> Naive:
        members.setdefault(found, Naive(f"{name}[{found}]", **settings))
        members.move_to_end(found)
        if len(members) > max_keys:
            members.popitem(last=False)
        return members[found]

    def decorate(fn: Callable[..., Any]) -> Any:
        return lambda *args: member(key(*args)).call(fn, *args)

    return decorate


def exhibit(decorator: Any, colour: Any, sick: tuple[str, ...] = ("netflix",)) -> None:
    def backend(platform: str) -> str:
        if platform in sick:
            raise OSError("down")
        return platform

    decorate = decorator("platform", key=lambda platform: platform, max_keys=2, failure_threshold=1)
    guarded = decorate(colour.function(backend))

    async def asked(platform: str) -> Any:
        return await guarded(platform)

    fn = asked if colour.is_async else guarded
    for platform in sick:
        assert isinstance(error_of(colour, fn, platform), OSError)
    for platform in ("prime", "disney", "hulu", "max"):
        assert error_of(colour, fn, platform) is None
    for platform in sick:
        assert isinstance(error_of(colour, fn, platform), CircuitOpenError), "the outage was forgotten"


def test_an_outage_is_not_forgotten_to_make_room(colour: Any) -> None:
    """A keyed family that evicts an open breaker lets its callers through to the sick backend again."""
    exhibit(circuit, colour)


def test_not_even_where_every_member_is_open(colour: Any) -> None:
    """Then new keys share a circuit."""
    exhibit(circuit, colour, sick=("netflix", "paramount"))


def test_the_faulty_double_is_caught(colour: Any) -> None:
    with pytest.raises(AssertionError, match="outage was forgotten"):
        exhibit(evicting, colour)
