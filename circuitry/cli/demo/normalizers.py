"""Three platforms, three formats, one form: the worked example of `circuitry.integrations.normalizers`.

Each class knows one platform: how its catalogue is fetched and how it is read. None knows of circuits.
`guarded` puts one behind a circuit, with a cache that stands in when the circuit is open.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, Protocol, TypedDict, TypeVar
from xml.etree import ElementTree

from circuitry.integrations.normalizers import CircuitBreakerNormalizer, InMemoryCatalogCache

if TYPE_CHECKING:
    from collections.abc import Hashable
    from xml.etree.ElementTree import Element

    from circuitry import CircuitBreakerConfig
    from circuitry.integrations.normalizers import PlatformNormalizer

RawT = TypeVar("RawT")


@dataclass(frozen=True, slots=True)
class Title:
    """The common form: one film or series, as the gateway shows it."""

    platform: str
    content_id: str
    name: str
    kind: Literal["film", "series"]
    year: int
    minutes: int | None
    genres: tuple[str, ...]
    link: str


@dataclass(frozen=True, slots=True)
class RateLimit:
    """How often a platform may be asked."""

    requests: int
    seconds: float


class HttpClient(Protocol):
    """What the normalizers need of an HTTP client: the body, or an exception."""

    async def get(self, path: str, **query: str) -> bytes:
        """Return the body of a good answer."""
        ...


class NetflixVideo(TypedDict):
    """One entry of Netflix's JSON."""

    id: int
    title: str
    type: Literal["show", "movie"]
    releaseYear: int
    runtimeSeconds: int | None
    genres: list[str]
    countries: list[str]
    modified: int  # milliseconds since 1970


class Netflix:
    """Netflix serves JSON, with times in milliseconds and lengths in seconds."""

    platform_id = "netflix"

    def __init__(self, client: HttpClient) -> None:
        self._client = client

    async def fetch_catalog_delta(self, since: datetime, region: str) -> list[NetflixVideo]:
        """Return the videos of that region that changed since then."""
        body = await self._client.get("/catalog", country=region)
        videos: list[NetflixVideo] = json.loads(body)["videos"]
        oldest = since.timestamp() * 1000
        return [video for video in videos if video["modified"] >= oldest and region in video["countries"]]

    def normalize(self, raw: NetflixVideo) -> Title:
        """Bring a video into the common form."""
        seconds = raw["runtimeSeconds"]
        return Title(
            platform=self.platform_id,
            content_id=str(raw["id"]),
            name=raw["title"],
            kind="series" if raw["type"] == "show" else "film",
            year=raw["releaseYear"],
            minutes=None if seconds is None else seconds // 60,
            genres=tuple(raw["genres"]),
            link=self.generate_deep_link(str(raw["id"])),
        )

    def generate_deep_link(self, content_id: str) -> str:
        """Return the title's page."""
        return f"https://www.netflix.com/title/{content_id}"

    def rate_limit_config(self) -> RateLimit:
        """Return how often Netflix may be asked."""
        return RateLimit(requests=100, seconds=1.0)


class PrimeVideo:
    """Prime Video serves XML, with ISO 8601 times and durations."""

    platform_id = "prime-video"

    def __init__(self, client: HttpClient) -> None:
        self._client = client

    async def fetch_catalog_delta(self, since: datetime, region: str) -> list[Element]:
        """Return the titles of that region that changed since then."""
        catalog = ElementTree.fromstring(await self._client.get("/catalog.xml", territory=region))
        return [
            title
            for title in catalog.iterfind("title")
            if datetime.fromisoformat(title.attrib["updated"]) >= since
            and region in title.findtext("territories", "").split()
        ]

    def normalize(self, raw: Element) -> Title:
        """Bring a title into the common form."""
        return Title(
            platform=self.platform_id,
            content_id=raw.attrib["asin"],
            name=raw.findtext("name", ""),
            kind="series" if raw.attrib["kind"] == "tv" else "film",
            year=int(raw.findtext("released", "")[:4]),
            minutes=_iso_minutes(raw.findtext("duration")),
            genres=tuple(genre.text or "" for genre in raw.iterfind("genre")),
            link=self.generate_deep_link(raw.attrib["asin"]),
        )

    def generate_deep_link(self, content_id: str) -> str:
        """Return the title's page."""
        return f"https://www.primevideo.com/detail/{content_id}"

    def rate_limit_config(self) -> RateLimit:
        """Return how often Prime Video may be asked."""
        return RateLimit(requests=50, seconds=1.0)


class DisneyPlus:
    """Disney+ serves CSV, with German dates, lists in one cell, and lengths as hours and minutes."""

    platform_id = "disney-plus"

    def __init__(self, client: HttpClient) -> None:
        self._client = client

    async def fetch_catalog_delta(self, since: datetime, region: str) -> list[dict[str, str]]:
        """Return the rows of that region that changed since then."""
        body = await self._client.get("/catalog.csv", market=region)
        rows = csv.DictReader(body.decode().splitlines(), delimiter=";")
        return [
            row
            for row in rows
            if datetime.strptime(row["last_change"], "%d.%m.%Y").replace(tzinfo=UTC) >= since
            and region in row["markets"].split("|")
        ]

    def normalize(self, raw: dict[str, str]) -> Title:
        """Bring a row into the common form."""
        return Title(
            platform=self.platform_id,
            content_id=raw["content_id"],
            name=raw["name"],
            kind="series" if raw["programme"] == "Series" else "film",
            year=int(raw["year"]),
            minutes=_clock_minutes(raw["length"]),
            genres=tuple(raw["genres"].split("|")),
            link=self.generate_deep_link(raw["content_id"]),
        )

    def generate_deep_link(self, content_id: str) -> str:
        """Return the title's page."""
        return f"https://www.disneyplus.com/browse/entity-{content_id}"

    def rate_limit_config(self) -> RateLimit:
        """Return how often Disney+ may be asked."""
        return RateLimit(requests=80, seconds=1.0)


def guarded(
    normalizer: PlatformNormalizer[RawT, Title],
    config: CircuitBreakerConfig,
) -> CircuitBreakerNormalizer[RawT, Title]:
    """Put a normalizer behind a circuit of its own, with a cache to serve from when it is open."""

    def content_id(raw: RawT) -> Hashable:
        return normalizer.normalize(raw).content_id

    cache = InMemoryCatalogCache(key=content_id, max_age=3600.0)
    return CircuitBreakerNormalizer(normalizer, config).with_cache(cache)


def _iso_minutes(duration: str | None) -> int | None:
    """Minutes of an ISO 8601 duration such as `PT2H17M`."""
    if duration is None:
        return None
    hours, _, minutes = duration.removeprefix("PT").removesuffix("M").partition("H")
    return 60 * int(hours) + int(minutes)


def _clock_minutes(length: str) -> int | None:
    """Minutes of a length such as `1:47`."""
    hours, _, minutes = length.partition(":")
    return 60 * int(hours) + int(minutes) if length else None
