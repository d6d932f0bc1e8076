"""What is recorded of a run: by each process, by who looks on, and by who makes the trouble.

All times are microseconds of this machine's clock, which is the server's too. A record is a line of JSON
in a file of its writer's own, written at once: what a killed process has recorded stays.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from circuitry.redis.views import Transition, Verdict, View
from circuitry.states import CircuitState

MS = 1000
SECOND = 1_000_000


def now() -> int:
    return time.time_ns() // 1000


class Said(NamedTuple):
    """A member sends a command of the script, of which it is not known yet whether it will be run."""

    at: int
    who: str
    number: int  # of this member's commands
    op: str
    names: list[str]
    args: list[str]  # what follows the circuit's rules


class Failed(NamedTuple):
    """No reply came to a command: it may have been run, may be run later, or never."""

    at: int
    who: str
    number: int
    error: str


class Seen(NamedTuple):
    """A view, as it came: as the reply to a command, or published (then `number` is 0)."""

    at: int
    who: str
    number: int
    name: str
    view: View


class Kept(NamedTuple):
    """A member takes a view for where the fleet stands."""

    at: int
    who: str
    name: str
    version: int
    epoch: int


class Link(NamedTuple):
    """A member's link is up, or lost."""

    at: int
    who: str
    is_up: bool
    error: str = ""


class Governed(NamedTuple):
    """A member's probes need leave from the fleet, or don't any more."""

    at: int
    who: str
    name: str
    is_so: bool


class Turned(NamedTuple):
    """A process's own circuit begins a generation, at a moment between `at` and `until`."""

    at: int
    until: int
    who: str
    name: str
    generation: int
    old: CircuitState  # as judged
    new: CircuitState
    order: str  # an operator's word, or nothing
    reason: str
    followed: bool
    epoch: int  # which it follows; 0 if it doesn't
    deadline: int  # open: until then no probe may go out. May be given later than it is, never earlier


class Held(NamedTuple):
    """A probe is about to go out with a lease."""

    at: int
    who: str
    name: str
    token: str
    epoch: int
    generation: int
    probe: int


class Called(NamedTuple):
    """A call reaches the backend. Leave was asked for at `asked`, and given by `at`."""

    at: int
    asked: int
    who: str
    name: str
    generation: int  # of a probe; -1 if it isn't one
    probe: int


class Read(NamedTuple):
    """A circuit's history, as it lies on the server."""

    at: int
    name: str
    lines: list[Transition]


class Slots(NamedTuple):
    """How many leases live on the server at one instant of its clock."""

    at: int
    name: str
    live: int
    longest: int  # until the last of them ends


class Act(NamedTuple):
    """Trouble is made."""

    at: int
    until: int
    kind: str
    detail: str

    @property
    def empties(self) -> bool:
        """Whether the server has forgotten all since."""
        return self.kind in ("start", "flushall", "crash")


class Final(NamedTuple):
    """Where a circuit stands for `who` when all is quiet; `who` is "server" for the truth."""

    at: int
    who: str
    name: str
    state: CircuitState
    epoch: int
    version: int
    effective: CircuitState  # what callers meet


class Limits(NamedTuple):
    """What a circuit of this run goes by."""

    name: str
    probes: int
    lease_ms: int
    timeout_ms: int


KINDS = (Said, Failed, Seen, Kept, Link, Governed, Turned, Held, Called, Read, Slots, Act, Final, Limits)
_BY_NAME = {kind.__name__: kind for kind in KINDS}
Record = Any


class Writer:
    """Appends records to a file; each is there as soon as it is written, whatever happens then."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(self, record: Record) -> None:
        os.write(self._file, json.dumps([type(record).__name__, *record]).encode() + b"\n")


def read(paths: Iterable[Path]) -> list[Record]:
    """All that was recorded, in the order of time."""
    records = [record for path in paths for record in _lines(path)]
    return sorted(records, key=lambda record: getattr(record, "at", 0))


def _lines(path: Path) -> Iterator[Record]:
    for line in path.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):  # else its writer was killed in the middle of it
            kind, *fields = json.loads(line)
            yield _revived(_BY_NAME[kind](*fields))


def _revived(record: Record) -> Record:
    if isinstance(record, Seen):
        verdict, state, mode, *rest = record.view
        mode = CircuitState(mode) if mode else None
        return record._replace(view=View(Verdict(verdict), CircuitState(state), mode, *rest))
    if isinstance(record, Turned):
        return record._replace(old=CircuitState(record.old), new=CircuitState(record.new))
    if isinstance(record, Final):
        state, effective = CircuitState(record.state), CircuitState(record.effective)
        return record._replace(state=state, effective=effective)
    if isinstance(record, Read):
        return record._replace(lines=[_transition(*line) for line in record.lines])
    return record


def _transition(at: float, epoch: int, old: str, new: str, *rest: Any) -> Transition:
    return Transition(at, epoch, CircuitState(old), CircuitState(new), *rest)
