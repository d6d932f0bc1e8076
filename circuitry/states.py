"""The words of the machine: states and why they change, outcomes, limits, and what is said of a call."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, StrEnum
from typing import NamedTuple

from circuitry.windows import TripRule


class CircuitState(StrEnum):
    """What a circuit does with a call."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    FORCED_OPEN = "forced_open"
    DISABLED = "disabled"
    SHADOW = "shadow"


class Reason(StrEnum):
    """Why a circuit changed its state. A fleet has reasons of its own beside these."""

    TRIPPED = "tripped"
    TIMED_OUT = "timed_out"
    RECOVERED = "recovered"
    PROBE_FAILED = "probe_failed"
    RESET = "reset"
    FORCED_OPEN = "forced_open"
    DISABLED = "disabled"
    SHADOWED = "shadowed"


class Outcome(Enum):
    """How an admitted call ended."""

    SUCCESS = "success"
    FAILURE = "failure"
    IGNORED = "ignored"


def _no_clock() -> float:
    """The clock of limits that no breaker has taken on yet."""
    return 0.0


class Limits(NamedTuple):
    """What the steps go by; durations in seconds. `rule` is in place of `failure_threshold`; a `ramp_up` of 0
    is none.
    """

    failure_threshold: int = 5
    success_threshold: int = 3
    timeout_duration: float = 30.0
    half_open_max_calls: int = 3
    probe_timeout: float = 30.0
    rule: TripRule | None = None
    clock: Callable[[], float] = _no_clock  # for a rule's evidence: the machine itself doesn't ask
    ramp_up: float = 0.0


class Slot(NamedTuple):
    """A probe in flight: its number in the generation, and when its slot lapses."""

    number: int
    deadline: float


class Probe(NamedTuple):
    """The admission of one probe."""

    generation: int
    number: int

    @property
    def run(self) -> bool:
        """Like those of evidence, this and the next two: the end of a probe always takes a step."""
        return True

    def success(self) -> bool:
        """Takes a step."""
        return True

    def failure(self) -> bool:
        """Takes a step."""
        return True


class Rejection(NamedTuple):
    """Why a call is not admitted; `retry_after` in seconds, >= 0."""

    state: CircuitState
    retry_after: float
    cause: str | None


class FleetVerdict(NamedTuple):
    """What a fleet has decided together."""

    state: CircuitState  # closed, open or half_open
    mode: CircuitState | None  # what an operator said to the fleet: forced_open, disabled or shadow
    reason: str
    deadline: float  # open: when the first probe may go; closed: when that was heard; on this process's clock
    cause: str | None
