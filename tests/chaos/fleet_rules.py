"""What a fleet keeps to: its epochs, edges, deadlines and leases."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any, NamedTuple

from circuitry.redis.views import Verdict
from circuitry.states import CircuitState

from .history import EDGES, FORGOTTEN, OPEN, ORDERS, Found, History, deadline, rule
from .records import MS, SECOND, Held, Said, Slots, Turned

# -- Epochs ----------------------------------------------------------------------------------------------


@rule
def an_epoch_has_one_transition(history: History) -> Iterator[Found]:
    for name in history.limits:
        told: dict[int, tuple[str, str, str]] = {}
        facts = [(seen.at, seen.view.epoch, _beginning(seen.view)) for seen in history.seen(name)]
        facts += [
            (round(line.at * SECOND), line.epoch, (str(line.new_state), line.reason, line.actor))
            for _, line in history.lines(name)
        ]
        for at, epoch, fact in facts:
            if told.setdefault(epoch, fact) != fact:
                what = f"epoch {epoch} begins as {' '.join(told[epoch])}, and as {' '.join(fact)}"
                yield Found(name, at, what)


def _beginning(view: Any) -> tuple[str, str, str]:
    return str(view.shown), view.reason, view.actor


@rule
def epochs_and_versions_grow(history: History) -> Iterator[Found]:
    for name in history.limits:
        for before, line in history.lines(name):
            if before is not None and line.epoch <= before.epoch:
                what = f"epoch {line.epoch} ({line.reason}) follows {before.epoch} ({before.reason})"
                yield Found(name, round(line.at * SECOND), what)
        seen = sorted(history.seen(name), key=lambda seen: (seen.view.now, seen.view.version))
        for one, two in itertools.pairwise(seen):
            if one.view.now < two.view.now and one.view.version > two.view.version:
                what = f"version {two.view.version} follows {one.view.version} on the server"
                yield Found(name, two.at, what)
        seen.sort(key=lambda seen: (seen.view.version, seen.view.epoch))
        for one, two in itertools.pairwise(seen):
            if one.view.epoch > two.view.epoch:
                what = f"version {two.view.version} has epoch {two.view.epoch}, after {one.view.epoch}"
                yield Found(name, two.at, what)
            if one.view.version == two.view.version and _content(one.view) != _content(two.view):
                what = f"version {one.view.version} is {_content(one.view)}, and {_content(two.view)}"
                yield Found(name, two.at, what)


def _content(view: Any) -> tuple[object, ...]:
    return view.epoch, str(view.state), str(view.mode), view.failures, view.successes


@rule
def edges_are_legal(history: History) -> Iterator[Found]:
    for name in history.limits:
        forgotten: set[int] = set()
        for before, line in history.lines(name):
            at = round(line.at * SECOND)
            if not _is_legal(line.reason, line.old_state, line.new_state):
                what = f"{line.old_state} -> {line.new_state} by {line.reason!r}"
                yield Found(name, at, what)
            if line.reason in FORGOTTEN:
                forgotten.add(line.epoch)
            elif before is not None and before.new_state != line.old_state:
                what = f"to {before.new_state} by {before.reason!r}, from {line.old_state} by {line.reason!r}"
                yield Found(name, at, what)
        for one, two in itertools.pairwise(sorted(forgotten)):
            if not any(act.until >= one and act.at <= two for act in history.emptied):
                what = f"epoch {two} begins with nothing, and nothing was lost since {one}"
                yield Found(name, two, what)


def _is_legal(reason: str, old: CircuitState, new: CircuitState) -> bool:
    if reason in EDGES:
        shadows = old is new is CircuitState.SHADOW
        return (old, new) == EDGES[reason] or shadows
    return ORDERS.get(reason, new) is new and (reason in ORDERS or reason in FORGOTTEN)


@rule
def results_count_in_their_own_epoch(history: History) -> Iterator[Found]:
    previous = {
        (name, line.epoch): before.epoch
        for name in history.limits
        for before, line in history.lines(name)
        if before is not None
    }
    for op in ("batch", "done"):
        for said, seen in history.replies(op):
            own, view = int(said.args[0]), seen.view
            epoch: int | None = own
            if view.verdict in (Verdict.COUNTED, Verdict.RELEASED):
                epoch = view.epoch
            elif view.verdict in (Verdict.OPENED, Verdict.CLOSED):
                epoch = previous.get((seen.name, view.epoch), own)
            if epoch != own:
                what = f"{seen.who}: a {op} of epoch {own} was {view.verdict} in {epoch}"
                yield Found(seen.name, seen.at, what)


# -- Deadlines -------------------------------------------------------------------------------------------


@rule
def no_probe_before_the_deadline(history: History) -> Iterator[Found]:
    for name in history.limits:
        for before, line in history.lines(name):
            if before is None or line.reason != "timed_out":
                continue
            begun, due = history.begun[name, line.epoch], deadline(history, name, before.epoch)
            if begun.latest < due:
                what = f"epoch {before.epoch} was open, and half-open {due - begun.latest} µs too early"
                yield Found(name, begun.latest, what)


@rule
def deadlines_are_told_late_not_early(history: History) -> Iterator[Found]:
    for name in history.limits:
        for seen in history.seen(name):
            view = seen.view
            if view.state is OPEN and view.mode is None:
                told, due = view.now + view.remaining_ms * MS, deadline(history, name, view.epoch)
                if told < due:
                    what = f"{seen.who} is told a deadline {due - told} µs too early, of epoch {view.epoch}"
                    yield Found(name, seen.at, what)
    for turned in history.of(Turned):
        if turned.followed and turned.new is OPEN and not turned.order:
            due = deadline(history, turned.name, turned.epoch)
            if turned.deadline < due:
                what = f"{turned.who} waits {due - turned.deadline} µs too little, in epoch {turned.epoch}"
                yield Found(turned.name, turned.at, what)


# -- Leases ----------------------------------------------------------------------------------------------


class Grant(NamedTuple):
    """A lease, and the time for which it has certainly lived on the server."""

    token: str
    epoch: int
    begins: int
    ends: int


@rule
def leases_keep_to_the_limit(history: History) -> Iterator[Found]:
    for name, limits in history.limits.items():
        for seen in history.seen(name):
            if seen.view.live_probes > limits.probes:
                what = f"{seen.view.live_probes} leases live, in a view of {seen.who}"
                yield Found(name, seen.at, what)
        for slots in history.of(Slots):
            if slots.name == name and slots.live > limits.probes:
                yield Found(name, slots.at, f"{slots.live} leases live on the server")
        live: list[Grant] = []
        for grant in sorted(_grants(history, name), key=lambda grant: grant.begins):
            live = [other for other in live if other.ends > grant.begins] + [grant]
            if len(live) > limits.probes:
                what = f"{len(live)} leases live: {', '.join(other.token for other in live)}"
                yield Found(name, grant.begins, what)


def _grants(history: History, name: str) -> Iterator[Grant]:
    lease = history.limits[name].lease_ms * MS
    ends: dict[str, int] = {}
    for said, seen in history.replies("renew"):
        tokens = said.args[1:]
        if seen.name == name and seen.view.renewed == len(tokens):  # else nobody knows which
            for token in tokens:
                ends[token] = max(ends.get(token, 0), seen.view.now + lease)
    given_back: dict[str, int] = {}
    for said in history.of(Said):  # the server may have heard it, also if no reply has come
        if said.op == "done":
            given_back.setdefault(said.args[1], said.at)
    epochs = sorted(epoch for circuit, epoch in history.begun if circuit == name)
    for said, seen in history.replies("acquire"):
        if seen.name == name and seen.view.verdict is Verdict.PROBE:
            token, epoch, begins = said.args[0], seen.view.epoch, seen.view.now
            end = max(ends.get(token, 0), begins + lease)
            cuts = [given_back.get(token, end)]
            cuts += [act.at for act in history.emptied if act.at >= said.at][:1]
            later = bisect_right(epochs, epoch)
            if later < len(epochs):
                cuts.append(history.begun[name, epochs[later]].earliest or epochs[later] - MS)
            yield Grant(token, epoch, begins, min(end, *cuts))


@rule
def a_lease_is_for_one_probe_of_its_epoch(history: History) -> Iterator[Found]:
    granted: dict[str, int] = {}
    for said, seen in history.replies("acquire"):
        if seen.view.verdict is Verdict.PROBE:
            if said.args[0] in granted:
                yield Found(seen.name, seen.at, f"{said.args[0]} was granted twice")
            granted[said.args[0]] = seen.view.epoch
    used: set[str] = set()
    steps = {(step.who, step.name, step.generation): step for step in history.of(Turned)}
    for held in history.of(Held):
        if granted.get(held.token) != held.epoch:
            yield Found(held.name, held.at, f"{held.token} was never granted in {held.epoch}")
        step = steps.get((held.who, held.name, held.generation))
        if step is not None and step.followed and step.epoch != held.epoch:
            what = f"{held.token} of {held.epoch} is used in a generation that follows {step.epoch}"
            yield Found(held.name, held.at, what)
        if held.token in used:
            yield Found(held.name, held.at, f"{held.token} was used twice")
        used.add(held.token)


@rule
def a_slot_is_kept_no_longer_than_a_lease(history: History) -> Iterator[Found]:
    for slots in history.of(Slots):
        too_long = slots.longest - history.limits[slots.name].lease_ms * MS
        if too_long > 0:
            yield Found(slots.name, slots.at, f"a lease ends {too_long} µs later than it may")
