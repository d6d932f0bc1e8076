"""Evidence that never opens a circuit, and sheds a share of its calls: what `Adaptive` comes to.

It counts requests that weren't accepted where other rates count failures: those that have failed, and
those that it has shed itself. So it goes on shedding for as long as callers ask for more than comes
through, and stops by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from circuitry.watches import Leaf, Ruled
from circuitry.windows import Admitting, Window


def chance() -> float:
    """A number in [0, 1), drawn from the module `random`: `random.seed` makes it come again."""
    import random  # here, and not for everybody who imports circuitry

    return random.random()


class Throttled(Ruled):
    """The evidence of a generation that sheds calls: see `policies.Adaptive`."""

    __slots__ = ("_draw", "_window", "k")

    def __init__(self, window: Window, leaves: Sequence[Leaf], why: str, draw: Callable[[], float]) -> None:
        self._draw = draw
        super().__init__(window, leaves, why)

    def become(self, watch: Any, leaves: Sequence[Leaf], why: str) -> None:
        """Go by this window and this `k` from now on, also for the calls that are out."""
        self._window: Window = watch
        self.k: float = leaves[0].rule.k
        super().become(watch, leaves, why)

    @property
    def shed_share(self) -> float:
        """The share of calls that is shed now, >= 0 and < 1."""
        window = self._window
        window.refresh()
        requests = window.calls
        accepts = max(0, requests - window.bad)  # threads that meet in a window may leave it a little wrong
        return max(0.0, (requests - self.k * accepts) / (requests + 1))

    @property
    def entrance(self) -> Callable[[], Admitting | None]:
        """Each call has to ask."""
        return self._unless_shedding

    def _unless_shedding(self) -> Throttled | None:
        """Itself, while none is shed: without a draw, so whoever is told None has to `enter`, and may."""
        return None if self._window.bad and self.shed_share else self

    def enter(self) -> Throttled | None:
        """Itself, for a call that is admitted; None for one that is shed, which counts at once."""
        share = self.shed_share if self._window.bad else 0.0
        if share and self._heir is None and self._draw() < share:
            self.failure()
            return None
        return self
