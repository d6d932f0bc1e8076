"""The visitors: real HTTP requests to both gateways at the same moments, and what each visitor saw."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING

import anyio

from circuitry.cli.demo.gateway import REGIONS
from circuitry.cli.demo.web import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from circuitry.cli.demo.scenario import Fault

PATIENCE = 60.0  # longer than any run: a visitor waits as long as it takes


@dataclass(slots=True)
class Visit:
    """One visitor's request, made at a moment when the sick platform was as `fault` says.

    `seconds` and `status` stay None while there is no answer; `cached` holds the ages of the cached rows.
    """

    asked_at: float
    fault: Fault
    seconds: float | None = None
    status: int | None = None
    cached: dict[str, float] = field(default_factory=dict[str, float])

    @property
    def served(self) -> bool:
        """Whether the visitor got a page."""
        return self.status == HTTPStatus.OK

    def waited(self, now: float) -> float:
        """How long the visitor waited for the answer, or has waited until now."""
        return now - self.asked_at if self.seconds is None else self.seconds


class Visitors:
    """All who visit one gateway."""

    def __init__(self, port: int, now: Callable[[], float], fault: Callable[[], Fault]) -> None:
        self.visits: list[Visit] = []
        self._client = Client(port, PATIENCE, "visitor")
        self._now = now
        self._fault = fault

    async def visit(self, region: str) -> None:
        """Ask for one page, and note what came of it."""
        visit = Visit(self._now(), self._fault())
        self.visits.append(visit)
        try:
            status, body = await self._client.ask("/catalog", region=region)
        except OSError:
            return  # this machine has no socket left: one more visitor without an answer
        visit.seconds = self._now() - visit.asked_at
        visit.status = status
        if visit.served:
            ages = {row["platform"]: row["cached_for"] for row in json.loads(body)["rows"]}
            visit.cached = {platform: age for platform, age in ages.items() if age is not None}


async def send_visitors(
    crowds: Sequence[Visitors], per_second: float, seconds: float, last_answers: float
) -> None:
    """Send one visitor after the other to every gateway, never waiting for an answer.

    When the time is over, the last answers have that many seconds to come.
    """
    start = anyio.current_time()
    async with anyio.create_task_group() as group:
        for number in range(round(seconds * per_second)):
            await anyio.sleep_until(start + number / per_second)
            for visitors in crowds:
                group.start_soon(visitors.visit, REGIONS[number % len(REGIONS)])
        group.cancel_scope.deadline = anyio.current_time() + last_answers
