from __future__ import annotations

import math
from typing import Any

import pytest

from circuitry import CircuitBreaker, CircuitBreakerConfig, ConfigurationError, circuit

from .doubles import Naive

pytestmark = pytest.mark.core

COUNTS = ["failure_threshold", "success_threshold", "half_open_max_calls"]
DURATIONS = ["timeout_duration", "probe_timeout"]
SENSELESS = [0, -1, math.nan, math.inf, -math.inf, "30", True, [5]]
FACES = [
    pytest.param(CircuitBreakerConfig, id="config"),
    pytest.param(lambda **settings: CircuitBreaker("netflix", **settings), id="breaker"),
    pytest.param(lambda **settings: circuit("senseless", **settings)(lambda: None), id="decorator"),
]


def exhibit(make: Any, field: str, value: object) -> None:
    said = ""
    try:
        make(**{field: value})
    except ConfigurationError as error:
        said = str(error)
    assert said, f"{field}={value!r} was accepted"
    assert f"{field}={value!r}" in said
    assert "must be" in said


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("make", FACES)
@pytest.mark.parametrize("field", COUNTS + DURATIONS)
def test_senseless_numbers_are_refused_with_field_value_and_range(make: Any, field: str) -> None:
    """Elsewhere a threshold of 0, or a negative, NaN, infinite or string duration, misbehaves later."""
    for value in SENSELESS:
        exhibit(make, field, value)


def test_half_a_call_is_none() -> None:
    """A threshold of 2.5 isn't met by 2, and not by 3 in a comparison with `==`."""
    for field in COUNTS:
        exhibit(CircuitBreakerConfig, field, 2.5)


@pytest.mark.parametrize("field", COUNTS + DURATIONS)
def test_the_faulty_double_is_caught(field: str) -> None:
    for value in SENSELESS:
        with pytest.raises(AssertionError, match="was accepted"):
            exhibit(lambda **settings: Naive("netflix", **settings), field, value)
