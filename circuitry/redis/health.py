"""How a store is, as operators see it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import NamedTuple


class Report(NamedTuple):
    """Something that an operator should know of a store.

    `kind` is "lost" or "found" (the server), "deaf" (nothing can be heard from it, so it is asked from time
    to time), "refused" (a command), "unreadable" (what lies under a circuit's keys), "newer_protocol" or
    "settings_differ" (between the members of a fleet). `name` is the circuit's, where it is about one.
    """

    kind: str
    name: str | None
    detail: str
    at: float


@dataclass(frozen=True, kw_only=True)
class StoreHealth:
    """A store at one moment.

    Args:
        link: "idle" (nothing has been asked of it yet), "up", "down" or "closed".
        subscription: whether what the fleet publishes is heard at once.
        last_contact: unix seconds of the last reply; None if there was none.
        round_trip: seconds that the last command took; None if there was none.
        queued: how much waits to be sent.
        error: what the server was lost by; None if it is there.
        member: this process's name in the fleet.
    """

    link: str
    subscription: bool
    last_contact: float | None
    round_trip: float | None
    queued: int
    error: str | None
    member: str


class Health:
    """What the link notes down for `StoreHealth`. Written by the link's thread alone."""

    def __init__(self) -> None:
        self._last_contact: float | None = None
        self._round_trip: float | None = None
        self._error: str | None = None
        self._is_known = False  # whether listeners have heard how it is

    def contact(self, round_trip: float) -> None:
        """A command was answered."""
        self._last_contact = time.time()
        self._round_trip = round_trip

    def found(self) -> bool:
        """The server is there; whether that is news."""
        is_news = self._error is not None
        self._error = None
        return is_news

    def lost(self, error: str) -> bool:
        """The server isn't there; whether that is news."""
        is_news = self._error is None
        self._error = error
        return is_news

    def snapshot(self, link: str, subscription: bool, queued: int, member: str) -> StoreHealth:
        """All of it."""
        return StoreHealth(
            link=link,
            subscription=subscription,
            last_contact=self._last_contact,
            round_trip=self._round_trip,
            queued=queued,
            error=self._error,
            member=member,
        )
