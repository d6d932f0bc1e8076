"""Locks after a fork: which are seen to."""

from __future__ import annotations

import pytest

from circuitry import CircuitBreaker, forking

pytestmark = pytest.mark.core


def test_one_that_is_made_meanwhile_does_not_disturb(monkeypatch):
    """A set that grows while it is read is read again."""

    class Growing:
        reads = 0

        def __iter__(self):
            self.reads += 1
            if self.reads == 1:
                raise RuntimeError("Set changed size during iteration")
            return iter([breaker])

    breaker = CircuitBreaker("catalogue")
    monkeypatch.setattr(forking, "_holders", Growing())
    assert forking.holders() == [breaker]
