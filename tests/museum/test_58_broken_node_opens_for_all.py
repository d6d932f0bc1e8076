from __future__ import annotations

import time
from typing import Any

import pytest

from .fleets import Fleet, Pooled, shared


class AnyTripsAll(Pooled):
    """What one member makes of its own calls is written for all."""


def exhibit(kind: Any, colour: Any, server: Any) -> None:
    """For some time, so that the broken node's probes fail too."""
    with Fleet(kind, colour, server, quorum=2, timeout_duration=0.05) as fleet:
        broken, healthy = fleet.members
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            if broken.admits():
                broken.fail()
            assert healthy.admits(), "one broken node has opened the circuit for all"
            time.sleep(0.005)
        assert broken.breaker.metrics().opened > 1, "the broken node isn't protected"
        assert fleet.get("state") == "closed"


def test_one_broken_node_opens_nothing_for_the_others(colour: Any, redis_server: Any) -> None:
    """With interlock, and with "any node trips all", it kills a fleet of 4 after 18 calls."""
    exhibit(shared, colour, redis_server)


def test_the_faulty_double_is_caught(colour: Any, redis_server: Any) -> None:
    with pytest.raises(AssertionError, match="has opened the circuit for all"):
        exhibit(AnyTripsAll, colour, redis_server)
