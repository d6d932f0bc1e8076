"""Fixtures for users' tests of code that uses circuitry.

A module of its own, beside the package: pytest imports it at every start, and nothing of circuitry
is imported before one of its fixtures is asked for.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from circuitry.registry import CircuitRegistry
    from circuitry.testing import ManualClock


@pytest.fixture
def circuitry_clock() -> ManualClock:
    """A `ManualClock`, to give to breakers as `clock=` and to advance."""
    from circuitry.testing import ManualClock

    return ManualClock()


@pytest.fixture
def circuitry_registry() -> Generator[CircuitRegistry]:
    """The global registry, empty for this test and put back after it."""
    from circuitry.testing import fresh_registry

    with fresh_registry() as registry:
        yield registry


@pytest.fixture
def circuitry_disabled() -> Generator[None]:
    """Every circuit that exists admits all calls and judges none during this test."""
    from circuitry.testing import disabled

    with disabled():
        yield
