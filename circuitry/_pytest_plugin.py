"""Fixtures for users' tests. Nothing of circuitry is imported before one of them is asked for."""

from __future__ import annotations

from collections.abc import Iterator
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
def circuitry_registry() -> Iterator[CircuitRegistry]:
    """The global registry, empty for this test and put back after it."""
    from circuitry.testing import fresh_registry

    with fresh_registry() as registry:
        yield registry


@pytest.fixture
def circuitry_disabled() -> Iterator[None]:
    """Every circuit that exists admits all calls and judges none during this test."""
    from circuitry.testing import disabled

    with disabled():
        yield
