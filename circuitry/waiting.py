"""How long a circuit stays open: backoff, and hints from the dependency."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeAlias

from circuitry.checks import check_number, check_seconds

logger = logging.getLogger("circuitry")

#: `backoff(openings, timeout_duration)`: seconds. `openings` counts from 1, anew when the circuit has closed.
Backoff: TypeAlias = Callable[[int, float], float]
#: `hint(outcome)`: seconds, or None; it is given the exception, or the result that was a failure.
Hint: TypeAlias = Callable[[Any], float | None]

#: Seconds; no hint of a dependency keeps a circuit open for longer.
LONGEST_HINT = 300.0

#: The statuses whose Retry-After speaks of an overload.
_OVERLOADED = (429, 503)


@dataclass(frozen=True)
class Exponential:
    """`timeout_duration`, times `factor` for each opening in a row, up to `maximum`.

    Args:
        factor: >= 1.
        maximum: seconds (or a `timedelta`), > 0; it is never less than `timeout_duration`.
        jitter: a share, 0 to 1: the wait is drawn from that much below to that much above, and never above
            the maximum. It is drawn once, when the circuit opens.

    Raises:
        ConfigurationError: a value isn't allowed.
    """

    factor: float = 2.0
    maximum: float | timedelta = 300.0
    jitter: float = 0.1

    def __post_init__(self) -> None:
        check_number("factor", self.factor, 1.0)
        object.__setattr__(self, "maximum", check_seconds("maximum", self.maximum))
        check_number("jitter", self.jitter, 0.0, 1.0)

    def __call__(self, openings: int, timeout: float) -> float:
        """Seconds to wait at this opening, counted from 1."""
        maximum = self.maximum if isinstance(self.maximum, (int, float)) else self.maximum.total_seconds()
        longest = max(maximum, timeout)
        import random  # here, and not for everybody who imports circuitry

        try:
            wait = timeout * self.factor ** (openings - 1)
        except OverflowError:
            wait = longest
        return min(wait, longest / (1 + self.jitter)) * random.uniform(1 - self.jitter, 1 + self.jitter)


def asked_for_seconds(name: str, ask: Callable[..., object], otherwise: float, *args: object) -> float:
    """What a function of the user's says; `otherwise` if it raises, or says nothing that makes sense."""
    try:
        seconds: Any = ask(*args)
        if seconds is None:
            return otherwise
        seconds = seconds.total_seconds() if isinstance(seconds, timedelta) else float(seconds)
    except Exception:
        logger.exception("%s=%r raised", name, ask)
        return otherwise
    return seconds if 0 < seconds < math.inf else otherwise


def retry_after_header(outcome: object) -> float | None:
    """What a 429 or 503 answer says in its Retry-After, in seconds; None if it says nothing.

    Args:
        outcome: an exception that has a `response` (httpx, requests, aiohttp's own), or an answer itself:
            something with a status (`status_code`, `status` or `code`) and `headers`.

    Both forms are read: seconds, and a date (on this machine's clock).
    """
    answer: Any = getattr(outcome, "response", None)
    answer = outcome if answer is None else answer
    statuses = (getattr(answer, name, None) for name in ("status_code", "status", "code"))
    headers: Any = getattr(answer, "headers", None)
    if not hasattr(headers, "get"):
        return None
    if next((status for status in statuses if isinstance(status, int)), None) not in _OVERLOADED:
        return None
    text = headers.get("Retry-After") or headers.get("retry-after")
    return _seconds(str(text).strip()) if text is not None else None


def _seconds(text: str) -> float | None:
    if text.isascii() and text.isdigit():
        return float(text)
    import email.utils  # likewise

    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None
