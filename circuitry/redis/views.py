"""What the script says: verdicts, views, published messages, the history, and why it was refused.

Replies are lists of texts, decoded or not as the client likes. What isn't of their form raises, or
where others write too (the channel, the history) is left out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple, cast

from circuitry.states import CircuitState

#: What is stored and published is of this form; of a higher number nothing is understood.
PROTOCOL = 1


class Verdict(StrEnum):
    """What became of an operation."""

    VIEW = "view"  # only looked
    COUNTED = "counted"
    STALE = "stale"  # of another epoch: nothing changed
    CLOSED = "closed"  # no lease is needed; of a probe: it closed the circuit
    OPENED = "opened"
    REJECTED = "rejected"  # open, and the deadline hasn't passed
    FULL = "full"  # no slot is free; `remaining_ms` says until when
    PROBE = "probe"  # the lease is granted
    RELEASED = "released"
    UNKNOWN = "unknown"  # no such token: its probe has ended already
    RENEWED = "renewed"  # as many leases as `renewed` says
    FORCED = "forced"
    RESET = "reset"
    NEWER = "newer"  # the fleet speaks a newer protocol: there is no verdict
    ERROR = "error"  # this circuit of several can't be read: there is no verdict; `cause` says why


class Refusal(StrEnum):
    """Why a server didn't run the script, or not to its end."""

    NOSCRIPT = "NOSCRIPT"
    OOM = "OOM"
    READONLY = "READONLY"
    WRONGTYPE = "WRONGTYPE"
    NOPERM = "NOPERM"
    BUSY = "BUSY"
    LOADING = "LOADING"


#: Codes don't survive: Redis 6.2 wraps an error that came up inside a script in one of its own,
#: and redis-py cuts off those that it has exception types for. So it is the text that tells.
_SIGNS: dict[Refusal, tuple[str, ...]] = {
    Refusal.NOSCRIPT: ("NOSCRIPT", "No matching script"),
    Refusal.OOM: ("OOM", "used memory > 'maxmemory'"),
    Refusal.READONLY: ("READONLY", "against a read only replica"),
    Refusal.WRONGTYPE: ("WRONGTYPE", "wrong kind of value"),
    Refusal.NOPERM: ("NOPERM", "o permissions", "user executing the script can't", "ACL failure"),
    Refusal.BUSY: ("BUSY",),
    Refusal.LOADING: ("LOADING", "loading the dataset"),
}


def refusal(error: BaseException | str) -> Refusal | None:
    """Why the server refused, by the text of its error; None if it isn't one of these reasons."""
    text = str(error)
    for reason, signs in _SIGNS.items():
        if any(sign in text for sign in signs):
            return reason
    return None


class View(NamedTuple):
    """All that a member may know of a shared circuit."""

    verdict: Verdict
    state: CircuitState  # closed, open or half_open: as judged; `open` under forced_open
    mode: CircuitState | None  # forced_open, disabled or shadow: what an operator said to the fleet
    epoch: int  # the version of the last transition
    version: int  # only a view with a greater one than the last is news
    failures: int
    remaining_ms: int  # until the deadline; of a "full": until it is worth asking again
    successes: int
    live_probes: int
    cause: str | None  # what opened it
    reason: str  # why this epoch began: a `Reason`, or created, healed, lost, expired
    actor: str  # who began it
    mode_ms: int  # until the operator's word ends; 0 is never
    peers: int  # members present; 0 where no quorum is asked for
    rules: str  # the fingerprint of the rules of who began the epoch
    renewed: int  # how many leases were renewed
    now: int  # the server's clock, in microseconds

    @property
    def shown(self) -> CircuitState:
        """What the fleet's callers meet: the operator's word before the circuit's own."""
        return self.mode or self.state


class Transition(NamedTuple):
    """One line of a circuit's history."""

    at: float  # unix seconds of the server's clock, for display
    epoch: int
    old_state: CircuitState
    new_state: CircuitState
    reason: str
    actor: str
    cause: str | None


def view_of(reply: object) -> View:
    """The reply to an operation on one circuit.

    Raises:
        ValueError: it isn't one.
    """
    if not isinstance(reply, (list, tuple)):
        raise ValueError(f"not a view: {reply!r}")
    texts = [_text(part) for part in cast("Sequence[object]", reply)]
    try:
        return _view(*texts)
    except (TypeError, ValueError) as error:
        raise ValueError(f"not a view: {reply!r}") from error


def views_of(reply: object) -> list[View]:
    """The reply to `sync` and `peek`, in the order in which circuits were asked for.

    Raises:
        ValueError: it isn't one.
    """
    if not isinstance(reply, (list, tuple)):
        raise ValueError(f"not views: {reply!r}")
    return [view_of(part) for part in cast("Sequence[object]", reply)]


def message_of(data: bytes | str) -> tuple[str, View] | None:
    """What was published: the circuit's name, and its view. None if it isn't ours.

    The verdict is `newer` if it speaks a newer protocol.
    """
    try:
        protocol, name, *parts = json.loads(_text(data))
        if int(protocol) > PROTOCOL:
            return str(name), _no_view(Verdict.NEWER, f"protocol {protocol}")
        return str(name), view_of(parts)
    except (ValueError, TypeError):
        return None


def history_of(reply: object) -> list[Transition]:
    """The lines of a history, oldest first, as LRANGE gives them; those that aren't ours left out."""
    lines = cast("Sequence[object]", reply) if isinstance(reply, (list, tuple)) else ()
    read = (_transition(_text(line)) for line in lines)
    return [transition for transition in read if transition is not None]


def _view(
    verdict: str,
    state: str,
    mode: str,
    epoch: str,
    version: str,
    failures: str,
    remaining_ms: str,
    successes: str,
    live_probes: str,
    cause: str,
    reason: str,
    actor: str,
    mode_ms: str,
    peers: str,
    rules: str,
    renewed: str,
    now: str,
) -> View:
    return View(
        Verdict(verdict),
        CircuitState(state),
        None if mode == "normal" else CircuitState(mode),
        int(epoch),
        int(version),
        int(failures),
        int(remaining_ms),
        int(successes),
        int(live_probes),
        cause or None,
        reason,
        actor,
        int(mode_ms),
        int(peers),
        rules,
        int(renewed),
        int(now),
    )


def _no_view(verdict: Verdict, cause: str) -> View:
    return View(verdict, CircuitState.CLOSED, None, 0, 0, 0, 0, 0, 0, cause, "", "", 0, 0, "", 0, 0)


def _transition(line: str) -> Transition | None:
    try:
        said = json.loads(line)
        states = CircuitState(said["from"]), CircuitState(said["to"])
        reason, actor, cause = (str(said[part]) for part in ("reason", "actor", "cause"))
        return Transition(float(said["at"]), int(said["epoch"]), *states, reason, actor, cause or None)
    except (ValueError, TypeError, KeyError):
        return None


def _text(part: object) -> str:
    """A part of a reply, whether the client decodes or not; it may hold what a hand has written."""
    return part.decode(errors="replace") if isinstance(part, bytes) else str(part)
