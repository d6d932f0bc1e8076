"""Normalizers whose circuits are shared on Redis: one process trips, and the others serve their caches."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest

from circuitry import CircuitBreakerConfig, CircuitState, registry
from circuitry.integrations.normalizers import (
    CircuitBreakerNormalizer,
    InMemoryCatalogCache,
    PlatformNormalizer,
    ServiceUnavailableError,
)

from ..fleet.servers import Server, needed

needed("redis")

from circuitry.redis import RedisStore  # noqa: E402

pytestmark = pytest.mark.anyio

SINCE = datetime(2024, 5, 1, tzinfo=UTC)
CONFIG = CircuitBreakerConfig(
    failure_threshold=2, success_threshold=1, timeout_duration=0.3, half_open_max_calls=1
)
Item = dict[str, Any]
Guarded = CircuitBreakerNormalizer[Item, str]


class Platform:
    """A platform to be told whether it is down."""

    homepage = "https://mock.example"

    def __init__(self, platform_id: str) -> None:
        self.platform_id = platform_id
        self.is_down = False
        self.asked = 0

    async def fetch_catalog_delta(self, since: datetime, region: str) -> Sequence[Item]:
        self.asked += 1
        if self.is_down:
            raise OSError("down")
        return [{"id": 1}, {"id": 2}]

    def normalize(self, raw: Item) -> str:
        return f"title {raw['id']}"

    def generate_deep_link(self, content_id: str) -> str:
        return f"mock://{content_id}"

    def rate_limit_config(self) -> tuple[int, float]:
        return (100, 60.0)


@pytest.fixture
def platform_id() -> str:
    return f"mock-{uuid.uuid4().hex}"


@pytest.fixture
def make_member(server: Server, platform_id: str, connect: Callable[..., Any]) -> Iterator[Any]:
    """Make a member of the fleet: a normalizer over a store, and so a link, of its own."""
    stores: list[RedisStore] = []

    def make() -> tuple[Platform, Guarded]:
        stores.append(RedisStore(server.url()))
        platform = Platform(platform_id)
        guarded = CircuitBreakerNormalizer.with_redis(platform, CONFIG, stores[-1])
        assert stores[-1].wait_ready(5.0)
        return platform, guarded.with_cache(InMemoryCatalogCache())

    yield make
    for store in stores:
        store.close()
    client = connect()
    for key in client.scan_iter(f"circuit:normalizer-{platform_id}:*"):
        client.delete(key)


async def until(is_so: Callable[[], object]) -> None:
    with anyio.fail_after(10.0):
        while not is_so():
            await anyio.sleep(0.005)


async def trip(platform: Platform, guarded: Guarded) -> None:
    platform.is_down = True
    for _ in range(CONFIG.failure_threshold):
        with pytest.raises(OSError, match="down"):
            await guarded.fetch_catalog_delta(SINCE, "US")


async def served(guarded: Guarded) -> Sequence[Item] | None:
    try:
        return await guarded.fetch_catalog_delta(SINCE, "US")
    except ServiceUnavailableError:
        return None


async def test_when_one_has_tripped_the_other_serves_its_cache(make_member: Any) -> None:
    (broken, one), (platform, other) = make_member(), make_member()
    await other.fetch_catalog_delta(SINCE, "US")
    await trip(broken, one)
    await until(lambda: other.circuit_breaker.state == CircuitState.OPEN)
    assert await other.fetch_catalog_delta(SINCE, "US") == [{"id": 1}, {"id": 2}]
    assert platform.asked == 1
    with pytest.raises(ServiceUnavailableError):
        await other.fetch_catalog_delta(SINCE, "a region that isn't cached")


async def test_when_one_has_found_it_well_again_the_other_asks_it_again(make_member: Any) -> None:
    (broken, one), (platform, other) = make_member(), make_member()
    await trip(broken, one)
    await until(lambda: other.circuit_breaker.state == CircuitState.OPEN)
    broken.is_down = False
    with anyio.fail_after(10.0):
        while await served(one) is None:  # until the fleet's deadline
            await anyio.sleep(0.01)
    await until(lambda: other.circuit_breaker.state == CircuitState.CLOSED)
    await other.fetch_catalog_delta(SINCE, "US")
    assert platform.asked == 1


async def test_another_process_trips_it_for_this_one(
    make_member: Any, server: Server, platform_id: str
) -> None:
    platform, here = make_member()
    await here.fetch_catalog_delta(SINCE, "US")
    code = f"""
import asyncio
from datetime import UTC, datetime
from circuitry import CircuitBreakerConfig
from circuitry.integrations.normalizers import CircuitBreakerNormalizer

class Down:
    platform_id = {platform_id!r}
    async def fetch_catalog_delta(self, since, region):
        raise OSError("down")

config = CircuitBreakerConfig(
    failure_threshold=2, success_threshold=1, timeout_duration=30.0, half_open_max_calls=1
)
guarded = CircuitBreakerNormalizer.with_redis(Down(), config, {server.url()!r})
for _ in range(2):
    try:
        asyncio.run(guarded.fetch_catalog_delta(datetime.now(UTC), "US"))
    except OSError:
        pass
print(guarded.circuit_breaker.name, guarded.circuit_breaker.state)
"""
    run = [sys.executable, "-W", "error", "-c", code]
    there = await anyio.to_thread.run_sync(
        lambda: subprocess.run(run, capture_output=True, text=True, timeout=60)
    )
    assert (there.stdout, there.stderr) == (f"normalizer-{platform_id} open\n", "")
    await until(lambda: here.circuit_breaker.state == CircuitState.OPEN)
    assert here.circuit_breaker.metrics().retry_after > 20.0  # the deadline of those who tripped it
    assert await here.fetch_catalog_delta(SINCE, "US") == [{"id": 1}, {"id": 2}]
    assert platform.asked == 1


async def test_normalizers_of_one_client_share_one_store(server: Server) -> None:
    one = CircuitBreakerNormalizer.with_redis(Platform("one"), None, server.url())
    other = CircuitBreakerNormalizer.with_redis(Platform("other"), CONFIG, server.url())
    store = one.circuit_breaker.store
    assert isinstance(store, RedisStore)
    assert other.circuit_breaker.store is store
    assert one.circuit_breaker.config == CircuitBreakerConfig.platform_api()
    store.close()


async def test_all_but_the_fetch_passes_through_untouched(make_member: Any, platform_id: str) -> None:
    _, guarded = make_member()
    assert isinstance(guarded, PlatformNormalizer)
    assert guarded.platform_id == platform_id
    assert guarded.circuit_breaker.name == f"normalizer-{platform_id}"
    assert guarded.circuit_breaker.name not in registry
    assert guarded.normalize({"id": 1}) == "title 1"
    assert guarded.generate_deep_link("1") == "mock://1"
    assert guarded.rate_limit_config() == (100, 60.0)
    assert guarded.homepage == "https://mock.example"


async def test_without_the_server_each_guards_itself_and_no_call_waits(platform_id: str) -> None:
    platform = Platform(platform_id)
    with RedisStore("redis://127.0.0.1:1") as store:
        alone: Guarded = CircuitBreakerNormalizer.with_redis(platform, CONFIG, store)
        alone.with_cache(InMemoryCatalogCache())
        since = time.perf_counter()
        await alone.fetch_catalog_delta(SINCE, "US")
        await trip(platform, alone)
        assert await alone.fetch_catalog_delta(SINCE, "US") == [{"id": 1}, {"id": 2}]
        assert time.perf_counter() - since < 0.2
        assert platform.asked == 3
