"""The protocol that a shared verdict fulfils, and the one of a circuit on its own.

A gate never judges: the machine does. It only says whether a probe needs leave from elsewhere,
and hears what happened. `tell` never waits; `ask` may wait, but is only called where `governs`
is true, and never while a circuit is closed.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from circuitry.machine import Admission, Outcome


class Leave(Enum):
    """What a gate says of a probe."""

    LOCAL = "local"  # nobody else is to be asked: decide alone
    GRANTED = "granted"
    REFUSED = "refused"


class Gate(Protocol):
    """A verdict that is shared with others."""

    @property
    def governs(self) -> bool:
        """Whether a probe needs leave at this moment."""
        ...

    def ask(self) -> Leave:
        """Ask for leave to probe, from sync code."""
        ...

    async def ask_async(self) -> Leave:
        """Ask for leave to probe, from async code."""
        ...

    def tell(self, admission: Admission, outcome: Outcome, cause: str | None) -> None:
        """Hear of an outcome that isn't a success without a streak."""
        ...


class LocalGate:
    """The gate of a circuit that shares its verdict with nobody."""

    governs = False

    def ask(self) -> Leave:
        """There is nobody to ask."""
        return Leave.LOCAL

    async def ask_async(self) -> Leave:
        """There is nobody to ask."""
        return Leave.LOCAL

    def tell(self, admission: Admission, outcome: Outcome, cause: str | None) -> None:
        """There is nobody to tell."""


LOCAL = LocalGate()
