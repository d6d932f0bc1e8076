"""What happens when: the sick platform's faults, and every duration of the demo, scaled to its length."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate, pairwise

LENGTH = 24.0  # seconds, as the timings below were chosen
SHORTEST = 8.0
LONGEST = 28.0  # with the start and the last answers, below 30 s


class Fault(StrEnum):
    """How a platform can be."""

    NONE = "healthy"
    ERRORS = "errors"
    HANGING = "hanging"
    SLOW = "slow"


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of the demo in which the sick platform is in one way; times in seconds since the start."""

    fault: Fault
    start: float
    end: float


_SHARES = (
    (Fault.NONE, 2.0),
    (Fault.ERRORS, 4.5),
    (Fault.NONE, 2.5),
    (Fault.HANGING, 4.5),
    (Fault.NONE, 2.5),
    (Fault.SLOW, 4.5),
    (Fault.NONE, 3.5),
)


@dataclass(frozen=True, slots=True)
class Scenario:
    """The plan of one run of the demo, `seconds` long."""

    seconds: float = LENGTH
    pages_per_second: float = 15.0  # new visitors, whether earlier ones have been answered or not
    workers: int = 3  # pages that one gateway makes at once; the other visitors wait

    @property
    def scale(self) -> float:
        """How long this run is, compared with the run the timings were chosen for."""
        return self.seconds / LENGTH

    @property
    def client_timeout(self) -> float:
        """How long the gateways wait for a platform's answer."""
        return max(0.4, 0.5 * self.scale)

    @property
    def open_for(self) -> float:
        """The circuits' `timeout_duration`."""
        return 1.0 * self.scale

    @property
    def slow_answer(self) -> float:
        """How long a slow platform takes: longer than the gateways wait."""
        return 3 * self.client_timeout

    @property
    def phases(self) -> list[Phase]:
        """The phases in their order, without a gap."""
        bounds = accumulate((share * self.scale for _, share in _SHARES), initial=0.0)
        spans = zip(_SHARES, pairwise(bounds), strict=True)
        return [Phase(fault, start, end) for (fault, _), (start, end) in spans]
