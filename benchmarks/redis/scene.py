"""What every scene has at hand."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .contenders import Contender
from .crew import HangsError
from .figures import Cell, Row
from .server import Server
from .worker import JobError

SETTLE = 0.2  # seconds, in which what was handed to a background thread has been sent


@dataclass
class Scene:
    """One run: the server, who takes part, and how much is measured."""

    server: Server
    contenders: Sequence[type[Contender]]
    rounds: int = 41
    tasks: int = 1000
    trips: int = 100
    trip_seconds: float = 12.0
    probe_rounds: int = 2
    outage_calls: int = 300
    limit: float = 8.0  # seconds that an outage may hold up one contender
    traffic_seconds: float = 1.0
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def circuit(self, what: str) -> str:
        """A name that nobody has used."""
        return f"{what}-{next(self._numbers)}"


def settle(seconds: float) -> None:
    """Let what is under way come to its end."""
    time.sleep(seconds)


def rows_of(kind: type[Contender], rows: Sequence[Row], measure: Callable[[], Cell | Sequence[Cell]]) -> None:
    """Put one contender into these rows; whoever hangs or fails there is told of with the reason."""
    cells: Sequence[Cell]
    try:
        measured = measure()
        cells = [measured] if isinstance(measured, Cell) else measured
    except HangsError as hangs:
        cells = [Cell(str(hangs), None, met=False)] * len(rows)
    except (JobError, RuntimeError, OSError) as error:
        cells = [Cell("fails", None, met=False)] * len(rows)
        rows[0].notes.append(f"{kind.name}, {rows[0].title}: {error}.")
    for row, cell in zip(rows, cells, strict=True):
        row.cells[kind.name] = cell


def until(moment: float) -> float:
    """Seconds until a moment of the monotonic clock, or none."""
    return max(0.0, moment - time.monotonic())
