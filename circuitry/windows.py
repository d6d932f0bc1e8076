"""Evidence: what a circuit has seen lately, in O(1) a call.

Each closed generation has evidence of its own, so evidence is also the admission of the calls
made in it: a result is brought back to the evidence that admitted it, and can't touch another
generation. One question is asked of it, at each failure: is it time to trip?

Evidence is told of outcomes by many threads at once and takes no lock. What makes that safe is
one operation, atomic in CPython: `deque.append`. A streak that ends is replaced, never emptied,
so each failure counts in exactly one streak.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol


class Evidence(Protocol):
    """What the calls of one generation add up to."""

    @property
    def run(self) -> object:
        """Falsy while a success would change nothing: then nobody needs to report it."""
        ...

    @property
    def failures(self) -> int:
        """How many failures stand against the circuit now."""
        ...

    def failure(self) -> bool:
        """Count a failure; True if the circuit has to trip."""
        ...

    def success(self) -> None:
        """Count a success."""
        ...


class Streak:
    """Consecutive failures: trips at the `limit`th failure without a success between."""

    __slots__ = ("limit", "run")

    def __init__(self, limit: int, failures: int = 0) -> None:
        self.limit = limit
        self.run: deque[None] = deque([None] * failures)

    @property
    def failures(self) -> int:
        """How many failures in a row."""
        return len(self.run)

    def failure(self) -> bool:
        """Count a failure; True if it completes the streak (for a caller that raced, too)."""
        run = self.run
        run.append(None)
        return len(run) >= self.limit

    def success(self) -> None:
        """End the streak."""
        self.run = deque()


class Unjudged:
    """The evidence of a circuit that judges nothing: it never trips."""

    __slots__ = ()
    run = ()
    failures = 0

    def failure(self) -> bool:
        """Never trips."""
        return False

    def success(self) -> None:
        """Changes nothing."""
