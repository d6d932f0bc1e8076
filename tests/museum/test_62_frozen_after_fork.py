from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import Any

import pytest

from ..fleet.fleet_scenes import Child
from .fleets import Fleet, Pooled, shared

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here, and so no such bug")


class Polls(Pooled):
    """A thread looks at Redis from time to time: a thread that a forked child doesn't have."""

    def __init__(self, url: str, **given: Any) -> None:
        super().__init__(url, **given)
        self.seen = "closed"
        threading.Thread(target=self.poll, daemon=True).start()

    def poll(self) -> None:
        with contextlib.suppress(Exception):  # it is closed under it
            while self.alive:
                self.seen = super().read()
                time.sleep(0.005)

    alive = True

    def read(self) -> str:
        return self.seen


def exhibit(kind: Any, colour: Any, server: Any) -> None:
    """The child goes on with its parent's circuit, and the parent opens it by another one's failures."""
    with Fleet(kind, colour, server, timeout_duration=60) as fleet:
        one, other = fleet.members
        one.permit().success()
        reading, writing = os.pipe()

        def in_child() -> None:
            one.permit().success()
            os.write(writing, b"!")
            fleet.until(lambda: one.rejects, "frozen")

        opening = threading.Timer(0, lambda: os.read(reading, 1) and other.fail(3))
        child = None
        try:
            child = Child(in_child, meanwhile=opening.start)
            assert child.said, "the child's view is frozen"
        finally:
            opening.join(5)
            os.close(reading)
            os.close(writing)
            Polls.alive = False
            if child is not None:
                child.kill()
        fleet.until(lambda: one.rejects, "the parent's link is harmed")


def test_a_forked_child_follows_its_fleet(colour: Any, redis_server: Any) -> None:
    """Where a thread keeps the view up to date, a child has none, and believes for ever what it saw last."""
    exhibit(shared, colour, redis_server)


def test_the_faulty_double_is_caught(colour: Any, redis_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Polls, "alive", True)
    with pytest.raises(AssertionError, match="the child's view is frozen"):
        exhibit(Polls, colour, redis_server)
