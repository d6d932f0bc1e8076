"""Who else is there, as one circuit's gate sees it, and how many of them it takes."""

from __future__ import annotations

import time

from circuitry.redis.script import Rules
from circuitry.redis.views import View


class Company:
    """What is known of the other members while the server is there."""

    def __init__(self) -> None:
        self._since: float | None = None  # since when others could have been seen
        self._has_others = False

    def learn(self, view: View) -> None:
        """The server has shown a view."""
        if self._since is None:
            self._since = time.monotonic()
        self._has_others = self._has_others or view.peers > 1

    def is_settled(self, rules: Rules) -> bool:
        """Whether this member may take itself for the last one left: see `Script.batch`."""
        if self._has_others:
            return True
        return self._since is not None and time.monotonic() - self._since >= rules.presence_ms / 1000

    def needed(self, rules: Rules, view: View) -> int:
        """So many members must fail for the circuit to open for all: as the script has it for streaks."""
        return min(rules.quorum, max(1, view.peers)) if self.is_settled(rules) else rules.quorum
