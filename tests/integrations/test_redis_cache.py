"""The catalogues that a fleet shares on Redis: real servers, real processes, and no call that waits."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

import anyio
import pytest

from circuitry import ConfigurationError
from circuitry.integrations import redis_cache
from circuitry.integrations.background import Background
from circuitry.integrations.normalizers import CachedCatalog, FallbackCache
from circuitry.integrations.redis_cache import RedisFallbackCache
from circuitry.integrations.redis_shelf import AHEAD, CACHE_RIGHTS, Stored
from circuitry.redis.wire import wire_of
from circuitry.testing import ManualClock

from ..fleet.servers import KINDS, Server, binary, needed, on_one_server

needed("redis")

SINCE = datetime(2024, 5, 1, tzinfo=UTC)
Item = dict[str, Any]
MakeCache = Callable[..., RedisFallbackCache[Item]]

#: What `wait_for` waits at most, in seconds: a server that was lost is found within 1 s.
PATIENCE = 10.0


def wait_for(is_so: Callable[[], object], what: str = "it") -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline, f"{what} never came"
        time.sleep(0.005)


def update(cache: RedisFallbackCache[Any], region: str, data: list[Any]) -> None:
    asyncio.run(cache.update_catalog(region, data))


def ids(cache: RedisFallbackCache[Item], region: str = "US") -> list[int] | None:
    known = cache.get_catalog(region, SINCE)
    return None if known is None else [item["id"] for item in known]


def items(*numbers: int, **more: Any) -> list[Item]:
    return [{"id": number, **more} for number in numbers]


@pytest.fixture
def make_cache(server: Server, connect: Callable[..., Any], request: pytest.FixtureRequest) -> Iterator[Any]:
    """Make a cache on `server`, or elsewhere: `make_cache(client=url)`. Each test has keys of its own."""
    made: list[RedisFallbackCache[Any]] = []
    prefix = f"catalog-{os.getpid()}-{abs(hash(request.node.name))}:"

    def make(**given: Any) -> RedisFallbackCache[Any]:
        settings = {"client": server.url(), "platform_id": "netflix", "prefix": prefix, "refresh": 0.05}
        cache = RedisFallbackCache[Any](**{**settings, "key": lambda item: item["id"], **given})
        made.append(cache)
        return cache

    make.prefix = prefix  # type: ignore[attr-defined]
    yield make
    for cache in made:
        cache.close()
    client = connect()
    for key in client.scan_iter(f"{prefix}*"):
        client.delete(key)


@pytest.fixture
def key_of(make_cache: Any) -> Callable[[str], str]:
    return lambda region: f"{make_cache.prefix}{{netflix}}:{region}"


# --- what a fleet has of it --------------------------------------------------------------------------------


def test_it_is_a_fallback_cache(make_cache: MakeCache) -> None:
    assert isinstance(make_cache(), FallbackCache)


def test_what_one_has_fetched_the_other_can_serve(make_cache: MakeCache) -> None:
    one, other = make_cache(), make_cache()
    update(one, "US", items(1, 2))
    assert one.flush()
    wait_for(lambda: ids(other) == [1, 2])
    served = other.get_catalog("US", SINCE)
    assert isinstance(served, CachedCatalog)
    assert 0 < served.age < PATIENCE


def test_a_process_that_has_just_started_takes_in_what_the_others_stored(make_cache: MakeCache) -> None:
    one = make_cache()
    update(one, "US", items(1, 2))
    update(one, "DE", items(3))
    assert one.flush()
    other = make_cache(refresh=3600.0)
    assert other.wait_ready()
    assert (ids(other, "US"), ids(other, "DE")) == ([1, 2], [3])


def test_a_region_that_is_unknown_here_is_looked_for_when_asked_for(make_cache: MakeCache) -> None:
    one, other = make_cache(), make_cache(refresh=3600.0)
    assert other.wait_ready()
    update(one, "US", items(1))
    assert one.flush()
    assert ids(other) is None
    wait_for(lambda: ids(other) == [1])


def test_another_process_serves_it(make_cache: Any, server: Server) -> None:
    code = f"""
import asyncio
from datetime import UTC, datetime
from circuitry.integrations.redis_cache import RedisFallbackCache

with RedisFallbackCache({server.url()!r}, "netflix", prefix={make_cache.prefix!r}) as cache:
    assert cache.wait_ready(5)
    print(cache.get_catalog("US", datetime.now(UTC)))
    asyncio.run(cache.update_catalog("FR", [{{"id": 7}}]))
"""
    here = make_cache()
    update(here, "US", items(1, 2))
    assert here.flush()
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (there.stdout, there.stderr) == ("[{'id': 1}, {'id': 2}]\n", "")
    wait_for(lambda: ids(here, "FR") == [7])


def test_what_two_fetch_at_once_is_merged(make_cache: MakeCache) -> None:
    one, other = make_cache(refresh=3600.0), make_cache(refresh=3600.0)
    assert one.wait_ready()
    assert other.wait_ready()
    for number in range(20):
        update(one, "US", items(number))
        update(other, "US", items(100 + number))
    assert one.flush(5)
    assert other.flush(5)
    third = make_cache()
    assert third.wait_ready()
    assert set(ids(third) or ()) == {*range(20), *range(100, 120)}


def test_the_newer_of_two_versions_of_an_item_is_kept(make_cache: MakeCache) -> None:
    clock = ManualClock(1000.0)
    late, early = make_cache(clock=clock), make_cache(refresh=3600.0)
    assert late.wait_ready()
    assert early.wait_ready()
    update(early, "US", items(1, 2, version="new"))
    assert early.flush()
    old = {number: {"id": number, "version": "old"} for number in (1, 3)}
    late._take_in("US", clock() - 60.0, old)  # a fetch of a minute ago that can only be stored now
    assert late.flush()
    third = make_cache()
    assert third.wait_ready()
    served = third.get_catalog("US", SINCE)
    assert served is not None
    assert {item["id"]: item["version"] for item in served} == {1: "new", 2: "new", 3: "old"}
    assert served.age < 30.0


def test_without_a_key_a_fetch_replaces_the_catalogue(make_cache: MakeCache) -> None:
    one, other = make_cache(key=None), make_cache(key=None)
    update(one, "US", items(1, 2))
    assert one.flush()
    wait_for(lambda: ids(other) == [1, 2])
    update(other, "US", items(3))
    assert other.flush()
    wait_for(lambda: ids(one) == [3])


def test_a_fetch_that_brings_nothing_makes_the_catalogue_fresh_for_all(make_cache: MakeCache) -> None:
    one = make_cache(key=None)
    update(one, "US", items(1))
    assert one.flush()
    time.sleep(0.3)
    other = make_cache(key=None)
    assert other.wait_ready()
    assert (other.age("US") or 0.0) >= 0.3
    update(one, "US", [])
    assert one.flush()
    wait_for(lambda: ids(other) == [1] and (other.age("US") or 1.0) < 0.3)


def test_items_that_json_cannot_say_are_told_how(make_cache: MakeCache) -> None:
    def as_text(title: Any) -> str:
        return ElementTree.tostring(title, "unicode")

    def make() -> RedisFallbackCache[Any]:
        return make_cache(
            key=lambda title: title.get("id"), to_json=as_text, from_json=ElementTree.fromstring
        )

    one = make()
    update(one, "US", [ElementTree.fromstring("<title id='1'/>")])
    assert one.flush()
    other = make()
    assert other.wait_ready()
    served = other.get_catalog("US", SINCE)
    assert served is not None
    assert [title.get("id") for title in served] == ["1"]


def test_what_is_fetched_while_the_last_is_being_stored_is_not_lost(
    make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make_cache(refresh=3600.0)
    assert cache.wait_ready()
    put, late = cache._shelf.put, [items(2)]

    def slow_put(*args: Any) -> bool:
        if late:
            update(cache, "US", late.pop())
        assert ids(cache) == [1, 2]
        return put(*args)

    monkeypatch.setattr(cache._shelf, "put", slow_put)
    update(cache, "US", items(1))
    assert cache.flush(5.0)
    assert ids(cache) == [1, 2]
    other = make_cache()
    assert other.wait_ready()
    assert ids(other) == [1, 2]


def test_nobody_replaces_what_he_has_not_seen(make_cache: MakeCache, server: Server) -> None:
    one, other = make_cache()._shelf, make_cache()._shelf
    line = wire_of(server.url()).connect()
    for shelf in (one, other):
        assert shelf.take(line, "FR") is None
    stored = Stored(time.monotonic(), [b'{"id":1}'])
    assert one.put(line, "FR", stored)
    assert not other.put(line, "FR", stored)
    seen = other.take(line, "FR")
    assert seen is not None
    assert seen.texts == [b'{"id":1}']
    assert other.put(line, "FR", stored)
    line.close()


# --- what lies on the server -------------------------------------------------------------------------------


def test_it_is_json_with_its_age_and_vanishes(
    make_cache: MakeCache, connect: Callable[..., Any], key_of: Callable[[str], str]
) -> None:
    cache, client = make_cache(max_age=60.0), connect()
    update(cache, "US", [{"id": 1, "name": "Amélie\n"}, {"id": 2}])
    assert cache.flush()
    stored = client.hgetall(key_of("US"))
    assert json.loads(stored[b"items"]) == [{"id": 1, "name": "Amélie\n"}, {"id": 2}]
    seconds, micros = client.time()
    assert 0 <= seconds + micros / 1e6 - float(stored[b"at"]) < PATIENCE
    index = key_of("US").rpartition(":")[0]
    assert client.zrange(index, 0, -1) == [b"US"]
    for key in (key_of("US"), index):
        assert 0 < client.pttl(key) <= 60_000


@pytest.mark.parametrize(
    "field",
    [
        {"items": b"\x80\x04\x95pickled"},
        {"items": '[\n{"id": 1\n]'},
        {"items": "[\n" + "[" * 100_000 + "\n]"},
        {"items": '[\n{"no id": 1}\n]'},
        {"items": ""},
        {"at": "yesterday"},
        {"at": "nan"},
        {"at": "-inf"},
        {"at": "9e15"},
    ],
    ids=str,
)
@on_one_server
def test_garbage_is_told_of_once_never_served_and_replaced_by_the_next_fetch(
    field: dict[str, Any],
    make_cache: MakeCache,
    connect: Callable[..., Any],
    key_of: Callable[[str], str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    client, good = connect(), {"revision": "r", "at": str(time.time()), "items": '[\n{"id":1}\n]'}
    client.hset(key_of("US"), mapping=good | field)
    cache = make_cache()
    assert cache.wait_ready()
    for _ in range(3):
        cache._asked.clear()
        cache._is_loaded = False
        assert ids(cache) is None
        wait_for(lambda: cache._is_loaded)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "GarbageError" in caplog.text
    update(cache, "US", items(5))
    assert cache.flush()
    other = make_cache()
    assert other.wait_ready()
    assert ids(other) == [5]


def test_all_keys_of_a_platform_lie_in_one_slot_of_a_cluster(make_cache: MakeCache) -> None:
    key_slot = needed("redis.crc").key_slot
    shelf = make_cache()._shelf
    keys = [shelf.key("US"), shelf.key("DE}{"), shelf._index]
    assert len({key_slot(key.encode()) for key in keys}) == 1


@pytest.mark.parametrize("kind", ["string", "list"])
def test_keys_of_another_kind_are_replaced(
    kind: str, make_cache: MakeCache, connect: Callable[..., Any], key_of: Callable[[str], str]
) -> None:
    client, index = connect(), key_of("US").rpartition(":")[0]
    for key in (key_of("US"), index):
        client.set(key, "text") if kind == "string" else client.rpush(key, "text")
    cache = make_cache()
    assert cache.wait_ready()
    assert ids(cache) is None
    update(cache, "US", items(5))
    assert cache.flush()
    other = make_cache()
    assert other.wait_ready()
    assert ids(other) == [5]


def test_what_is_too_long_is_neither_read_nor_stored(
    make_cache: MakeCache,
    connect: Callable[..., Any],
    key_of: Callable[[str], str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = connect()
    client.hset(key_of("US"), mapping={"revision": "r", "at": str(time.time()), "items": "x" * 2000})
    cache = make_cache(max_bytes=1000)
    assert cache.wait_ready()
    assert ids(cache) is None
    wait_for(lambda: "2000 bytes" in caplog.text)
    update(cache, "DE", items(*range(500)))
    assert cache.flush()
    assert not client.exists(key_of("DE"))
    assert "can't be stored" in caplog.text
    assert len(ids(cache, "DE") or ()) == 500


@pytest.mark.parametrize("item", [{"id": 1, "what": object()}, {"id": 1, "what": float("nan")}])
def test_what_json_cannot_say_stays_in_this_process(
    item: Item, make_cache: MakeCache, caplog: pytest.LogCaptureFixture
) -> None:
    cache = make_cache()
    update(cache, "US", [item])
    assert cache.flush()
    assert ids(cache) == [1]
    assert "can't be stored" in caplog.text


def test_the_fleet_keeps_so_many_regions_and_items(make_cache: MakeCache, connect: Any, key_of: Any) -> None:
    cache = make_cache(max_regions=2, max_items=3)
    for region in ("US", "DE", "FR"):
        update(cache, region, items(*range(5)))
        assert cache.flush()
    assert connect().zrange(key_of("US").rpartition(":")[0], 0, -1) == [b"DE", b"FR"]
    read: list[Item] = []
    other = make_cache(max_items=2, from_json=lambda item: read.append(item) or item)
    assert other.wait_ready()
    assert (ids(other, "US"), ids(other, "FR")) == (None, [3, 4])
    assert len(read) == 4  # no more than is kept, of two regions


def test_what_waits_is_forgotten_with_its_region(make_cache: MakeCache, start_server: Any) -> None:
    server = start_server(binary_here())
    cache = make_cache(client=server.url(), max_regions=1)
    server.stop()
    update(cache, "US", items(1))
    update(cache, "DE", items(2))
    assert list(cache._changes) == ["DE"]


def test_a_user_with_the_documented_rights_and_no_others_is_enough(
    make_cache: Any, our_server: Server, connect: Callable[..., Any]
) -> None:
    rights = CACHE_RIGHTS.format(prefix=make_cache.prefix).split()
    connect().execute_command("ACL", "SETUSER", "cacher", "reset", "on", ">secret", *rights)
    url = our_server.url().replace("//", "//cacher:secret@")
    one = make_cache(client=url)
    update(one, "US", items(1))
    assert one.flush()
    other = make_cache(client=url)
    assert other.wait_ready()
    assert ids(other) == [1]
    connect().execute_command("ACL", "DELUSER", "cacher")


def test_a_refusal_of_one_command_is_told_of_once_and_loses_nothing(
    make_cache: Any, our_server: Server, connect: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    acl = connect()
    rights = [*CACHE_RIGHTS.format(prefix=make_cache.prefix).split(), "-hset"]
    acl.execute_command("ACL", "SETUSER", "reader", "reset", "on", ">secret", *rights)
    cache = make_cache(client=our_server.url().replace("//", "//reader:secret@"))
    update(cache, "US", items(1))
    assert not cache.flush(0.3)
    assert not cache.flush(0.3)
    assert len(caplog.records) == 1
    acl.execute_command("ACL", "SETUSER", "reader", "+hset")
    assert cache.flush()
    acl.execute_command("ACL", "DELUSER", "reader")


# --- age ---------------------------------------------------------------------------------------------------


def test_age_is_counted_from_the_fetch_on_the_servers_clock(make_cache: MakeCache) -> None:
    ours, theirs = ManualClock(1000.0), ManualClock(9_000_000.0)
    one = make_cache(clock=ours, refresh=3600.0)
    assert one.wait_ready()
    update(one, "US", items(1))
    assert one.flush()
    other = make_cache(clock=theirs, refresh=3600.0)
    assert other.wait_ready()
    age = other.age("US")
    assert age is not None
    assert 0 < age < PATIENCE
    theirs.advance(100.0)
    assert other.age("US") == pytest.approx(age + 100.0)


def test_a_time_a_little_ahead_is_now(make_cache: MakeCache, connect: Any, key_of: Any) -> None:
    ahead = {"revision": "r", "at": str(time.time() + AHEAD / 2), "items": '[\n{"id":1}\n]'}
    connect().hset(key_of("US"), mapping=ahead)
    cache = make_cache()
    assert ids(cache) is None
    wait_for(lambda: ids(cache) == [1])
    assert cache._regions["US"].at <= time.monotonic()


def test_what_is_stored_late_is_as_old_as_its_fetch(make_cache: MakeCache) -> None:
    clock = ManualClock(1000.0)
    late = make_cache(clock=clock, refresh=3600.0)
    assert late.wait_ready()
    update(late, "US", items(1))
    clock.advance(20.0)
    assert late.flush()
    other = make_cache()
    assert other.wait_ready()
    assert 20.0 <= (other.age("US") or 0.0) < 20.0 + PATIENCE


def test_what_is_too_old_is_not_served_and_looked_for(make_cache: MakeCache) -> None:
    clock = ManualClock(1000.0)
    cache = make_cache(clock=clock, max_age=50.0, refresh=3600.0)
    update(cache, "US", items(1))
    assert cache.flush()
    clock.advance(51.0)
    other = make_cache(max_age=50.0)
    update(other, "US", items(1, 2))
    assert other.flush()
    assert ids(cache) is None
    wait_for(lambda: ids(cache) == [1, 2])


def test_a_fresh_copy_is_not_looked_for(make_cache: MakeCache) -> None:
    cache = make_cache(refresh=3600.0)
    assert cache.wait_ready()
    update(cache, "US", items(1))
    assert cache.flush()
    assert ids(cache) == [1]
    assert not cache._asked


def test_an_older_catalogue_on_the_server_changes_nothing(make_cache: MakeCache) -> None:
    one = make_cache()
    update(one, "US", items(1))
    assert one.flush()
    time.sleep(0.01)
    cache = make_cache(prefix="elsewhere:", refresh=3600.0)
    assert cache.wait_ready()
    update(cache, "US", items(2))
    assert cache.flush()
    cache._shelf = one._shelf
    assert cache._line is not None
    cache._load(cache._line, "US")
    assert ids(cache) == [2]


# --- Redis is slow, or gone --------------------------------------------------------------------------------


def binary_here() -> str:
    for kind in KINDS:
        try:
            binary(kind)
        except Exception:
            continue
        return kind
    pytest.skip("there is no Redis server here")


@pytest.fixture
def own_server(start_server: Callable[..., Server]) -> Server:
    return start_server(binary_here())


async def longest_lag(seconds: float, busy: Callable[[], Any]) -> float:
    """How long the event loop was held up at most, while `busy` is awaited again and again."""
    lags: list[float] = []
    with anyio.move_on_after(seconds):
        while True:
            before = time.perf_counter()
            await busy()
            lags.append(time.perf_counter() - before)
            await anyio.sleep(0.002)
    return max(lags)


@pytest.mark.parametrize("trouble", ["frozen", "killed"])
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"], indirect=True)
@pytest.mark.anyio
async def test_no_call_waits_for_a_server_that_is_frozen_or_killed(
    trouble: str, make_cache: MakeCache, own_server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    cache = make_cache(client=own_server.url())
    await cache.update_catalog("US", items(1))
    assert await anyio.to_thread.run_sync(cache.flush)
    own_server.freeze() if trouble == "frozen" else own_server.stop()

    async def one_call() -> None:
        await cache.update_catalog("US", items(2))
        assert ids(cache) == [1, 2]
        assert ids(cache, "nowhere") is None

    assert await longest_lag(1.0, one_call) < 0.2  # a command takes 0.5 s to time out
    assert cache._changes
    own_server.thaw() if trouble == "frozen" else own_server.start()
    assert await anyio.to_thread.run_sync(cache.flush, 5.0)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    with caplog.at_level(logging.INFO, "circuitry"):
        await anyio.to_thread.run_sync(own_server.restart)
        await cache.update_catalog("US", items(3))
        await anyio.to_thread.run_sync(wait_for, lambda: "found" in caplog.text)
    assert await anyio.to_thread.run_sync(cache.flush, 5.0)
    other = make_cache(client=own_server.url())
    assert await anyio.to_thread.run_sync(other.wait_ready)
    assert ids(other) == [1, 2, 3]  # the server came back empty, and has all of it again


def test_a_server_that_is_away_at_the_start_is_found_later(make_cache: MakeCache, own_server: Server) -> None:
    own_server.stop()
    cache = make_cache(client=own_server.url(), refresh=3600.0)
    assert not cache.wait_ready(0.2)
    update(cache, "US", items(1))
    assert not cache.flush(0.1)
    own_server.start()
    assert cache.wait_ready(5.0)
    assert cache.flush(5.0)


def test_what_could_not_be_stored_is_when_the_server_is_back(
    make_cache: MakeCache, own_server: Server
) -> None:
    cache = make_cache(client=own_server.url(), refresh=3600.0)
    assert cache.wait_ready()
    own_server.stop()
    update(cache, "US", items(1))
    wait_for(lambda: cache._failures)
    own_server.start()
    wait_for(lambda: not cache._changes)
    other = make_cache(client=own_server.url())
    assert other.wait_ready()
    assert ids(other) == [1]


def test_traffic_does_not_hasten_the_search_for_a_lost_server(
    make_cache: MakeCache, own_server: Server
) -> None:
    own_server.stop()
    cache = make_cache(client=own_server.url())
    wait_for(lambda: cache._failures)
    before, until = cache._failures, time.monotonic() + 0.5
    while time.monotonic() < until:
        update(cache, "US", items(1))
    assert cache._failures - before < 10


def test_closing_takes_a_second_at_most_and_serves_on(make_cache: MakeCache, own_server: Server) -> None:
    cache = make_cache(client=own_server.url())
    update(cache, "US", items(1))
    assert cache.flush()
    own_server.freeze()
    update(cache, "US", items(2))
    since = time.monotonic()
    cache.close()
    assert time.monotonic() - since < 2.0
    assert ids(cache) == [1, 2]
    update(cache, "US", items(3))
    assert ids(cache) == [1, 2, 3]
    assert not cache.flush(0.01)
    own_server.thaw()


def test_closing_stores_what_waits(make_cache: MakeCache) -> None:
    cache = make_cache(refresh=3600.0)
    assert cache.wait_ready()
    update(cache, "US", items(1))
    cache.close()
    cache.close()
    other = make_cache()
    assert other.wait_ready()
    assert ids(other) == [1]


# --- its thread --------------------------------------------------------------------------------------------


def cache_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "circuitry-cache"]


def test_a_cache_that_is_dropped_takes_its_thread_along(server: Server) -> None:
    before = set(cache_threads())
    cache = RedisFallbackCache[Item](server.url(), "dropped")
    assert cache.wait_ready()
    (thread,) = set(cache_threads()) - before
    gone = weakref.ref(cache)
    del cache
    gc.collect()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert gone() is None


def test_a_region_that_is_forgotten_meanwhile_is_not_stored(make_cache: MakeCache, connect: Any) -> None:
    cache = make_cache(refresh=3600.0)
    assert cache.wait_ready()
    assert cache._line is not None
    cache._store(cache._line, "forgotten")
    assert not list(connect().scan_iter("*forgotten"))


def test_a_thread_that_never_ran_is_not_waited_for(make_cache: MakeCache) -> None:
    Background(make_cache(), "never").join(1.0)


def _in_a_child(cache: RedisFallbackCache[Item], is_closed: bool, out: Any) -> None:
    update(cache, "DE", items(2))
    out.put((cache.flush(0.2 if is_closed else 5.0), ids(cache, "US"), len(cache_threads()), is_closed))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system doesn't fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.parametrize("is_closed", [False, True])
def test_a_forked_child_has_a_thread_of_its_own(is_closed: bool, make_cache: MakeCache) -> None:
    cache = make_cache()
    update(cache, "US", items(1))
    assert cache.flush()
    if is_closed:
        cache.close()
    forked = multiprocessing.get_context("fork")
    out = forked.SimpleQueue()
    child = forked.Process(target=_in_a_child, args=(cache, is_closed, out))
    child.start()
    told = out.get()
    child.join(PATIENCE)
    assert child.exitcode == 0
    assert told == (not is_closed, [1], 0 if is_closed else 1, is_closed)
    if not is_closed:
        wait_for(lambda: ids(cache, "DE") == [2])
    else:
        assert ids(cache, "DE") is None


def test_at_exit_what_waits_is_stored_and_nothing_is_said(make_cache: Any, server: Server) -> None:
    code = f"""
import asyncio
from circuitry.integrations.redis_cache import RedisFallbackCache

cache = RedisFallbackCache({server.url()!r}, "netflix", prefix={make_cache.prefix!r})
asyncio.run(cache.update_catalog("US", [{{"id": 1}}]))
"""
    ended = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")
    cache = make_cache()
    assert cache.wait_ready()
    assert ids(cache) == [1]


def test_the_last_words_of_all_caches_are_said_at_once(
    make_cache: MakeCache, own_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    caches = [make_cache(client=own_server.url(), platform_id=f"platform {number}") for number in range(4)]
    for cache in caches:
        update(cache, "US", items(1))
        assert cache.flush()
    own_server.freeze()
    for cache in caches:
        update(cache, "US", items(2))
    monkeypatch.setattr(redis_cache, "_caches", caches)
    since = time.monotonic()
    redis_cache._say_last_words()
    assert time.monotonic() - since < 2.0
    own_server.thaw()


# --- bad input ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"client": 7}, "client=<class 'int'> is not allowed"),
        ({"client": "http://localhost"}, "url='http://localhost' is not allowed"),
        ({"platform_id": ""}, "name='' is not allowed"),
        ({"platform_id": "}x"}, "platform_id='}x' is not allowed"),
        ({"prefix": ""}, "prefix='' is not allowed"),
        ({"prefix": "a{b"}, "prefix='a{b' is not allowed"),
        ({"prefix": 7}, "prefix=7 is not allowed"),
        ({"max_regions": 0}, "max_regions=0 is not allowed"),
        ({"max_items": True}, "max_items=True is not allowed"),
        ({"max_bytes": 0}, "max_bytes=0 is not allowed"),
        ({"max_age": 0}, "max_age=0 is not allowed"),
        ({"max_age": None}, "max_age=None is not allowed"),
        ({"refresh": float("nan")}, "refresh=nan is not allowed"),
    ],
)
def test_a_senseless_setting_is_named(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        RedisFallbackCache(**{"client": "redis://127.0.0.1:1", "platform_id": "netflix", **given})


def test_without_redis_py_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ImportError, match=r"pip install 'circuitry-breaker\[redis\]'"):
        RedisFallbackCache("redis://127.0.0.1:1", "netflix")


def test_it_says_whose_it_is_and_is_not_pickled(make_cache: MakeCache) -> None:
    cache = make_cache()
    assert repr(cache) == "<RedisFallbackCache 'netflix'>"
    with pytest.raises(TypeError, match="make one in each process"):
        pickle.dumps(cache)


def test_regions_that_are_asked_for_and_unknown_are_bounded(
    make_cache: MakeCache, own_server: Server
) -> None:
    cache = make_cache(client=own_server.url(), max_regions=10)
    own_server.stop()
    wait_for(lambda: cache._failures or not cache._background.poke())
    for number in range(1000):
        assert ids(cache, f"region {number}") is None
    assert len(cache._asked) == 10
    assert len(cache._wanted) <= 10
