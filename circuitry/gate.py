"""The protocol that a shared verdict fulfils, and the one of a circuit on its own.

A gate never judges: the machine does. It only says whether a probe needs leave from elsewhere, and
hears what happened. Nothing here waits but `ask`, which is only called where `governs` is true, and
so never while a circuit is closed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from circuitry.machine import Admission
    from circuitry.states import FleetVerdict, Outcome, Probe, Reason
    from circuitry.windows import Evidence


class Leave:
    """What a gate says of a probe. This one says: nobody else is to be asked, decide alone."""

    granted = True
    retry_after = 0.0

    def used_by(self, probe: Probe) -> None:
        """The probe goes out."""

    def give_back(self) -> None:
        """No probe goes out after all."""


ALONE = Leave()


class Refused(Leave):
    """No probe may go out; it is worth asking again after `retry_after` seconds, >= 0."""

    granted = False

    def __init__(self, retry_after: float = 0.0) -> None:
        self.retry_after = max(0.0, retry_after)


class Gate(Protocol):
    """A verdict that is shared with others."""

    @property
    def asleep(self) -> bool:
        """Whether it has yet to begin: it does when the circuit is first used."""
        ...

    @property
    def governs(self) -> bool:
        """Whether a probe needs leave at this moment."""
        ...

    @property
    def verdict(self) -> FleetVerdict | None:
        """What the others say; None if nothing is known, or an order of ours goes before it."""
        ...

    def wake(self) -> None:
        """The circuit is used."""
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

    def order(self, reason: Reason) -> None:
        """Hear what an operator says to all: called under the circuit's lock, so it only takes note."""
        ...

    def nudge(self) -> None:
        """Something was left where no lock may be taken: called from finalizers, so takes none."""
        ...

    def tag(self, evidence: Evidence | None) -> None:
        """Hear what calls are counted in from now on."""
        ...

    def rearm(self) -> None:
        """This is a forked child."""
        ...


class LocalGate:
    """The gate of a circuit that shares its verdict with nobody."""

    asleep = False
    governs = False
    verdict: FleetVerdict | None = None

    def wake(self) -> None:
        """There is nobody to join."""

    def ask(self) -> Leave:
        """There is nobody to ask."""
        return ALONE

    async def ask_async(self) -> Leave:
        """There is nobody to ask."""
        return ALONE

    def tell(self, admission: Admission, outcome: Outcome, cause: str | None) -> None:
        """There is nobody to tell."""

    def order(self, reason: Reason) -> None:
        """There is nobody to tell."""

    def nudge(self) -> None:
        """Nobody waits for it."""

    def tag(self, evidence: Evidence | None) -> None:
        """It has no other name elsewhere."""

    def rearm(self) -> None:
        """There is nothing that a parent could have left."""


LOCAL = LocalGate()
