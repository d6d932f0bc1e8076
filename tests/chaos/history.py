"""The record of a run, sorted; what is said of a rule that is broken; and how both are shown.

Knows nothing of how circuitry works: only what its views and states are called.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from circuitry.redis.views import Transition, Verdict
from circuitry.states import CircuitState

from .records import MS, SECOND, Act, Limits, Read, Record, Said, Seen

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
ROUNDED = 500  # a history tells times in milliseconds
CLOCKS = 20  # so exact is a moment of one clock on another
#: A member learns of a change within a check's period and this much: the check is jittered by a fifth, and
#: its thread may have to wait for a processor.
GRACE = 1 * SECOND

#: What a circuit decides by itself.
EDGES = {
    "tripped": (CLOSED, OPEN),
    "timed_out": (OPEN, HALF_OPEN),
    "recovered": (HALF_OPEN, CLOSED),
    "probe_failed": (HALF_OPEN, OPEN),
}
#: What an operator decides, from any state; and what is found when all has been forgotten.
ORDERS = {
    "reset": CLOSED,
    "expired": CLOSED,
    "forced_open": CircuitState.FORCED_OPEN,
    "disabled": CircuitState.DISABLED,
    "shadowed": CircuitState.SHADOW,
}
FORGOTTEN = ("created", "lost")


class Found(NamedTuple):
    """What a rule finds: of which circuit, about when, and what is wrong."""

    name: str
    at: int
    what: str


class Violation(NamedTuple):
    """A rule is broken, about `at`."""

    rule: str
    name: str
    at: int
    what: str

    def __str__(self) -> str:
        return f"{self.rule}: circuit {self.name!r}: {self.what}"


Rule = Callable[["History"], Iterator[Found]]
RULES: dict[str, Rule] = {}


def rule(check: Rule) -> Rule:
    """A function by the name of a rule."""
    RULES[check.__name__.replace("_", " ")] = check
    return check


class History:
    """The record of a run, sorted by what the rules ask for.

    Args:
        records: in the order of time.
        check_period: seconds between two checks of a member.
    """

    def __init__(self, records: Iterable[Record], check_period: float) -> None:
        self.records = list(records)
        self.check_period = round(check_period * SECOND)
        self._of: dict[type, list[Any]] = defaultdict(list)
        for record in self.records:
            self._of[type(record)].append(record)
        self.limits: dict[str, Limits] = {limits.name: limits for limits in self.of(Limits)}
        self.said = {(said.who, said.number): said for said in self.of(Said)}
        self.emptied = [act for act in self.of(Act) if act.empties]
        self.begun = _beginnings(self)

    def of(self, kind: type) -> list[Any]:
        """All records of a kind."""
        return self._of[kind]

    def by(self, kind: type, *parts: str) -> dict[Any, list[Any]]:
        """All records of a kind, by what these parts of them are."""
        found: dict[Any, list[Any]] = defaultdict(list)
        for record in self.of(kind):
            found[tuple(getattr(record, part) for part in parts)].append(record)
        return found

    def seen(self, name: str) -> list[Seen]:
        """Views that say something."""
        return [seen for seen in self.of(Seen) if seen.name == name and seen.view.version > 0]

    def lines(self, name: str) -> Iterator[tuple[Transition | None, Transition]]:
        """Each line of the history that was read, once, with the line before it."""
        told: set[tuple[int | None, Transition]] = set()
        for read in self.of(Read):
            if read.name == name:
                for before, line in itertools.pairwise([None, *read.lines]):
                    pair = (before and before.epoch, line)
                    if pair not in told:
                        told.add(pair)
                        yield before, line

    def replies(self, op: str) -> Iterator[tuple[Said, Seen]]:
        """What members said, with what came back."""
        for seen in self.of(Seen):
            said = self.said.get((seen.who, seen.number))
            if said is not None and said.op == op:
                yield said, seen


class Beginning(NamedTuple):
    """An epoch began, at a time of the server's that lies between two."""

    earliest: int
    latest: int


def _beginnings(history: History) -> dict[tuple[str, int], Beginning]:
    """When each epoch began, as exactly as it is known."""
    found: dict[tuple[str, int], Beginning] = {}
    for seen in history.of(Seen):
        view, place = seen.view, (seen.name, seen.view.epoch)
        earliest = view.now if view.verdict in (Verdict.OPENED, Verdict.FORCED, Verdict.RESET) else 0
        _narrow(found, place, earliest, view.now)
    for name in history.limits:
        for _, line in history.lines(name):
            at = round(line.at * SECOND)
            _narrow(found, (name, line.epoch), at - ROUNDED, at + ROUNDED)
    return found


def _narrow(found: dict[Any, Beginning], place: Any, earliest: int, latest: int) -> None:
    known = found.get(place, Beginning(earliest, latest))
    found[place] = Beginning(max(known.earliest, earliest), min(known.latest, latest))


def deadline(history: History, name: str, epoch: int) -> int:
    """The earliest that it can be: 0 if nothing is known."""
    begun = history.begun.get((name, epoch))
    return begun.earliest + history.limits[name].timeout_ms * MS if begun and begun.earliest else 0


# -- For people ------------------------------------------------------------------------------------------


def excerpt(history: History, violation: Violation, before: int = SECOND // 2, after: int = MS * 50) -> str:
    """What was recorded of this circuit around a violation, a line for each record."""
    lines: list[str] = []
    for record in history.records:
        at = getattr(record, "at", 0)
        names = getattr(record, "names", [getattr(record, "name", violation.name)])
        if violation.at - before <= at <= violation.at + after and violation.name in names:
            lines.append(f"{(at - violation.at) / MS:+10.2f} ms  {_told(record)}")
    return "\n".join(lines[-150:])


def _told(record: Record) -> str:
    kind, who = type(record).__name__, getattr(record, "who", "")[:8]
    if isinstance(record, Seen):
        view, how = record.view, f"reply {record.number}" if record.number else "message"
        stand = f"{view.verdict} {view.shown} by {view.reason} epoch {view.epoch} version {view.version}"
        left = f"failures {view.failures} successes {view.successes} live {view.live_probes}"
        return f"{who:8} {how}: {stand} {left} left {view.remaining_ms} ms at {view.now}"
    if isinstance(record, Read):
        return f"history: {'; '.join(f'{line.epoch} {line.reason}' for line in record.lines[-5:])}"
    parts = {part: value for part, value in record._asdict().items() if part not in ("at", "who", "name")}
    return f"{who:8} {kind}: {' '.join(f'{part}={value}' for part, value in parts.items())}"
