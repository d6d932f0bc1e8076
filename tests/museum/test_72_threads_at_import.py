from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import circuitry
from circuitry import CircuitBreaker

from .doubles import Naive
from .scenes import Scene, fails

pytestmark = pytest.mark.core


class WithATimer(Naive):
    """Leaves the open state by a timer, and looks at its settings in the background."""

    def __call__(self, fn: Any) -> Any:
        threading.Thread(target=lambda: None).start()
        return super().__call__(fn)

    def enter(self, state: str) -> None:
        super().enter(state)
        if state == "open":
            threading.Timer(self.timeout_duration, lambda: self.enter("half_open")).start()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """The threads that would have been started."""
    threads: list[threading.Thread] = []
    monkeypatch.setattr(threading.Thread, "start", lambda thread: threads.append(thread))
    return threads


def exhibit(kind: Any, colour: Any, started: list[threading.Thread]) -> None:
    scene = Scene(kind, colour)
    scene.breaker(colour.function(fails))
    assert not started, "a decorator started a thread"
    scene.trip()
    assert not started, "an opening started a thread"


def exhibit_recovery(kind: Any, colour: Any, started: list[threading.Thread]) -> None:
    scene = Scene(kind, colour)
    scene.probe_due()
    scene.call(lambda: None)
    assert scene.state == "closed"
    assert not started, "a recovery needed a thread"


def test_a_decorator_starts_no_thread(colour: Any, started: list[threading.Thread]) -> None:
    """Found while planning: a thread of import time doesn't survive a fork, and delays the exit."""
    exhibit(CircuitBreaker, colour, started)


def test_neither_does_a_circuit_that_opens_and_recovers(colour: Any, started: list[threading.Thread]) -> None:
    """It has no timers: open becomes half-open when somebody calls."""
    exhibit_recovery(CircuitBreaker, colour, started)


def test_the_import_starts_none_either() -> None:
    """Nor do the presets, the registry or a decorated function of a module's top level."""
    code = (
        "import threading, circuitry\n"
        "@circuitry.circuit('netflix', preset='pubnub')\n"
        "def fetch(): ...\n"
        "fetch(); assert threading.active_count() == 1\n"
    )
    where = Path(circuitry.__file__).parents[1]
    subprocess.run([sys.executable, "-c", code], cwd=where, check=True, timeout=60)


def test_the_faulty_double_is_caught(colour: Any, started: list[threading.Thread]) -> None:
    with pytest.raises(AssertionError, match="a decorator started a thread"):
        exhibit(WithATimer, colour, started)
    started.clear()
    with pytest.raises(AssertionError, match="a recovery needed a thread"):
        exhibit_recovery(WithATimer, colour, started)
