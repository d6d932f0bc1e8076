from __future__ import annotations

from typing import Any

import pytest

from circuitry import CircuitRegistry, ConfigurationError

from .doubles import Naive

pytestmark = pytest.mark.core


class FirstComeOnly:
    def __init__(self) -> None:
        self.breakers: dict[str, Naive] = {}

    def get_or_create(self, name: str, **settings: Any) -> Naive:
        return self.breakers.setdefault(name, Naive(name, **settings))


def exhibit(registry: Any) -> None:
    first = registry.get_or_create("netflix", failure_threshold=7)
    assert registry.get_or_create("netflix") is first
    assert registry.get_or_create("netflix", failure_threshold=7) is first
    said = ""
    try:
        registry.get_or_create("netflix", failure_threshold=9)
    except ConfigurationError as error:
        said = str(error)
    assert "netflix" in said, "other settings were dropped without a word"
    assert "failure_threshold=7" in said
    assert "failure_threshold=9" in said


def test_other_settings_for_the_same_name_are_an_error_that_shows_both() -> None:
    """Elsewhere the first breaker is returned, and the second's settings are dropped silently."""
    exhibit(CircuitRegistry())


def test_the_faulty_double_is_caught() -> None:
    with pytest.raises(AssertionError, match="dropped without a word"):
        exhibit(FirstComeOnly())
