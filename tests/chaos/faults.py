"""Faults that are put into the processes of a run, to see whether the checker finds them.

Each is a change of circuitry's text: a module's, or that of the script.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from typing import Any, NamedTuple

LUA = "circuitry.redis.script.SOURCE"
SHARED = "circuitry.redis.shared"
SESSION = "circuitry.redis.session"


class Change(NamedTuple):
    """One text in one place becomes another."""

    place: str
    old: str
    new: str


class Fault(NamedTuple):
    """What is changed, and the rules that may find it."""

    changes: tuple[Change, ...]
    found_by: frozenset[str]


def fault(place: str, old: str, new: str, *found_by: str) -> Fault:
    return Fault((Change(place, old, new),), frozenset(found_by))


FAULTS = {
    "version filter off": fault(
        SHARED,
        "self.view, view.version > self.version",
        "self.view, True",
        "nobody goes back",
    ),
    "epoch check off": fault(
        LUA,
        "return c.epoch == tonumber(epoch) and c.state == 'closed'",
        "return c.state == 'closed'",
        "results count in their own epoch",
    ),
    "slot off by one": fault(
        LUA,
        "live_probes(c) >= c.half_open_max_calls then return 'full'",
        "live_probes(c) > c.half_open_max_calls then return 'full'",
        "leases keep to the limit",
    ),
    "no resync": fault(
        SESSION,
        "        size = 1 if self._wire",
        "        asked = [gate for gate in asked if gate.view is None]\n        size = 1 if self._wire",
        "nobody is left behind",
        "all agree in the end",
    ),
    "no lease": fault(
        SHARED,
        "return self.desk.at_once(self.epoch) if self.governs else ALONE",
        "return ALONE",
        "a probe of the fleet has a lease",
    ),
    "an epoch has two transitions": fault(
        LUA,
        "  if not c.reading then c.epoch = c.version end\n",
        "  if not c.reading and reason ~= 'timed_out' then c.epoch = c.version end\n",
        "an epoch has one transition",
    ),
    "a deadline comes early": fault(
        LUA,
        "c.deadline = c.wait > 0 and c.now + c.wait or 0",
        "c.deadline = c.wait > 0 and c.now + c.wait - 20000 or 0",
        "no probe before the deadline",
        "deadlines are told late not early",
    ),
    "a deadline is told early": fault(
        LUA,
        "math.ceil((to - from) / 1000)",
        "math.floor((to - from) / 1000)",
        "deadlines are told late not early",
    ),
    "a lease never lapses": fault(
        LUA,
        "c.lease), c.granted)",
        "c.lease * 8), c.granted)",
        "a slot is kept no longer than a lease",
    ),
}


def put_in(name: str) -> None:
    """From now on modules are loaded with this fault in them, and the script has it too."""
    changes = FAULTS[name].changes
    sys.meta_path.insert(0, _Finder([change for change in changes if change.place != LUA]))
    script: Any = importlib.import_module("circuitry.redis.script")
    for change in changes:
        if change.place == LUA:
            script.SOURCE = changed(script.SOURCE, change)


def changed(text: str, change: Change) -> str:
    assert text.count(change.old) == 1, f"{change.place} has {text.count(change.old)} times: {change.old}"
    return text.replace(change.old, change.new)


class _Finder:
    """Finds modules as ever; those that are to be changed get another loader."""

    def __init__(self, changes: Sequence[Change]) -> None:
        self._changes = changes

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        changes = [change for change in self._changes if change.place == name]
        spec = PathFinder.find_spec(name, path, target) if changes else None
        if spec is not None:
            spec.loader = _Loader(name, spec.origin, changes)
        return spec


class _Loader(SourceFileLoader):
    """Changes the text, and keeps no compiled code of it."""

    def __init__(self, name: str, origin: Any, changes: Sequence[Change]) -> None:
        super().__init__(name, origin)
        self._changes = changes

    def get_code(self, fullname: str) -> Any:
        text = self.get_source(fullname) or ""
        for change in self._changes:
            text = changed(text, change)
        return self.source_to_code(text, self.path)
