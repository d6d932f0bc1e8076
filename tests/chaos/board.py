"""A page of memory that all processes of a run see: what is down, how far the run is, who stands where."""

from __future__ import annotations

import mmap
from pathlib import Path

from circuitry.states import CircuitState

RUNNING, HEALING, QUIET, ENDED = range(4)
PLACES = 16
_STATES = list(CircuitState)


class Board:
    """A byte for each fact; of each circuit `PLACES` for what is down, and as many for its states."""

    def __init__(self, path: Path, names: list[str]) -> None:
        self.path = path
        size = 1 + 2 * PLACES * len(names)
        if not path.exists():
            path.write_bytes(bytes(size))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), size)
        self._first = {name: 1 + 2 * PLACES * number for number, name in enumerate(names)}

    @property
    def phase(self) -> int:
        return self._memory[0]

    @phase.setter
    def phase(self, phase: int) -> None:
        self._memory[0] = phase

    def is_down(self, name: str, place: int) -> bool:
        """Whether calls of this process to this backend fail."""
        return bool(self._memory[self._first[name] + place])

    def set_down(self, name: str, places: range, is_down: bool) -> None:
        for place in places:
            self._memory[self._first[name] + place] = is_down

    def show(self, name: str, place: int, state: CircuitState) -> None:
        self._memory[self._first[name] + PLACES + place] = _STATES.index(state)

    def state(self, name: str, place: int) -> CircuitState:
        return _STATES[self._memory[self._first[name] + PLACES + place]]
