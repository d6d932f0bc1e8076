"""What each process of a fleet keeps to, by what it knows."""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator

from .history import CLOCKS, CLOSED, EDGES, GRACE, HALF_OPEN, Found, History, rule
from .records import Act, Called, Failed, Final, Governed, Held, Kept, Link, Turned


@rule
def nobody_goes_back(history: History) -> Iterator[Found]:
    for (who, name), kept in history.by(Kept, "who", "name").items():
        for before, after in itertools.pairwise(kept):
            if after.version <= before.version:
                what = f"{who} took version {after.version} for news, and had {before.version}"
                yield Found(name, after.at, what)


@rule
def a_probe_of_the_fleet_has_a_lease(history: History) -> Iterator[Found]:
    leased = {(held.who, held.name, held.generation, held.probe) for held in history.of(Held)}
    governed = history.by(Governed, "who", "name")
    failed = {who: [record.at for record in records] for (who,), records in history.by(Failed, "who").items()}
    for call in history.of(Called):
        probe = (call.who, call.name, call.generation, call.probe)
        if call.generation < 0 or probe in leased:
            continue
        until_then = [record for record in governed[call.who, call.name] if record.at <= call.at]
        if not until_then or not until_then[-1].is_so or until_then[-1].at >= call.asked:
            continue
        failures = failed.get(call.who, [])
        if bisect_left(failures, call.asked) == bisect_right(failures, call.at):
            what = f"{call.who} probed on its own, while the fleet was to be asked"
            yield Found(call.name, call.at, what)


@rule
def each_process_keeps_to_its_own_machine(history: History) -> Iterator[Found]:
    for (who, name), steps in history.by(Turned, "who", "name").items():
        steps = [_birth(steps[0]), *sorted(steps, key=lambda turned: turned.generation)]
        for before, after in itertools.pairwise(steps):
            if after.generation != before.generation + 1 or after.old is not before.new:
                what = f"{who}: generation {after.generation} follows {before.generation}"
                yield Found(name, after.at, what)
            edge = EDGES.get(after.reason)
            if not after.followed and edge is not None and edge != (after.old, after.new):
                what = f"{who}: {after.old} -> {after.new} by {after.reason!r}"
                yield Found(name, after.at, what)
            if not after.followed and after.reason == "timed_out" and after.until < before.deadline - CLOCKS:
                what = f"{who}: half-open {before.deadline - after.until} µs before its deadline"
                yield Found(name, after.at, what)
            if after.followed and not _is_known(history, after):
                what = f"{who} follows epoch {after.epoch} to {after.new}, of which nobody knows"
                yield Found(name, after.at, what)


def _birth(first: Turned) -> Turned:
    return first._replace(at=0, until=0, generation=0, new=CLOSED, order="", deadline=0)


def _is_known(history: History, turned: Turned) -> bool:
    return (turned.name, turned.epoch) in history.begun


@rule
def calls_go_out_as_the_circuit_says(history: History) -> Iterator[Found]:
    turned = history.by(Turned, "who", "name")
    for (who, name), calls in history.by(Called, "who", "name").items():
        steps = turned[who, name]
        steps = [_birth(steps[0]), *steps] if steps else []
        for call in calls:
            if steps and not any(_admits(step, call) for step in _while_asked(steps, call)):
                kind = "a call" if call.generation < 0 else f"a probe of generation {call.generation}"
                what = f"{kind} of {who} went out, and no generation of that time admits it"
                yield Found(name, call.at, what)


def _while_asked(steps: list[Turned], call: Called) -> Iterator[Turned]:
    """The generations that this call may have met."""
    first = bisect_left(steps, call.asked, key=lambda step: step.until)
    last = bisect_right(steps, call.at, key=lambda step: step.at)
    yield from steps[max(0, first - 1) : last]


def _admits(step: Turned, call: Called) -> bool:
    if call.generation >= 0:
        return step.new is HALF_OPEN and step.generation == call.generation
    return (step.new is CLOSED and step.order != "forced_open") or step.order == "shadow"


# -- Staleness -------------------------------------------------------------------------------------------


@rule
def nobody_is_left_behind(history: History) -> Iterator[Found]:
    """Who has been in touch with the server all the time learns of each change within a check's period."""
    links = history.by(Link, "who")
    changes = {
        name: sorted({seen.view.version: seen.view.now for seen in history.seen(name)}.items())
        for name in history.limits
    }
    last, excuses = _last(history), Excuses(history)
    for (who, name), kept in history.by(Kept, "who", "name").items():
        for held, until in zip(kept, [*(one.at for one in kept[1:]), last[who]], strict=True):
            later = bisect_right(changes[name], held.version, key=lambda change: change[0])
            if later == len(changes[name]) or not links.get((who,)):
                continue
            since = max(changes[name][later][1], held.at)
            due = since + excuses.period
            if due < until and not excuses.has(who, since):
                what = f"{who} stayed with version {held.version}: {changes[name][later][0]} was there"
                yield Found(name, due, what)


@rule
def nobody_goes_its_own_way(history: History) -> Iterator[Found]:
    """Who is in touch is closed by its own count, while the fleet isn't, for no longer than that either."""
    last, excuses = _last(history), Excuses(history)
    governed = history.by(Governed, "who", "name")
    for (who, name), steps in history.by(Turned, "who", "name").items():
        for step, until in zip(steps, [*(step.at for step in steps[1:]), last[who]], strict=True):
            if step.new is not CLOSED or step.followed or step.order:
                continue
            for begin, end in _times(governed[who, name], last[who]):
                since = max(step.until, begin)
                if since + excuses.period < min(until, end) and not excuses.has(who, since):
                    what = f"{who} is closed by {step.reason!r}, while the fleet is to be asked"
                    yield Found(name, since + excuses.period, what)


def _times(governed: list[Governed], last: int) -> Iterator[tuple[int, int]]:
    """From when to when the fleet was to be asked."""
    ends = [record.at for record in governed[1:]] + [last]
    for record, end in zip(governed, ends, strict=False):
        if record.is_so:
            yield record.at, end


def _last(history: History) -> dict[str, int]:
    """When something was last recorded of each process."""
    return {record.who: record.at for record in history.records if hasattr(record, "who")}


class Excuses:
    """Within a check's period everybody has to know, unless its link was in trouble, or the server."""

    def __init__(self, history: History) -> None:
        self.period = round(1.2 * history.check_period) + GRACE
        self._troubles: dict[str, list[int]] = defaultdict(list)
        for record in [*history.of(Link), *history.of(Failed)]:
            self._troubles[record.who].append(record.at)
        stops = ("freeze", "sleep", "crash", "start")
        self._stops = [act for act in history.of(Act) if act.kind in stops]

    def has(self, who: str, since: int) -> bool:
        due = since + self.period
        if any(since <= at <= due for at in self._troubles[who]):
            return True
        return any(act.until >= since and act.at <= due for act in self._stops)


@rule
def all_agree_in_the_end(history: History) -> Iterator[Found]:
    for name in history.limits:
        finals = {final.who: final for final in history.of(Final) if final.name == name}
        truth = finals.pop("server", None)
        if truth is None or not finals:
            yield Found(name, 0, "nobody says where it stands in the end")
            continue
        for who, final in finals.items():
            stands, should = final[3:6], truth[3:6]
            if stands != should or final.effective is not truth.effective:
                what = f"{who} stands at {_stand(final)}, the server at {_stand(truth)}"
                yield Found(name, final.at, what)


def _stand(final: Final) -> str:
    return f"{final.state} ({final.effective}) epoch {final.epoch} version {final.version}"


@rule
def all_is_well_in_the_end(history: History) -> Iterator[Found]:
    """The backends have been well for long, and were called: nothing keeps a circuit from closing."""
    for final in history.of(Final):
        if final.who == "server" and not final.state is final.effective is CLOSED:
            yield Found(final.name, final.at, f"the fleet's verdict is still {_stand(final)}")
