"""The media gateway: it asks every platform, and makes one page of what they have."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import anyio

from circuitry.cli.demo.web import Response
from circuitry.integrations.normalizers import CachedCatalog, ServiceUnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from circuitry.cli.demo.normalizers import Title
    from circuitry.cli.demo.web import Request
    from circuitry.integrations.normalizers import PlatformNormalizer

REGIONS = ("US", "DE", "FR", "JP")
EVERYTHING = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Row:
    """One platform's part of a page. `cached_for` is its age in seconds if it was cached, else None."""

    platform: str
    cached_for: float | None
    titles: list[Title]


class Gateway:
    """Answers `/catalog?region=US` with a row of titles for each platform.

    A page is whole or it isn't served: when a platform fails, so does the page. Like any server it can work
    on so many pages at once; further visitors wait.
    """

    def __init__(self, platforms: Sequence[PlatformNormalizer[Any, Title]], workers: int) -> None:
        self._platforms = platforms
        self._workers = anyio.CapacityLimiter(workers)

    async def handle(self, request: Request) -> Response:
        """Answer one visitor."""
        region = request.query.get("region", REGIONS[0])
        if request.path != "/catalog" or region not in REGIONS:
            return _failed(HTTPStatus.NOT_FOUND, f"try /catalog?region=, one of {', '.join(REGIONS)}")
        async with self._workers:
            try:
                return _page(region, await self._rows(region))
            except ServiceUnavailableError as rejected:
                return _failed(HTTPStatus.SERVICE_UNAVAILABLE, str(rejected), rejected.retry_after)
            except Exception as error:  # the platform's own
                return _failed(HTTPStatus.BAD_GATEWAY, str(error))

    async def _rows(self, region: str) -> list[Row]:
        """Ask all platforms at once; raise what the first of those that failed raised."""
        answers: dict[str, Row | Exception] = {}

        async def ask(platform: PlatformNormalizer[Any, Title]) -> None:
            try:
                answers[platform.platform_id] = await _row(platform, region)
            except Exception as error:
                answers[platform.platform_id] = error

        async with anyio.create_task_group() as group:
            for platform in self._platforms:
                group.start_soon(ask, platform)
        return [_or_raise(answers[platform.platform_id]) for platform in self._platforms]


async def _row(platform: PlatformNormalizer[Any, Title], region: str) -> Row:
    catalogue = await platform.fetch_catalog_delta(EVERYTHING, region)
    titles = [platform.normalize(raw) for raw in catalogue]
    return Row(platform.platform_id, catalogue.age if isinstance(catalogue, CachedCatalog) else None, titles)


def _or_raise(answer: Row | Exception) -> Row:
    if isinstance(answer, Exception):
        raise answer
    return answer


def _page(region: str, rows: list[Row]) -> Response:
    body = {"region": region, "rows": [asdict(row) for row in rows]}
    return Response(HTTPStatus.OK, json.dumps(body).encode())


def _failed(status: HTTPStatus, why: str, retry_after: float | None = None) -> Response:
    headers = {} if retry_after is None else {"Retry-After": str(math.ceil(retry_after))}
    return Response(status, json.dumps({"error": why}).encode(), headers=headers)
