"""What is due at many circuits at once doesn't hold up the rest that the link has to do."""

from __future__ import annotations

import pytest

pytest.importorskip("redis")

from circuitry.redis import session as module
from circuitry.redis.session import TURN, Session
from circuitry.testing import ManualClock

pytestmark = pytest.mark.core


class Gate:
    def __init__(self, due):
        self.next_due = due


class Hurried(Session):
    """Whose every word takes 8 ms."""

    def __init__(self, clock, gates):
        self._clock, self._timed, self.said = clock, set(gates), []

    def say(self, gate):
        self.said.append(gate.next_due)
        gate.next_due = module.NEVER
        self._clock.advance(0.008)


def test_a_turn_is_short_and_who_waits_longest_comes_first(monkeypatch):
    clock = ManualClock(1000.0)
    monkeypatch.setattr(module.time, "monotonic", clock)
    session = Hurried(clock, [Gate(1000.0 - place) for place in range(5)] + [Gate(1001.0)])
    session.keep_up()
    assert session.said == [996.0, 997.0, 998.0]
    assert clock() - 1000 < 2 * TURN
    session.keep_up()
    assert session.said == [996.0, 997.0, 998.0, 999.0, 1000.0]
