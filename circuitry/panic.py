"""A family's panic: where too many of its circuits aren't closed, they stop cutting off.

One sick shard of ten is the shard's trouble. When six of ten seem to be sick, it is more likely that
something is wrong which they have in common: the network, a deployment, or the circuits' own settings. To
cut them all off would make a whole outage of a half. So calls go out then, as if there were no circuits,
and aren't judged; probes go on, and close what has recovered.

A member says what becomes of it under its own lock, and the lock here is the innermost of all. Its listeners
hear of it when no lock is held.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from time import time as unix_seconds
from typing import Any

from circuitry.config import logger
from circuitry.events import Listeners, PanicEvent
from circuitry.forking import rearm_after_fork
from circuitry.listening import INFO, WARNING, Telling
from circuitry.states import CircuitState

CUT_OFF = (CircuitState.OPEN, CircuitState.HALF_OPEN)
#: One circuit is no reason to panic, however small the family.
FEWEST = 2
GONE = -math.inf


class Panic(Telling[PanicEvent]):
    """Whether a family panics; `share` is how much of it may not be closed."""

    __slots__ = ("_members", "_not_closed", "_on_panic", "is_on", "name", "share")

    def __init__(self, name: str, share: float | None) -> None:
        super().__init__()
        self.name = name
        self.share = share
        self.is_on = False
        self._members: set[Member] = set()
        self._not_closed: set[Member] = set()
        self._on_panic = Listeners()
        rearm_after_fork(self)

    def member(self) -> Member | None:
        """The part of a new circuit in it; None where there is no panic."""
        if self.share is None:
            return None
        member = Member(self)
        with self._lock:
            self._members.add(member)
            self._weigh(self.share)
        return member

    def left(self, member: Member) -> None:
        """A circuit is a member no more: what becomes of it doesn't count."""
        with self._lock:
            self._members.discard(member)
            self._not_closed.discard(member)

    def note(self, member: Member, state: CircuitState) -> None:
        """A member has come to this state."""
        with self._lock:
            if self.share is None or member not in self._members:
                return
            (self._not_closed.add if state in CUT_OFF else self._not_closed.discard)(member)
            self._weigh(self.share)

    def _weigh(self, share: float) -> None:
        members, not_closed = len(self._members), len(self._not_closed)
        panics = not_closed >= FEWEST and not_closed / members > share
        if panics is not self.is_on:
            self.is_on = panics
            self._news.append(PanicEvent(self.name, panics, not_closed, members, unix_seconds()))

    def listen(self, listener: Callable[[PanicEvent], object]) -> Callable[[], None]:
        """Call `listener(event)` at each beginning and end; gives what unsubscribes it."""
        return self._listen("_on_panic", listener)

    def _tell(self, event: PanicEvent) -> None:
        level = WARNING if event.panicking else INFO
        if logger.isEnabledFor(level):
            text = "family %r %s: %d of %d circuits aren't closed"
            said = "panics, and lets calls through" if event.panicking else "panics no more"
            extra = event._asdict()
            extra["family"] = extra.pop("name")  # a record has a name of its own
            del extra["at"]
            logger.log(level, text, event.name, said, event.not_closed, event.members, extra=extra)
        self._on_panic.tell(event)


class Member:
    """One circuit's part in its family's panic."""

    __slots__ = ("_panic",)

    def __init__(self, panic: Panic) -> None:
        self._panic = panic

    def note(self, state: CircuitState) -> None:
        """The circuit has come to this state. Takes no other lock: it may be called under the circuit's."""
        self._panic.note(self, state)

    def leave(self) -> None:
        """The circuit is dropped from its family."""
        self._panic.left(self)

    def announce(self) -> None:
        """Tell what is new; called without a lock."""
        self._panic._announce()

    def is_stepping(self) -> bool:
        """Whether this very thread holds the family's lock."""
        return self._panic._is_stepping()

    def barrier(self, until: tuple[float, str | None]) -> Barrier:
        """That of a circuit, as long as there is no panic."""
        return Barrier(self._panic, until)

    def lets_through(self, state: CircuitState) -> bool:
        """Whether a call goes out all the same that a circuit in this state would reject."""
        return self._panic.is_on and state in CUT_OFF


class Barrier:
    """Until when a circuit rejects every call, and why; in a panic until a moment that is long gone."""

    __slots__ = ("_panic", "_until")

    def __init__(self, panic: Panic, until: tuple[float, str | None]) -> None:
        self._panic = panic
        self._until = until

    def __getitem__(self, place: int) -> Any:
        return GONE if self._panic.is_on and place == 0 else self._until[place]
