"""What happens when in the demo of a fleet, scaled to its length."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

LENGTH = 22.0  # seconds, as the timings below were chosen
SHORTEST = 16.0
LONGEST = 24.0
OVER_AT = 27.0  # seconds after the demo began: with the last answers and the end of all, below 30 s
AGREEING = 2.0  # seconds at most that the last visitors go on coming until all circuits are closed
MOST_WORKERS = 8
LEASE_LIMIT = 1  # the circuits' half_open_max_calls: probes at once in the whole fleet


class Step(StrEnum):
    """Something that is done to the platform, to a worker or to Redis."""

    BREAK = "break"
    HANG = "hang"
    HEAL = "heal"
    KILL_PROBER = "kill prober"  # from now on: the next worker that probes is killed, and the platform heals
    FREEZE = "freeze"
    THAW = "thaw"
    STOP = "stop"
    START = "start"


#: Steps that only the demo's own server is put through, never one that was given.
TO_REDIS = frozenset({Step.FREEZE, Step.THAW, Step.STOP, Step.START})

_STEPS = (
    (1.5, Step.BREAK),
    (4.0, Step.HEAL),
    (6.0, Step.HANG),
    (6.0, Step.KILL_PROBER),
    (9.0, Step.HEAL),
    (10.0, Step.FREEZE),
    (10.4, Step.BREAK),
    (12.4, Step.HEAL),
    (13.4, Step.THAW),
    (14.2, Step.STOP),
    (14.4, Step.BREAK),
    (16.2, Step.START),
    (16.8, Step.HEAL),
    (18.5, Step.BREAK),
    (20.0, Step.HEAL),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """One run: `workers` processes, for `seconds`; times in seconds since the start."""

    workers: int
    seconds: float = LENGTH
    disturbs_redis: bool = True
    pages_per_second: float = 10.0  # new visitors of each worker
    pages_at_once: int = 4  # that one worker makes; the other visitors wait

    def within(self, seconds: float) -> Plan:
        """The same in so many seconds, if it would take longer, but in no fewer than it needs."""
        return replace(self, seconds=min(self.seconds, max(SHORTEST, seconds)))

    @property
    def scale(self) -> float:
        """How long this run is, compared with the run the timings were chosen for."""
        return self.seconds / LENGTH

    @property
    def open_for(self) -> float:
        """The circuits' `timeout_duration`, and so the longest that a lease is kept for a silent prober."""
        return 1.0 * self.scale

    @property
    def client_timeout(self) -> float:
        """How long the workers wait for a platform's answer."""
        return 0.4 * self.scale

    @property
    def steps(self) -> list[tuple[float, Step]]:
        """The steps in their order, each with its moment."""
        return [
            (moment * self.scale, step)
            for moment, step in _STEPS
            if self.disturbs_redis or step not in TO_REDIS
        ]
