"""Evidence: what a circuit has seen lately, in O(1) a call.

Each closed generation has evidence of its own, so evidence is also the admission of the calls
made in it: a result is brought back to the evidence that admitted it, and can't touch another
generation. One question is asked of it, at each failure: is it time to trip?

Evidence is told of outcomes by many threads at once and takes no lock. What makes that safe is
one operation, atomic in CPython: `next` of an `itertools.count`. A streak that ends is replaced,
never set back, so each failure counts in exactly one streak.
"""

from __future__ import annotations

import itertools
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

    def success(self) -> bool:
        """Count a success; True if the circuit has to take a step."""
        ...


class Streak:
    """Consecutive failures: trips at the `limit`th failure without a success between."""

    __slots__ = ("_next", "epoch", "limit", "run")

    def __init__(self, limit: int, failures: int = 0) -> None:
        self.limit = limit
        self.epoch = 0  # what a fleet calls the generation; 0 where there is none, or none is known
        self.run = failures > 0
        self._next = itertools.count(failures + 1)

    @property
    def failures(self) -> int:
        """How many failures in a row."""
        shown = repr(self._next)
        return int(shown[len("count(") : -1]) - 1  # "count(3)": the next number, without taking it

    def failure(self) -> bool:
        """Count a failure; True if it completes the streak (for a caller that raced, too)."""
        failures = next(self._next)
        self.run = True
        return failures >= self.limit

    def success(self) -> bool:
        """End the streak. Its mark goes first: a failure that comes between sets it again."""
        self.run = False
        self._next = itertools.count(1)
        return False

    def __copy__(self) -> Streak:
        return Streak(self.limit, self.failures)


class Unjudged:
    """The evidence of a circuit that judges nothing: it never trips."""

    __slots__ = ()
    run = False
    failures = 0

    def failure(self) -> bool:
        """Never trips."""
        return False

    def success(self) -> bool:
        """Changes nothing."""
        return False
