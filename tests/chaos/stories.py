"""Histories made by hand: a short outage that went well, to be told otherwise by tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from circuitry.redis.views import Transition, Verdict, View
from circuitry.states import CircuitState

from .checker import History, check
from .records import (
    SECOND,
    Act,
    Called,
    Final,
    Governed,
    Held,
    Kept,
    Limits,
    Link,
    Read,
    Record,
    Said,
    Seen,
    Slots,
    Turned,
)

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
CHECK_PERIOD = 1.0  # seconds


def at(ms: float) -> int:
    """So many milliseconds after the beginning."""
    return 1_790_000_000 * SECOND + round(ms * 1000)


CREATED, TRIPPED, TIMED_OUT, RECOVERED = at(1), at(10), at(320), at(330)  # the epochs


def view(state: CircuitState, epoch: int, now: int, reason: str, actor: str, **parts: Any) -> View:
    """What the script says; `parts` beside."""
    blank = View(Verdict.VIEW, state, None, epoch, epoch, 0, 0, 0, 0, None, reason, actor, 0, 0, "", 0, now)
    return blank._replace(**parts)


def line(ms: float, epoch: int, old: CircuitState, new: CircuitState, reason: str, actor: str) -> Transition:
    return Transition(at(ms) / SECOND, epoch, old, new, reason, actor, None)


CREATION = view(CLOSED, CREATED, at(1), "created", "a")
TRIP = view(OPEN, TRIPPED, at(10), "tripped", "a", remaining_ms=300)
HALF = view(HALF_OPEN, TIMED_OUT, at(320), "timed_out", "b", version=TIMED_OUT + 1, live_probes=1)
RECOVERY = view(CLOSED, RECOVERED, at(330), "recovered", "b")

LINES = [
    line(1, CREATED, CLOSED, CLOSED, "created", "a"),
    line(10, TRIPPED, CLOSED, OPEN, "tripped", "a"),
    line(320, TIMED_OUT, OPEN, HALF_OPEN, "timed_out", "b"),
    line(330, RECOVERED, HALF_OPEN, CLOSED, "recovered", "b"),
]


def turned(
    ms: float,
    who: str,
    generation: int,
    old: CircuitState,
    new: CircuitState,
    reason: str,
    epoch: int = 0,
    deadline: int = 0,
) -> Turned:
    """`epoch`: it follows this one."""
    stay = at(ms), at(ms + 0.1), who, "n", generation
    return Turned(*stay, old, new, "", reason, bool(epoch), epoch, deadline)


def good_story() -> list[Record]:
    """Two members, a limit of one probe: a trips the circuit, b probes and closes it. All goes well."""
    return [
        Limits("n", 1, 600, 300),
        Act(at(-50), at(0), "start", ""),
        Said(at(0.5), "a", 1, "sync", ["n"], []),
        Seen(at(1.5), "a", 1, "n", CREATION),
        Kept(at(1.6), "a", "n", CREATED, CREATED),
        Link(at(1.7), "a", True),
        Said(at(2), "b", 1, "sync", ["n"], []),
        Seen(at(2.5), "b", 1, "n", CREATION._replace(now=at(2.2))),
        Kept(at(2.6), "b", "n", CREATED, CREATED),
        Link(at(2.7), "b", True),
        Called(at(5), at(4.9), "b", "n", -1, -1),
        turned(8, "a", 1, CLOSED, OPEN, "tripped", deadline=at(308)),
        Said(at(9.5), "a", 2, "batch", ["n"], [str(CREATED), "1", "", "down", "3"]),
        Seen(at(10.5), "a", 2, "n", TRIP._replace(verdict=Verdict.OPENED)),
        Kept(at(10.6), "a", "n", TRIPPED, TRIPPED),
        turned(10.7, "a", 2, OPEN, OPEN, "tripped", TRIPPED, at(310.7)),
        Governed(at(10.9), "a", "n", True),
        Seen(at(11), "b", 0, "n", TRIP),
        Kept(at(11.1), "b", "n", TRIPPED, TRIPPED),
        turned(11.2, "b", 1, CLOSED, OPEN, "tripped", TRIPPED, at(311.2)),
        Governed(at(11.4), "b", "n", True),
        Said(at(319.5), "b", 2, "acquire", ["n"], ["b:1"]),
        Seen(at(320.5), "b", 2, "n", HALF._replace(verdict=Verdict.PROBE)),
        Kept(at(320.6), "b", "n", TIMED_OUT + 1, TIMED_OUT),
        turned(320.7, "b", 2, OPEN, HALF_OPEN, "timed_out", TIMED_OUT),
        Held(at(321), "b", "n", "b:1", TIMED_OUT, 2, 0),
        Called(at(321.1), at(319), "b", "n", 2, 0),
        Seen(at(321.2), "a", 0, "n", HALF),
        Kept(at(321.3), "a", "n", TIMED_OUT + 1, TIMED_OUT),
        turned(321.4, "a", 3, OPEN, HALF_OPEN, "timed_out", TIMED_OUT),
        Slots(at(325), "n", 1, 595_000),
        turned(329, "b", 3, HALF_OPEN, CLOSED, "recovered"),
        Said(at(329.5), "b", 3, "done", ["n"], [str(TIMED_OUT), "b:1", "success", ""]),
        Seen(at(330.5), "b", 3, "n", RECOVERY._replace(verdict=Verdict.CLOSED)),
        Kept(at(330.6), "b", "n", RECOVERED, RECOVERED),
        Governed(at(330.7), "b", "n", False),
        Seen(at(331), "a", 0, "n", RECOVERY),
        Kept(at(331.1), "a", "n", RECOVERED, RECOVERED),
        turned(331.2, "a", 4, HALF_OPEN, CLOSED, "recovered", RECOVERED),
        Governed(at(331.4), "a", "n", False),
        Read(at(340), "n", LINES),
        Final(at(9000), "server", "n", CLOSED, RECOVERED, RECOVERED, CLOSED),
        Final(at(9001), "a", "n", CLOSED, RECOVERED, RECOVERED, CLOSED),
        Final(at(9002), "b", "n", CLOSED, RECOVERED, RECOVERED, CLOSED),
    ]


class Story:
    """The good story, told otherwise."""

    def __init__(self) -> None:
        self.records = good_story()

    def add(self, *records: Record) -> Story:
        self.records += records
        return self

    def remove(self, kind: type, **parts: Any) -> Story:
        """Every record of this kind that has these parts."""
        self._place(kind, parts)
        self.records = [record for record in self.records if not _is(record, kind, parts)]
        return self

    def change(self, kind: type, change: Callable[[Any], Record], **parts: Any) -> Story:
        """The first record of this kind that has these parts."""
        place = self._place(kind, parts)
        self.records[place] = change(self.records[place])
        return self

    def see(self, change: Callable[[View], View], **parts: Any) -> Story:
        """A view otherwise than it was."""
        return self.change(Seen, lambda seen: seen._replace(view=change(seen.view)), **parts)

    def read(self, *lines: Transition) -> Story:
        """Another history was read."""
        return self.change(Read, lambda read: read._replace(lines=list(lines)))

    def broken(self) -> set[str]:
        """The rules that are broken in it."""
        records = sorted(self.records, key=lambda record: getattr(record, "at", 0))
        return {violation.rule for violation in check(History(records, CHECK_PERIOD))}

    def _place(self, kind: type, parts: dict[str, Any]) -> int:
        return next(place for place, record in enumerate(self.records) if _is(record, kind, parts))


def _is(record: Record, kind: type, parts: dict[str, Any]) -> bool:
    return isinstance(record, kind) and all(getattr(record, part) == value for part, value in parts.items())
