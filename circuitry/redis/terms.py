"""What a circuit's gate goes by: its limits, and how the script is told of them."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from circuitry.locked import LockedCircuit
from circuitry.redis.script import Rules, Subject
from circuitry.states import Limits
from circuitry.tripping import Policy

if TYPE_CHECKING:
    from circuitry.redis.link import Link
    from circuitry.redis.store import RedisStore


class Terms:
    """The present limits of one circuit; of one that is dropped, its last. It doesn't keep it alive."""

    def __init__(self, store: RedisStore, link: Link, breaker: LockedCircuit) -> None:
        self._store = store  # lives as long as a breaker needs it
        self._link = link
        self._breaker = weakref.ref(breaker)
        self._name = breaker.name
        self._subject: Subject | None = None
        self._limits = breaker.config.limits  # of which `_subject` was made

    @property
    def limits(self) -> Limits:
        """What the circuit goes by."""
        breaker = self._breaker()
        return breaker.config.limits if breaker is not None else self._limits

    @property
    def policy(self) -> Policy | None:
        """The rule that it goes by; None if it counts failures in a row."""
        rule = self.limits.rule
        return rule if isinstance(rule, Policy) else None

    @property
    def subject(self) -> Subject:
        """The circuit as the script knows it."""
        limits = self.limits
        if self._subject is None or limits is not self._limits:
            self._limits = limits
            quorum = self._store.quorum_of(self._breaker())
            rules = Rules.of(limits, quorum=quorum, check_period=self._link.check_period)
            self._subject = self._link.script.subject(self._name, rules)
        return self._subject

    @property
    def rules(self) -> Rules:
        """Its limits as the script takes them."""
        return self.subject.rules

    def wait(self, openings: int) -> float | None:
        """For how long to stay open at this opening, where no failure has said it; None is as ever."""
        breaker = self._breaker()
        return None if breaker is None else float(breaker.config.wait(openings, None))
