"""Many platforms' catalogues in one form, each fetched behind a circuit of its own.

A *platform normalizer* fetches what has changed in one platform's catalogue and brings it into a common form.
`CircuitBreakerNormalizer` wraps one and is one: where the plain normalizer stood, it can stand.

- Only the fetch is guarded. Bringing an item into the common form and making a link are local work.
- A good fetch updates the cache, after its outcome is recorded: a slow or broken cache says nothing about the
  platform.
- A rejection, in open as in half-open, serves the cached catalogue. A failed fetch doesn't: its own exception
  reaches the caller, and the circuit counts it.
- With no cache, or nothing in it, a rejection becomes a `ServiceUnavailableError`. An empty cached catalogue
  counts as nothing: served, it would say that the platform has no titles.
"""

from __future__ import annotations

import inspect
import logging
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, Self, TypeVar, cast, runtime_checkable

from circuitry import CircuitBreaker, CircuitBreakerError
from circuitry.checks import check_count, check_seconds
from circuitry.forking import LockHolder, rearm_after_fork
from circuitry.judging import Judge

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
    from datetime import datetime

    from circuitry import CircuitBreakerConfig, CircuitOpenError
    from circuitry.config import Seconds

__all__ = [
    "CachedCatalog",
    "CircuitBreakerNormalizer",
    "FallbackCache",
    "InMemoryCatalogCache",
    "PlatformNormalizer",
    "ServiceUnavailableError",
]

logger = logging.getLogger("circuitry")

RawT = TypeVar("RawT")
ContentT = TypeVar("ContentT")
ContentT_co = TypeVar("ContentT_co", covariant=True)


@runtime_checkable
class PlatformNormalizer(Protocol[RawT, ContentT_co]):
    """One platform: how to fetch its catalogue, and how to read it."""

    @property
    def platform_id(self) -> str:
        """The platform's name for machines, such as `netflix`. A plain attribute will do."""
        ...

    async def fetch_catalog_delta(self, since: datetime, region: str) -> Sequence[RawT]:
        """Return what has changed in that region since then, in the platform's own form."""
        ...

    def normalize(self, raw: RawT) -> ContentT_co:
        """Bring one item into the common form."""
        ...

    def generate_deep_link(self, content_id: str) -> Any:
        """Return what opens this title in the platform's own app or page."""
        ...

    def rate_limit_config(self) -> Any:
        """Return how often the platform may be asked."""
        ...


@runtime_checkable
class FallbackCache(Protocol[RawT]):
    """The last known catalogues of one platform, by region. `get_catalog` may also be async."""

    def get_catalog(
        self, region: str, since: datetime
    ) -> Sequence[RawT] | Awaitable[Sequence[RawT] | None] | None:
        """Return what is known of that region's catalogue; None or nothing if that is nothing."""
        ...

    async def update_catalog(self, region: str, data: Sequence[RawT]) -> None:
        """Take in what a good fetch brought."""
        ...


class ServiceUnavailableError(CircuitBreakerError):
    """A platform's circuit rejected the fetch, and no cached catalogue could stand in for it.

    Raised `from` the rejection, which knows the circuit's state and what opened it.
    """

    args: tuple[str, float]

    def __init__(self, platform_id: str, retry_after: float) -> None:
        super().__init__(platform_id, retry_after)

    @property
    def platform_id(self) -> str:
        """The platform that can't be asked now."""
        return self.args[0]

    @property
    def retry_after(self) -> float:
        """Seconds, >= 0, after which a fetch may be admitted: the rejection's `retry_after`."""
        return self.args[1]

    def __str__(self) -> str:
        return f"platform {self.platform_id!r} is unavailable, retry after {self.retry_after:.3g} s"


class CachedCatalog(list[RawT]):
    """What `InMemoryCatalogCache` serves: a list that knows how old it is, in seconds.

    So whoever asked can tell a cached catalogue from a fresh one, and say so to its users.
    """

    def __init__(self, items: Iterable[RawT], age: float) -> None:
        super().__init__(items)
        self.age = age


class Known(NamedTuple, Generic[RawT]):
    """A catalogue, and the moment at which it was as the platform has it."""

    at: float
    items: dict[Hashable, RawT]


class InMemoryCatalogCache(LockHolder, Generic[RawT]):
    """A `FallbackCache` in this process's memory, for one platform.

    It keeps at most `max_regions` catalogues (the longest unused one goes) of at most `max_items` items
    (those updated longest ago go), and serves none older than `max_age` (seconds or a timedelta; None means
    any age).

    A fetch brings what has *changed*. Give `key`, which names an item (`key=lambda item: item["id"]`), and
    changes are merged into what is known; without it, a fetch replaces the catalogue. A fetch that brings
    nothing says that nothing has changed: the catalogue stays, and is fresh again.

    What is served is the whole known catalogue, whatever `since` is: no less than was asked for.
    Lists are copied, items are shared. Safe to use from several threads.
    """

    def __init__(
        self,
        *,
        key: Callable[[RawT], Hashable] | None = None,
        max_regions: int = 100,
        max_items: int = 100_000,
        max_age: Seconds | None = 3600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._key = key
        check_count("max_regions", max_regions)
        check_count("max_items", max_items)
        self._max_regions = max_regions
        self._max_items = max_items
        self._max_age = None if max_age is None else check_seconds("max_age", max_age)
        self._clock = clock
        self._regions: OrderedDict[str, Known[RawT]] = OrderedDict()
        rearm_after_fork(self)

    def get_catalog(self, region: str, since: datetime) -> CachedCatalog[RawT] | None:
        """Return the region's known catalogue with its age, or None if it is unknown or too old."""
        now = self._clock()
        with self._lock:
            age = self._age(region, now)
            if age is None:
                return None
            self._regions.move_to_end(region)
            return CachedCatalog(self._regions[region].items.values(), age)

    async def update_catalog(self, region: str, data: Sequence[RawT]) -> None:
        """Take in what a good fetch brought; the region's catalogue is fresh now."""
        now, changed = self._clock(), self._by_key(data)
        with self._lock:
            self._take_in(region, now, changed)

    def age(self, region: str) -> float | None:
        """Return how many seconds ago the region's catalogue was updated; None if it can't be served."""
        now = self._clock()
        with self._lock:
            return self._age(region, now)

    def _take_in(self, region: str, now: float, changed: dict[Hashable, RawT]) -> None:
        known = self._regions[region].items if region in self._regions else {}
        self._keep(region, Known(now, self._merged(known, changed)))

    def _keep(self, region: str, known: Known[RawT]) -> None:
        self._regions[region] = known
        self._regions.move_to_end(region)
        if len(self._regions) > self._max_regions:
            self._forget(next(iter(self._regions)))

    def _forget(self, region: str) -> None:
        del self._regions[region]

    def _age(self, region: str, now: float) -> float | None:
        if region not in self._regions:
            return None
        age = max(0.0, now - self._regions[region].at)
        return age if self._max_age is None or age <= self._max_age else None

    def _by_key(self, data: Sequence[RawT]) -> dict[Hashable, RawT]:
        if self._key is None:
            return dict(enumerate(data))
        return {self._key(item): item for item in data}

    def _merged(self, known: dict[Hashable, RawT], changed: dict[Hashable, RawT]) -> dict[Hashable, RawT]:
        if self._key is None:
            kept = changed or known
        else:
            kept = {key: item for key, item in known.items() if key not in changed} | changed
        return dict(list(kept.items())[-self._max_items :])


class CircuitBreakerNormalizer(Generic[RawT, ContentT]):
    """A platform normalizer whose fetches go through a circuit, with a cache to stand in when it is open.

        netflix = CircuitBreakerNormalizer(Netflix(), CircuitBreakerConfig.platform_api()).with_cache(cache)

    `circuit_breaker` is its breaker: named `normalizer-{platform_id}`, its own, in no registry. All that
    isn't the fetch passes through untouched, other attributes of the wrapped normalizer included.
    """

    circuit_breaker: CircuitBreaker

    def __init__(
        self,
        normalizer: PlatformNormalizer[RawT, ContentT],
        config: CircuitBreakerConfig | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._normalizer = normalizer
        self._cache: FallbackCache[RawT] | None = None
        self.circuit_breaker = CircuitBreaker(_breaker_name(normalizer), config, clock=clock)

    @classmethod
    def with_redis(
        cls,
        normalizer: PlatformNormalizer[RawT, ContentT],
        config: CircuitBreakerConfig | None,
        client: Any,
    ) -> Self:
        """Share the circuit with all processes that use this Redis. Needs the extra `redis`.

        Args:
            normalizer: the platform.
            config: the circuit's settings, or None.
            client: a URL, a client of redis-py, or a `RedisStore`. Normalizers that are given the same
                share one store, and so one link.

        Raises:
            ConfigurationError: the client is nothing that is known.
            ImportError: redis-py isn't installed; the message says how to.
        """
        guarded = cls(normalizer, config)
        guarded.circuit_breaker = CircuitBreaker.with_redis(_breaker_name(normalizer), config, client)
        return guarded

    def with_cache(self, cache: FallbackCache[RawT]) -> Self:
        """Serve rejections from this cache from now on; returns this same normalizer, for chaining.

        A cache knows regions and no platforms, so each normalizer needs one of its own.

        Raises:
            TypeError: what was given has no `get_catalog` or no `update_catalog`.
        """
        if not isinstance(cast("object", cache), FallbackCache):
            raise TypeError(f"a cache needs get_catalog and update_catalog, which {cache!r} doesn't have")
        self._cache = cache
        return self

    @property
    def platform_id(self) -> str:
        """The wrapped normalizer's `platform_id`."""
        return self._normalizer.platform_id

    async def fetch_catalog_delta(self, since: datetime, region: str) -> Sequence[RawT]:
        """Fetch through the circuit; serve the cached catalogue when it rejects.

        Raises:
            ServiceUnavailableError: the circuit rejected, and nothing is cached.
            Exception: whatever an admitted fetch raises, as it is.
        """
        call = self.circuit_breaker.call_with_fallback
        answer: Sequence[RawT] | _Cached = await call(self._fetch, self._stand_in, since, region)
        if isinstance(answer, _Cached):
            return answer.items
        if self._is_good(answer):
            await self._remember(region, answer)
        return answer

    def normalize(self, raw: RawT) -> ContentT:
        """Bring one item into the common form: the wrapped normalizer's work, unguarded."""
        return self._normalizer.normalize(raw)

    def generate_deep_link(self, content_id: str) -> Any:
        """Return the wrapped normalizer's link, unguarded."""
        return self._normalizer.generate_deep_link(content_id)

    def rate_limit_config(self) -> Any:
        """Return the wrapped normalizer's rate limit."""
        return self._normalizer.rate_limit_config()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_normalizer":  # not yet there while unpickling or copying
            raise AttributeError(name)
        return getattr(self._normalizer, name)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._normalizer!r})"

    async def _fetch(self, since: datetime, region: str) -> Sequence[RawT]:
        return await self._normalizer.fetch_catalog_delta(since, region)

    def _is_good(self, answer: Sequence[RawT]) -> bool:
        """An answer that came may still be a failure, by the setting `failure_if`."""
        judge = Judge.of(self.circuit_breaker.config)
        return judge is None or not judge.result_failed(answer)

    async def _stand_in(self, since: datetime, region: str, *, error: CircuitOpenError) -> _Cached:
        """The breaker's fallback: what it raises comes `from` the rejection."""
        items = await self._recall(since, region)
        if items is None:
            raise ServiceUnavailableError(self.platform_id, error.retry_after)
        logger.debug("platform %r: cached catalogue of region %r served", self.platform_id, region)
        return _Cached(items)

    async def _recall(self, since: datetime, region: str) -> Sequence[RawT] | None:
        if self._cache is None:
            return None
        try:
            known = self._cache.get_catalog(region, since)
            items = await known if inspect.isawaitable(known) else known
            return items or None
        except Exception:
            self._log_cache_error("get_catalog")
            return None

    async def _remember(self, region: str, data: Sequence[RawT]) -> None:
        if self._cache is None:
            return
        try:
            await self._cache.update_catalog(region, data)
        except Exception:
            self._log_cache_error("update_catalog")

    def _log_cache_error(self, step: str) -> None:
        text, extra = "platform %r: the cache failed on %s", {"circuit": self.circuit_breaker.name}
        logger.warning(text, self.platform_id, step, exc_info=True, extra=extra)


class _Cached:
    """Marks what came from the cache, so that it isn't taken for a good fetch."""

    def __init__(self, items: Sequence[Any]) -> None:
        self.items = items


def _breaker_name(normalizer: PlatformNormalizer[Any, Any]) -> str:
    return f"normalizer-{normalizer.platform_id}"
