from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from circuitry import CircuitBreaker, CircuitOpenError

from .doubles import Naive
from .scenes import Scene

pytestmark = pytest.mark.core


def exhibit(kind: Any, colour: Any, above: bool) -> None:
    scene = Scene(kind, colour, failure_threshold=1)

    def guarded(binding: Any, fn: Callable[..., Any]) -> Any:
        return scene.breaker(binding(fn)) if above else binding(scene.breaker(fn))

    class Platform:
        named = guarded(classmethod, colour.function(lambda cls, title: (cls, title)))
        plain = guarded(staticmethod, colour.function(lambda title: title))

    class Netflix(Platform):
        pass

    for target in (Netflix, Netflix()):
        assert colour.run(target.named, "Dark") == (Netflix, "Dark")
        assert colour.run(target.plain, "Dark") == "Dark"
    scene.trip()
    for method in (Netflix.named, Netflix.plain):
        with pytest.raises(CircuitOpenError):
            colour.run(method, "Dark")


@pytest.mark.parametrize("above", [True, False], ids=["above", "below"])
def test_the_decorator_stands_above_and_below_classmethod_and_staticmethod(colour: Any, above: bool) -> None:
    """In all libraries it fails above them, if not at once then at the first call."""
    exhibit(CircuitBreaker, colour, above)


def test_the_faulty_double_is_caught(colour: Any) -> None:
    """It says so itself, when somebody calls it."""
    with pytest.raises(TypeError, match="is not callable"):
        exhibit(Naive, colour, above=True)
