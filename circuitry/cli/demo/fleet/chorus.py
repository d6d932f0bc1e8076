"""What several workers say within a moment becomes one line of news: how many said it, and how soon."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import anyio

from circuitry.cli.demo.summary import duration

MOMENT = 0.15  # seconds


@dataclass(slots=True)
class Voices:
    """Who has said a thing, and when."""

    first: float
    tell: Callable[[Voices], None]
    last: float = 0.0
    names: list[str] = field(default_factory=list[str])
    by_fleet: bool = False

    def of(self, workers: int) -> str:
        """How many of how many, and how soon."""
        if len(self.names) == 1:
            return f"in {self.names[0]}"
        many = f"all {workers}" if len(self.names) == workers else f"{len(self.names)} of {workers}"
        return f"in {many} workers within {duration(self.last - self.first)}"


class Chorus:
    """Collects what is said, and tells it once."""

    def __init__(self) -> None:
        self._open: dict[Hashable, Voices] = {}

    def hear(
        self,
        thing: Hashable,
        name: str,
        moment: float,
        tell: Callable[[Voices], None],
        *,
        by_fleet: bool = False,
    ) -> None:
        """A worker says a thing; `tell` is called when the others have had a moment to say it too."""
        voices = self._open.setdefault(thing, Voices(moment, tell))
        voices.names.append(name)
        voices.first, voices.last = min(voices.first, moment), max(voices.last, moment)
        voices.by_fleet |= by_fleet

    async def run(self) -> None:
        """Tell what is over, until cancelled."""
        while True:
            await anyio.sleep(MOMENT / 3)
            self.tell_all(time.monotonic() - MOMENT)

    def tell_all(self, until: float) -> None:
        """Tell what began before that moment."""
        for thing in [thing for thing, voices in self._open.items() if voices.first <= until]:
            voices = self._open.pop(thing)
            voices.tell(voices)
