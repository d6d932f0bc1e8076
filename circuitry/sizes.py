"""How much a window holds, as a setting: `last(calls)` or `within(seconds)`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from circuitry.checks import check_count, check_seconds
from circuitry.windows import LastCalls, Window, WithinSeconds


def seconds_of(duration: float | timedelta) -> float:
    """A duration that has been checked, in seconds."""
    return duration if isinstance(duration, (int, float)) else duration.total_seconds()


@dataclass(frozen=True)
class Last:
    """The last so many outcomes: see `last`."""

    calls: int

    def __post_init__(self) -> None:
        check_count("window", self.calls)

    def begin(self, clock: Callable[[], float], share: float, minimum: int) -> Window:
        """A window of this size, with nothing in it: see `Window`."""
        return LastCalls(self.calls, share, minimum)

    @property
    def size(self) -> int | None:
        """How many outcomes fit in; None if that has no limit."""
        return self.calls

    def __repr__(self) -> str:
        return f"last({self.calls})"


@dataclass(frozen=True)
class Within:
    """The outcomes of the last so many seconds: see `within`."""

    seconds: float | timedelta

    def __post_init__(self) -> None:
        object.__setattr__(self, "seconds", check_seconds("window", self.seconds))

    def begin(self, clock: Callable[[], float], share: float, minimum: int) -> Window:
        """A window of this size, with nothing in it: see `Window`."""
        return WithinSeconds(seconds_of(self.seconds), clock, share, minimum)

    @property
    def size(self) -> int | None:
        """How many outcomes fit in; None if that has no limit."""
        return None

    def __repr__(self) -> str:
        return f"within({self.seconds})"


def last(calls: int) -> Last:
    """The last `calls` outcomes, >= 1. Exact; they don't age.

    Raises:
        ConfigurationError: it isn't a whole number >= 1.
    """
    return Last(calls)


def within(seconds: float | timedelta) -> Within:
    """The outcomes of the last `seconds` (or a `timedelta`), > 0, in steps of a thirtieth of that.

    An outcome is in it for `seconds` at most, and for 29 thirtieths of that at least.

    Raises:
        ConfigurationError: it isn't a number > 0 and finite.
    """
    return Within(seconds)
