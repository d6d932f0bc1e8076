"""Platform normalizers: only the fetch is guarded, and what stands in for it when it is rejected."""

from __future__ import annotations

import copy
import logging
import math
import pickle
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest

from circuitry import (
    CircuitBreakerConfig,
    CircuitBreakerError,
    CircuitOpenError,
    CircuitState,
    ConfigurationError,
    TooManyCallsError,
    registry,
)
from circuitry.integrations.normalizers import (
    CachedCatalog,
    CircuitBreakerNormalizer,
    FallbackCache,
    InMemoryCatalogCache,
    PlatformNormalizer,
    ServiceUnavailableError,
)
from circuitry.testing import ManualClock

pytestmark = pytest.mark.anyio

SINCE = datetime(2024, 5, 1, tzinfo=UTC)
CONFIG = CircuitBreakerConfig(
    failure_threshold=2, success_threshold=1, timeout_duration=10.0, half_open_max_calls=1
)
Item = dict[str, Any]


class Platform:
    """A platform to be told what to answer: a catalogue, or an exception."""

    platform_id = "mock"
    homepage = "https://mock.example"

    def __init__(self) -> None:
        self.answer: Sequence[Item] | BaseException = [{"id": 1}, {"id": 2}]
        self.asked: list[tuple[datetime, str]] = []
        self.before_answer: Callable[[], Awaitable[object]] = anyio.lowlevel.checkpoint

    async def fetch_catalog_delta(self, since: datetime, region: str) -> Sequence[Item]:
        self.asked.append((since, region))
        await self.before_answer()
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    def normalize(self, raw: Item) -> str:
        return f"title {raw['id']}"

    def generate_deep_link(self, content_id: str) -> str:
        return f"mock://{content_id}"

    def rate_limit_config(self) -> tuple[int, float]:
        return (100, 60.0)


class DictCache:
    """A user's cache, as small as can be."""

    def __init__(self, known: dict[str, Sequence[Item]] | None = None) -> None:
        self.known = {} if known is None else known

    def get_catalog(self, region: str, since: datetime) -> Sequence[Item]:
        return self.known.get(region, [])

    async def update_catalog(self, region: str, data: Sequence[Item]) -> None:
        self.known[region] = data


class AsyncDictCache(DictCache):
    """The same, behind a network."""

    async def get_catalog(self, region: str, since: datetime) -> Sequence[Item]:  # type: ignore[override]
        await anyio.lowlevel.checkpoint()
        return self.known.get(region, [])


class BrokenCache:
    """A cache that always raises."""

    def get_catalog(self, region: str, since: datetime) -> Sequence[Item]:
        raise ConnectionError("the cache is away")

    async def update_catalog(self, region: str, data: Sequence[Item]) -> None:
        raise ConnectionError("the cache is away")


@pytest.fixture
def platform() -> Platform:
    return Platform()


async def open_the_circuit(normalizer: CircuitBreakerNormalizer[Item, str], platform: Platform) -> None:
    good, platform.answer = platform.answer, ConnectionError("refused")
    for _ in range(CONFIG.failure_threshold):
        with pytest.raises(ConnectionError, match="refused"):
            await normalizer.fetch_catalog_delta(SINCE, "US")
    assert normalizer.circuit_breaker.state is CircuitState.OPEN
    platform.answer = good
    platform.asked.clear()


# --- passing, serving the cache, refusing ------------------------------------------------------------------


async def test_normalizer_passes_when_closed(platform: Platform) -> None:
    normalizer = CircuitBreakerNormalizer(platform, CONFIG)
    assert await normalizer.fetch_catalog_delta(SINCE, "US") is platform.answer
    assert platform.asked == [(SINCE, "US")]
    assert normalizer.circuit_breaker.metrics().successes == 1


@pytest.mark.parametrize("cache_type", [DictCache, AsyncDictCache])
async def test_normalizer_serves_the_cache_when_open(platform: Platform, cache_type: type[DictCache]) -> None:
    normalizer = CircuitBreakerNormalizer(platform, CONFIG).with_cache(cache_type())
    fresh = await normalizer.fetch_catalog_delta(SINCE, "US")
    await open_the_circuit(normalizer, platform)
    assert await normalizer.fetch_catalog_delta(SINCE, "US") == fresh
    assert platform.asked == []
    assert normalizer.circuit_breaker.metrics().fallbacks == 1


async def test_normalizer_errors_without_a_cache(platform: Platform, clock: ManualClock) -> None:
    normalizer = CircuitBreakerNormalizer(platform, CONFIG, clock=clock)
    await open_the_circuit(normalizer, platform)
    clock.advance(4.0)
    with pytest.raises(ServiceUnavailableError, match="'mock' is unavailable, retry after 6 s") as caught:
        await normalizer.fetch_catalog_delta(SINCE, "US")
    rejection = caught.value.__cause__
    assert isinstance(rejection, CircuitOpenError)
    assert rejection.last_failure == "ConnectionError: refused"
    assert caught.value.platform_id == "mock"
    assert caught.value.retry_after == rejection.retry_after == 6.0
    assert platform.asked == []


@pytest.mark.parametrize("known", [None, {"DE": [{"id": 1}]}, {"US": []}], ids=["none", "other", "empty"])
async def test_a_cache_with_nothing_for_the_region_is_like_none(
    platform: Platform, known: dict[str, Sequence[Item]] | None
) -> None:
    normalizer = CircuitBreakerNormalizer(platform, CONFIG).with_cache(DictCache(known))
    await open_the_circuit(normalizer, platform)
    with pytest.raises(ServiceUnavailableError):
        await normalizer.fetch_catalog_delta(SINCE, "US")


async def test_a_failed_fetch_raises_its_own_exception_though_something_is_cached(platform: Platform) -> None:
    normalizer = CircuitBreakerNormalizer(platform, CONFIG).with_cache(DictCache({"US": [{"id": 1}]}))
    platform.answer = error = ConnectionError("refused")
    with pytest.raises(ConnectionError) as caught:
        await normalizer.fetch_catalog_delta(SINCE, "US")
    assert caught.value is error
    assert caught.value.__cause__ is None


async def test_a_rejection_in_half_open_serves_the_cache(platform: Platform, clock: ManualClock) -> None:
    normalizer = CircuitBreakerNormalizer(platform, CONFIG, clock=clock).with_cache(DictCache())
    fresh = await normalizer.fetch_catalog_delta(SINCE, "US")
    await open_the_circuit(normalizer, platform)
    clock.advance(10.0)
    probing, answered = anyio.Event(), anyio.Event()

    async def wait_to_answer() -> None:
        probing.set()
        await answered.wait()

    platform.before_answer = wait_to_answer
    async with anyio.create_task_group() as group:
        group.start_soon(normalizer.fetch_catalog_delta, SINCE, "US")
        await probing.wait()
        assert normalizer.circuit_breaker.state is CircuitState.HALF_OPEN
        assert await normalizer.fetch_catalog_delta(SINCE, "US") == fresh
        answered.set()
    assert normalizer.circuit_breaker.state is CircuitState.CLOSED
    assert len(platform.asked) == 1


async def test_a_rejection_in_half_open_without_a_cache_names_the_platform(
    platform: Platform, clock: ManualClock
) -> None:
    normalizer = CircuitBreakerNormalizer(platform, CONFIG, clock=clock)
    await open_the_circuit(normalizer, platform)
    clock.advance(10.0)
    permit = await normalizer.circuit_breaker.acquire_async()
    with pytest.raises(ServiceUnavailableError, match="mock") as caught:
        await normalizer.fetch_catalog_delta(SINCE, "US")
    assert isinstance(caught.value.__cause__, TooManyCallsError)
    permit.release()


async def test_a_forced_circuit_serves_the_cache_too(platform: Platform) -> None:
    normalizer = CircuitBreakerNormalizer(platform, CONFIG).with_cache(DictCache({"US": [{"id": 7}]}))
    normalizer.circuit_breaker.force_open()
    assert await normalizer.fetch_catalog_delta(SINCE, "US") == [{"id": 7}]
    assert platform.asked == []


async def test_a_rejection_by_a_circuit_further_in_is_a_failure_like_any(platform: Platform) -> None:
    normalizer = CircuitBreakerNormalizer(platform, CONFIG).with_cache(DictCache({"US": [{"id": 7}]}))
    platform.answer = CircuitOpenError("another", CircuitState.OPEN, 5.0, None)
    with pytest.raises(CircuitOpenError, match="another"):
        await normalizer.fetch_catalog_delta(SINCE, "US")
    assert normalizer.circuit_breaker.failure_count == 1


# --- what the cache is told --------------------------------------------------------------------------------


async def test_a_good_fetch_updates_the_cache_and_a_failed_one_does_not(platform: Platform) -> None:
    cache = DictCache()
    normalizer = CircuitBreakerNormalizer(platform, CONFIG).with_cache(cache)
    fresh = await normalizer.fetch_catalog_delta(SINCE, "US")
    platform.answer = ConnectionError("refused")
    with pytest.raises(ConnectionError):
        await normalizer.fetch_catalog_delta(SINCE, "DE")
    assert cache.known == {"US": fresh}


async def test_what_the_cache_served_is_no_update(platform: Platform) -> None:
    cache = InMemoryCatalogCache[Item](clock=(clock := ManualClock()))
    normalizer = CircuitBreakerNormalizer(platform, CONFIG).with_cache(cache)
    await normalizer.fetch_catalog_delta(SINCE, "US")
    normalizer.circuit_breaker.force_open()
    clock.advance(5.0)
    await normalizer.fetch_catalog_delta(SINCE, "US")
    assert cache.age("US") == 5.0


async def test_what_failure_if_calls_a_failure_is_returned_and_not_cached(platform: Platform) -> None:
    cache = DictCache()
    config = CONFIG.replace(failure_if=lambda catalogue: len(catalogue) == 1)
    normalizer = CircuitBreakerNormalizer(platform, config).with_cache(cache)
    platform.answer = [{"id": "an error page"}]
    assert await normalizer.fetch_catalog_delta(SINCE, "US") is platform.answer
    assert cache.known == {}
    platform.answer = [{"id": 1}, {"id": 2}]
    await normalizer.fetch_catalog_delta(SINCE, "US")
    assert cache.known == {"US": platform.answer}
    assert normalizer.circuit_breaker.metrics().failures == 1


async def test_a_cache_that_raises_on_update_is_logged_and_hides_no_good_fetch(
    platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    normalizer = CircuitBreakerNormalizer(platform, CONFIG).with_cache(BrokenCache())
    assert await normalizer.fetch_catalog_delta(SINCE, "US") is platform.answer
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("circuitry", logging.WARNING)
    assert record.getMessage() == "platform 'mock': the cache failed on update_catalog"
    assert record.exc_info is not None
    assert record.__dict__["circuit"] == "normalizer-mock"
    assert normalizer.circuit_breaker.metrics().failures == 0


async def test_a_cache_that_raises_on_get_is_logged_and_hides_no_rejection(
    platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    normalizer = CircuitBreakerNormalizer(platform, CONFIG).with_cache(BrokenCache())
    normalizer.circuit_breaker.force_open()
    caplog.clear()
    with pytest.raises(ServiceUnavailableError) as caught:
        await normalizer.fetch_catalog_delta(SINCE, "US")
    assert isinstance(caught.value.__cause__, CircuitOpenError)
    assert [record.getMessage() for record in caplog.records] == [
        "platform 'mock': the cache failed on get_catalog"
    ]


# --- cancellation ------------------------------------------------------------------------------------------


async def test_a_cancelled_fetch_is_no_failure(platform: Platform) -> None:
    platform.before_answer = anyio.sleep_forever
    normalizer = CircuitBreakerNormalizer(platform, CONFIG).with_cache(DictCache())
    with anyio.move_on_after(0):
        await normalizer.fetch_catalog_delta(SINCE, "US")
    metrics = normalizer.circuit_breaker.metrics()
    assert (metrics.ignored, metrics.failures, metrics.state) == (1, 0, CircuitState.CLOSED)


async def test_a_cancelled_probe_gives_its_slot_back(platform: Platform, clock: ManualClock) -> None:
    normalizer = CircuitBreakerNormalizer(platform, CONFIG, clock=clock)
    await open_the_circuit(normalizer, platform)
    clock.advance(10.0)
    platform.before_answer = anyio.sleep_forever
    with anyio.move_on_after(0):
        await normalizer.fetch_catalog_delta(SINCE, "US")
    platform.before_answer = anyio.lowlevel.checkpoint
    assert await normalizer.fetch_catalog_delta(SINCE, "US") is platform.answer
    assert normalizer.circuit_breaker.state is CircuitState.CLOSED


async def test_cancellation_in_the_cache_is_cancellation_and_no_cache_error(
    platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    class HangingCache(DictCache):
        async def get_catalog(self, region: str, since: datetime) -> Sequence[Item]:  # type: ignore[override]
            await anyio.sleep_forever()
            raise AssertionError

        async def update_catalog(self, region: str, data: Sequence[Item]) -> None:
            await anyio.sleep_forever()

    normalizer = CircuitBreakerNormalizer(platform, CONFIG).with_cache(HangingCache())
    with anyio.move_on_after(0) as on_update:
        await normalizer.fetch_catalog_delta(SINCE, "US")
    normalizer.circuit_breaker.force_open()
    caplog.clear()
    with anyio.move_on_after(0) as on_get:
        await normalizer.fetch_catalog_delta(SINCE, "US")
    assert on_update.cancelled_caught
    assert on_get.cancelled_caught
    assert caplog.records == []


# --- what it is --------------------------------------------------------------------------------------------


async def test_everything_but_the_fetch_passes_through_untouched_even_when_open(platform: Platform) -> None:
    normalizer = CircuitBreakerNormalizer(platform, CONFIG)
    normalizer.circuit_breaker.force_open()
    assert normalizer.platform_id == "mock"
    assert normalizer.normalize({"id": 3}) == "title 3"
    assert normalizer.generate_deep_link("3") == "mock://3"
    assert normalizer.rate_limit_config() == (100, 60.0)
    assert normalizer.homepage == "https://mock.example"
    assert repr(normalizer) == f"CircuitBreakerNormalizer({platform!r})"
    assert normalizer.circuit_breaker.metrics().rejected == 0
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = normalizer.no_such_thing


async def test_it_is_a_platform_normalizer_itself_and_can_be_copied(platform: Platform) -> None:
    normalizer = CircuitBreakerNormalizer(platform, CONFIG)
    assert isinstance(normalizer, PlatformNormalizer)
    assert copy.copy(normalizer).circuit_breaker is normalizer.circuit_breaker


async def test_its_breaker_is_its_own_named_after_the_platform_and_not_registered(platform: Platform) -> None:
    normalizer, another = CircuitBreakerNormalizer(platform), CircuitBreakerNormalizer(platform)
    assert normalizer.circuit_breaker.name == "normalizer-mock"
    assert normalizer.circuit_breaker.config == CircuitBreakerConfig.platform_api()
    assert normalizer.circuit_breaker is not another.circuit_breaker
    assert "normalizer-mock" not in registry


async def test_with_cache_returns_the_same_normalizer(platform: Platform) -> None:
    normalizer = CircuitBreakerNormalizer(platform, CONFIG)
    assert normalizer.with_cache(DictCache()) is normalizer


async def test_what_is_no_cache_is_refused(platform: Platform) -> None:
    with pytest.raises(TypeError, match="a cache needs get_catalog and update_catalog"):
        CircuitBreakerNormalizer(platform).with_cache({})  # type: ignore[arg-type]


async def test_with_redis_says_what_to_install(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ImportError, match=r"pip install 'circuitry-breaker\[redis\]'"):
        CircuitBreakerNormalizer.with_redis(platform, CONFIG, "redis://127.0.0.1")


async def test_service_unavailable_is_circuitrys_own_error_and_pickles() -> None:
    error = ServiceUnavailableError("netflix", 12.5)
    copied = pickle.loads(pickle.dumps(error))
    assert isinstance(copied, CircuitBreakerError)
    assert not isinstance(copied, CircuitOpenError)
    assert (copied.platform_id, copied.retry_after, str(copied)) == ("netflix", 12.5, str(error))


# --- the cache in memory -----------------------------------------------------------------------------------


async def test_the_memory_cache_serves_a_copy_that_knows_its_age(clock: ManualClock) -> None:
    cache = InMemoryCatalogCache[Item](clock=clock)
    assert isinstance(cache, FallbackCache)
    assert cache.get_catalog("US", SINCE) is None
    assert cache.age("US") is None
    items = [{"id": 1}]
    await cache.update_catalog("US", items)
    items.append({"id": 2})
    clock.advance(3.0)
    served = cache.get_catalog("US", SINCE)
    assert isinstance(served, CachedCatalog)
    assert (served, served.age) == ([{"id": 1}], 3.0)
    served.clear()
    assert cache.get_catalog("US", SINCE) == [{"id": 1}]


@pytest.mark.parametrize("max_age", [60, 60.0, timedelta(minutes=1)])
async def test_the_memory_cache_serves_nothing_beyond_its_age(clock: ManualClock, max_age: Any) -> None:
    cache = InMemoryCatalogCache[Item](max_age=max_age, clock=clock)
    await cache.update_catalog("US", [{"id": 1}])
    clock.advance(60.0)
    assert cache.get_catalog("US", SINCE) == [{"id": 1}]
    clock.advance(0.1)
    assert cache.get_catalog("US", SINCE) is None


async def test_the_memory_cache_without_a_limit_of_age_serves_any(clock: ManualClock) -> None:
    cache = InMemoryCatalogCache[Item](max_age=None, clock=clock)
    await cache.update_catalog("US", [{"id": 1}])
    clock.advance(1e9)
    assert cache.get_catalog("US", SINCE) == [{"id": 1}]


async def test_the_memory_cache_forgets_the_longest_unused_region() -> None:
    cache = InMemoryCatalogCache[Item](max_regions=2)
    await cache.update_catalog("US", [{"id": 1}])
    await cache.update_catalog("DE", [{"id": 2}])
    cache.get_catalog("US", SINCE)
    await cache.update_catalog("FR", [{"id": 3}])
    assert cache.get_catalog("DE", SINCE) is None
    assert cache.get_catalog("US", SINCE) == [{"id": 1}]
    assert cache.get_catalog("FR", SINCE) == [{"id": 3}]


async def test_the_memory_cache_merges_changes_by_key_and_drops_what_was_updated_longest_ago() -> None:
    cache = InMemoryCatalogCache[Item](key=lambda item: item["id"], max_items=3)
    await cache.update_catalog("US", [{"id": 1, "v": 1}, {"id": 2, "v": 1}])
    await cache.update_catalog("US", [{"id": 1, "v": 2}, {"id": 3, "v": 1}])
    assert cache.get_catalog("US", SINCE) == [{"id": 2, "v": 1}, {"id": 1, "v": 2}, {"id": 3, "v": 1}]
    await cache.update_catalog("US", [{"id": 4, "v": 1}])
    assert cache.get_catalog("US", SINCE) == [{"id": 1, "v": 2}, {"id": 3, "v": 1}, {"id": 4, "v": 1}]


async def test_the_memory_cache_without_a_key_replaces() -> None:
    cache = InMemoryCatalogCache[Item]()
    await cache.update_catalog("US", [{"id": 1}, {"id": 2}])
    await cache.update_catalog("US", [{"id": 3}])
    assert cache.get_catalog("US", SINCE) == [{"id": 3}]


@pytest.mark.parametrize("key", [None, lambda item: item["id"]], ids=["without a key", "with a key"])
async def test_an_update_that_brings_nothing_makes_the_catalogue_fresh(clock: ManualClock, key: Any) -> None:
    cache = InMemoryCatalogCache[Item](key=key, clock=clock)
    await cache.update_catalog("US", [{"id": 1}])
    clock.advance(10.0)
    await cache.update_catalog("US", [])
    assert cache.get_catalog("US", SINCE) == [{"id": 1}]
    assert cache.age("US") == 0.0


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("max_regions", 0),
        ("max_regions", True),
        ("max_items", -1),
        ("max_items", 1.5),
        ("max_age", 0),
        ("max_age", -1.0),
        ("max_age", math.nan),
        ("max_age", math.inf),
        ("max_age", "60"),
        ("max_age", timedelta(0)),
    ],
)
async def test_a_wrong_setting_of_the_memory_cache_is_refused_by_name(setting: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=setting):
        InMemoryCatalogCache(**{setting: value})
