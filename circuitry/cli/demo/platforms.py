"""The three platforms: real HTTP servers on loopback, each serving a recorded catalogue in its own format.

A platform can be told to break. It counts who asked it, and how it was at that moment.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from http import HTTPStatus
from importlib.resources import files
from typing import TYPE_CHECKING

import anyio

from circuitry.cli.demo.scenario import Fault
from circuitry.cli.demo.web import Response

if TYPE_CHECKING:
    from circuitry.cli.demo.web import Request


@dataclass(frozen=True, slots=True)
class Platform:
    """What a platform is called, and what it serves."""

    id: str
    name: str
    file: str
    content_type: str


NETFLIX = Platform("netflix", "Netflix", "netflix.json", "application/json")
PRIME_VIDEO = Platform("prime-video", "Prime Video", "prime_video.xml", "application/xml")
DISNEY_PLUS = Platform("disney-plus", "Disney+", "disney_plus.csv", "text/csv; charset=utf-8")
PLATFORMS = (NETFLIX, PRIME_VIDEO, DISNEY_PLUS)
SICK = PRIME_VIDEO


class PlatformServer:
    """Serves one platform's catalogue, in the way its `fault` says."""

    def __init__(self, platform: Platform, slow_answer: float) -> None:
        self.platform = platform
        self.fault = Fault.NONE
        self.requests: Counter[tuple[str, Fault]] = Counter()
        self._slow_answer = slow_answer
        self._catalogue = files("circuitry.cli.demo").joinpath("catalogues", platform.file).read_bytes()

    async def handle(self, request: Request) -> Response:
        """Answer, or don't."""
        self.requests[request.user_agent, self.fault] += 1
        if self.fault is Fault.ERRORS:
            return Response(HTTPStatus.INTERNAL_SERVER_ERROR, b"something broke\n", "text/plain")
        if self.fault is Fault.HANGING:
            await anyio.sleep_forever()  # until the client gives up
        drip = self._slow_answer if self.fault is Fault.SLOW else 0.0
        return Response(HTTPStatus.OK, self._catalogue, self.platform.content_type, drip=drip)

    def reached_by(self, user_agent: str, *, while_sick: bool) -> int:
        """How many requests of this client arrived, while sick or in all."""
        return sum(
            count
            for (client, fault), count in self.requests.items()
            if client == user_agent and not (while_sick and fault is Fault.NONE)
        )
