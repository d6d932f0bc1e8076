"""For tests of code that uses circuitry: no sleeps, and no circuits left in a strange state.

The pytest fixtures `circuitry_clock`, `circuitry_registry` and `circuitry_disabled` come with the
package.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from datetime import timedelta
from threading import Lock

from circuitry.config import PRESETS
from circuitry.locked import LockedCircuit, alive
from circuitry.registry import CircuitRegistry, registry
from circuitry.states import CircuitState

__all__ = ["ManualClock", "disabled", "forced", "fresh_registry", "reset_registry"]


class ManualClock:
    """A clock that stands until it is told to go on: `CircuitBreaker(..., clock=clock)`.

    Args:
        now: what it shows first, in seconds.

    Safe to use from any number of threads.
    """

    def __init__(self, now: float = 0.0) -> None:
        self._now = float(now)
        self._lock = Lock()

    def __call__(self) -> float:
        """The time, in seconds."""
        return self._now

    def advance(self, seconds: float | timedelta) -> None:
        """Let time pass.

        Args:
            seconds: how much, >= 0.

        Raises:
            ValueError: time doesn't go back.
        """
        passed = seconds.total_seconds() if isinstance(seconds, timedelta) else float(seconds)
        if not passed >= 0:
            raise ValueError(f"seconds={seconds!r} is not allowed: time goes on, it must be >= 0")
        with self._lock:
            self._now += passed

    def __repr__(self) -> str:
        return f"ManualClock({self._now!r})"


@contextlib.contextmanager
def forced(breaker: LockedCircuit, state: CircuitState | str) -> Generator[None]:
    """Within the block, `breaker` is in `state`; afterwards it is just where it was.

    Args:
        breaker: any circuit breaker.
        state: "open" and "half_open" are as after a failure a moment ago; "closed" is as new.

    Listeners hear nothing of it. Calls that begin in the block count nowhere when they end
    outside it.

    Raises:
        ValueError: there is no such state.
    """
    kept = breaker._set_aside(CircuitState(state))
    try:
        yield
    finally:
        breaker._put_back(kept)


@contextlib.contextmanager
def disabled() -> Generator[None]:
    """Within the block, every breaker that exists admits all calls and judges none.

    Breakers made in the block are not affected. Afterwards each is just where it was.
    """
    with contextlib.ExitStack() as stack:
        for breaker in alive():
            stack.enter_context(forced(breaker, CircuitState.DISABLED))
        yield


@contextlib.contextmanager
def fresh_registry(of: CircuitRegistry = registry) -> Generator[CircuitRegistry]:
    """Within the block, the registry is empty and knows the library's presets; afterwards it is as it was."""
    presets = dict(PRESETS)
    kept = of._swap()
    try:
        yield of
    finally:
        of._swap(kept)
        PRESETS.clear()
        PRESETS.update(presets)


def reset_registry(of: CircuitRegistry = registry) -> None:
    """Forget every named breaker. What was decorated before keeps its circuit."""
    of.clear()
