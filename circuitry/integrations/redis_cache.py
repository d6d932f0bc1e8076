"""A `FallbackCache` that a fleet shares on Redis, and that never waits for it. Needs the extra `redis`.

    cache = RedisFallbackCache("redis://localhost:6379", "netflix", key=lambda item: item["id"])
    netflix = CircuitBreakerNormalizer.with_redis(Netflix(), config, "redis://localhost:6379").with_cache(cache)

How it is made, and why. `get_catalog` is called upon a rejection, in async code too, and mustn't wait for a
server that may be slow, frozen or gone: an answer that comes late is what circuits are there against. So
there is a copy in this process, an `InMemoryCatalogCache`, and it alone is read and written by calls. A
thread of the cache's own, `circuitry-cache`, brings the copy and Redis together:

- what good fetches brought within a second is merged into what lies on Redis, by comparing and setting: two
  processes that bring different changes lose neither's;
- at its start a process takes in what the others have stored, so it can stand in before its first fetch;
- after that it looks every `refresh` seconds for newer catalogues of the regions it knows, and at once for
  one that it is asked for and hasn't;
- while Redis is away the copy is served and goes on ageing; what couldn't be stored is, when Redis is back.

A catalogue's age is counted from the fetch, on the server's clock where it crosses processes: it may seem
older by a round trip, never younger.
"""

from __future__ import annotations

import atexit
import json
import logging
import random
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from datetime import datetime
from typing import Any, Literal, Self, TypeVar

from circuitry.checks import check_count, check_seconds
from circuitry.config import Seconds
from circuitry.integrations.background import Background, Pause
from circuitry.integrations.normalizers import CachedCatalog, InMemoryCatalogCache, Known
from circuitry.integrations.redis_shelf import PREFIX, GarbageError, Shelf, Stored, text_of
from circuitry.judging import describe
from circuitry.redis.session import is_refusal
from circuitry.redis.wire import COMMAND_TIMEOUT, Line, wire_of

__all__ = ["RedisFallbackCache"]

logger = logging.getLogger("circuitry")

RawT = TypeVar("RawT")

#: Seconds.
STORE_WITHIN = 1.0  # after a fetch: what other fetches bring meanwhile is stored with it
ASK_AGAIN = 1.0  # between two looks for a region that isn't there
LONGEST_BACKOFF = 1.0
NEVER = float("inf")
LAST_WORDS = 0.5  # for what waits when a cache is closed


def _as_it_is(item: Any) -> Any:
    return item


class RedisFallbackCache(InMemoryCatalogCache[RawT]):
    """One platform's last known catalogues, shared by all processes that use the same server and prefix.

    Args:
        client: a URL or a client of redis-py, of which only address and credentials are taken.
        platform_id: whose catalogues: the same in the whole fleet.
        key: names an item: changes are merged into what is known. Without it, a fetch replaces the catalogue.
        to_json: makes of an item what JSON can say; by default it is that already.
        from_json: makes the item of it again.
        max_regions: catalogues kept, here and on Redis, >= 1.
        max_items: items kept of each, >= 1; those updated longest ago go.
        max_bytes: how long the JSON of a catalogue may be, >= 1: a longer one is kept in this process alone.
        max_age: seconds, > 0, for which a catalogue is served, and kept on Redis.
        refresh: seconds, > 0, between two looks for what others have stored.
        prefix: what all keys begin with.
        clock: returns monotonic seconds.

    Calls never wait for Redis, nor do they raise what comes of it: that is logged, once. The thread starts at
    once, and again in a forked child when it first uses the cache. `to_json`, `from_json` and `key` run in
    it: an item mustn't be changed after it was given.

    Safe to use from any number of threads and tasks.

    Raises:
        ConfigurationError: an argument isn't allowed.
        ImportError: redis-py isn't installed; the message says how to.
    """

    def __init__(
        self,
        client: Any,
        platform_id: str,
        *,
        key: Callable[[RawT], Hashable] | None = None,
        to_json: Callable[[RawT], Any] = _as_it_is,
        from_json: Callable[[Any], RawT] = _as_it_is,
        max_regions: int = 100,
        max_items: int = 100_000,
        max_bytes: int = 4_000_000,
        max_age: Seconds = 3600.0,
        refresh: Seconds = 30.0,
        prefix: str = PREFIX,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        seconds = check_seconds("max_age", max_age)
        super().__init__(key=key, max_regions=max_regions, max_items=max_items, max_age=seconds, clock=clock)
        check_count("max_bytes", max_bytes)
        self._to_json = to_json
        self._from_json = from_json
        self._refresh = check_seconds("refresh", refresh)
        self._wire = wire_of(client)
        self._shelf = Shelf(
            platform_id,
            prefix,
            max_regions=max_regions,
            max_bytes=max_bytes,
            max_age=seconds,
            clock=clock,
        )
        self.platform_id = platform_id
        self._changes: dict[str, Known[RawT]] = {}  # what Redis hasn't yet, by region
        self._begin()
        self._background.start()
        _caches.add(self)

    def _begin(self) -> None:
        """No thread has run yet, in this process."""
        self._background = Background(self, "circuitry-cache")
        self._wanted: set[str] = set()  # regions to look for
        self._asked: OrderedDict[str, float] = OrderedDict()  # when a region was last looked for
        self._told: set[str] = set()  # what was logged, until it is well again
        self._line: Line | None = None
        self._failures = 0
        self._next_look = 0.0
        self._next_store = NEVER
        self._is_loaded = False

    def _rearm(self) -> None:
        """A forked child has a thread and a connection of its own, from its first use on."""
        super()._rearm()
        is_closed = self._background.is_stopped
        self._hang_up()
        self._begin()
        if is_closed:
            self._background.stop()

    # -- For callers: nothing here waits for the server -------------------------------------------------

    def get_catalog(self, region: str, since: datetime) -> CachedCatalog[RawT] | None:
        """Return the region's catalogue as this process knows it, with its age, or None.

        Where it knows none, or an old one, it is looked for on Redis meanwhile, for the next who asks.
        """
        known = super().get_catalog(region, since)
        if known is None or known.age > self._refresh:
            self._want(region)
        return known

    async def update_catalog(self, region: str, data: Sequence[RawT]) -> None:
        """Take in what a good fetch brought; the others get it soon."""
        await super().update_catalog(region, data)
        self._background.poke()

    def wait_ready(self, timeout: float = 1.0) -> bool:
        """Wait until what the others have stored is known here: for short jobs, and before taking traffic.

        Args:
            timeout: seconds at most. It blocks: not for a thread with an event loop.

        Returns:
            Whether it is; False if the server can't be reached.
        """
        self._background.start()
        return self._background.wait(lambda: self._is_loaded, timeout)

    def flush(self, timeout: float = 1.0) -> bool:
        """Wait until what was fetched here is on Redis.

        Args:
            timeout: seconds at most. It blocks: not for a thread with an event loop.

        Returns:
            Whether it is.
        """
        self._next_store = 0.0
        self._background.poke()
        return self._background.wait(lambda: not self._changes, timeout)

    def close(self) -> None:
        """Store what waits, for about a second at most, and end the thread. What is known is served still."""
        self._background.stop()
        self._background.join(LAST_WORDS + COMMAND_TIMEOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> Literal[False]:
        self.close()
        return False

    def __repr__(self) -> str:
        return f"<RedisFallbackCache {self.platform_id!r}>"

    def __reduce__(self) -> str:
        raise TypeError("a RedisFallbackCache can't be pickled: make one in each process, from the same URL")

    def _take_in(self, region: str, now: float, changed: dict[Hashable, RawT]) -> None:
        waiting = self._changes.get(region)
        self._changes[region] = Known(now, self._merged(waiting.items if waiting else {}, changed))
        super()._take_in(region, now, changed)
        if self._next_store == NEVER:
            self._next_store = time.monotonic() + STORE_WITHIN

    def _forget(self, region: str) -> None:
        super()._forget(region)
        self._changes.pop(region, None)

    def _want(self, region: str) -> None:
        now = time.monotonic()
        with self._lock:
            if now - self._asked.get(region, -ASK_AGAIN) < ASK_AGAIN:
                return
            self._asked[region] = now
            self._asked.move_to_end(region)
            if len(self._asked) > self._max_regions:
                self._asked.popitem(last=False)
            self._wanted = {name for name in (*self._wanted, region) if name in self._asked}
        self._background.poke()

    # -- The thread ---------------------------------------------------------------------------------------

    def _turn(self, *, is_last: bool) -> Pause:
        try:
            if self._line is None:
                self._line = self._wire.connect()
            self._exchange(self._line, is_last)
            self._found()
            pause = min(self._next_look, self._next_store) - time.monotonic()
            return Pause(max(0.0, pause), can_be_shortened=True)
        except Exception as error:
            return Pause(self._lost(error), can_be_shortened=False)
        finally:
            if is_last:
                self._hang_up()

    def _exchange(self, line: Line, is_last: bool) -> None:
        if time.monotonic() >= self._next_look:
            self._trying(self._look, line, "")
            self._next_look = time.monotonic() + self._refresh * random.uniform(0.8, 1.2)
        changed: list[str] = []
        with self._lock:
            wanted, self._wanted = self._wanted, set[str]()
            if is_last or time.monotonic() >= self._next_store:
                changed, self._next_store = list(self._changes), NEVER
        for region in changed:
            self._trying(self._store, line, region)
        for region in wanted:
            self._trying(self._load, line, region)
        self._is_loaded = True

    def _trying(self, act: Callable[[Line, str], object], line: Line, region: str) -> None:
        """What is wrong with one catalogue, and with no other, is told of once.

        Raises:
            Exception: the server is lost.
        """
        try:
            act(line, region)
            self._told.discard(region)
        except Exception as error:
            if not isinstance(error, GarbageError) and not is_refusal(error):
                raise
            self._warn(region, describe(error))

    def _look(self, line: Line, _: str) -> None:
        """Find what is to be taken in: at first all that is there, later what is known here and aged."""
        now = self._clock()
        regions = self._shelf.regions(line)
        with self._lock:
            for region, at in regions:
                known = self._regions.get(region)
                is_aged = known is not None and known.at < at and now - known.at > self._refresh
                if is_aged or (known is None and not self._is_loaded):
                    self._wanted.add(region)

    def _store(self, line: Line, region: str) -> None:
        """Merge what was fetched here into what is there."""
        with self._lock:
            known, changes = self._regions.get(region), self._changes.get(region)
        if known is None or changes is None:
            return
        stored = self._unless_garbage(line, region)
        united = self._united(known, changes, stored)
        try:
            texts = [text_of(self._to_json(item)) for item in united.items.values()]
            is_put = self._shelf.put(line, region, Stored(united.at, texts))
        except (GarbageError, TypeError, ValueError, RecursionError) as error:
            self._settle(region, known, changes, known)  # it stays in this process
            raise GarbageError(f"a catalogue can't be stored: {describe(error)}") from error
        if is_put:
            self._settle(region, known, changes, united)
        else:
            self._next_store = 0.0  # somebody else was first: once more

    def _unless_garbage(self, line: Line, region: str) -> Known[RawT]:
        try:
            return self._taken(line, region)
        except GarbageError as error:
            self._warn(region, describe(error))
            return Known(0.0, {})

    def _united(self, known: Known[RawT], changes: Known[RawT], stored: Known[RawT]) -> Known[RawT]:
        """What is known here, there, and changed here, the newest last. Redis may have lost what is known."""
        items = self._merged(known.items, stored.items)
        if changes.at >= stored.at or not stored.items:
            return Known(changes.at, self._merged(items, changes.items))
        return Known(stored.at, items)

    def _settle(self, region: str, known: Known[RawT], changes: Known[RawT], united: Known[RawT]) -> None:
        """Redis has it; what has come since is still to be stored."""
        with self._lock:
            if self._changes.get(region) is changes:
                del self._changes[region]
            if self._regions.get(region) is known:
                self._regions[region] = united

    def _load(self, line: Line, region: str) -> None:
        """Take in what is there, if it is newer than what is known."""
        stored = self._taken(line, region)
        with self._lock:
            known = self._regions.get(region)
            if stored.items and (known is None or known.at < stored.at):
                self._keep(region, Known(stored.at, self._merged(known.items if known else {}, stored.items)))

    def _taken(self, line: Line, region: str) -> Known[RawT]:
        stored = self._shelf.take(line, region)
        if stored is None:
            return Known(0.0, {})
        try:
            items = [self._from_json(json.loads(text)) for text in stored.texts[-self._max_items :]]
            return Known(stored.at, self._by_key(items))
        except Exception as error:
            raise GarbageError(f"an item can't be read: {describe(error)}") from error

    # -- How the server is ----------------------------------------------------------------------------------

    def _found(self) -> None:
        if self._failures:
            self._failures = 0
            logger.info("redis of the catalogues of %r: found", self.platform_id)

    def _lost(self, error: Exception) -> float:
        self._failures += 1
        self._next_look = self._next_store = 0.0
        self._hang_up()
        if self._failures == 1:
            logger.warning("redis of the catalogues of %r: lost: %s", self.platform_id, describe(error))
        backoff = 0.05 * 2.0 ** min(self._failures, 10)
        return min(LONGEST_BACKOFF, backoff) * random.uniform(0.5, 1.0)

    def _hang_up(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.close()

    def _warn(self, region: str, what: str) -> None:
        if region not in self._told and len(self._told) <= self._max_regions:
            self._told.add(region)
            logger.warning("redis of the catalogues of %r: %s", self.platform_id, what)


_caches: weakref.WeakSet[RedisFallbackCache[Any]] = weakref.WeakSet()


@atexit.register
def _say_last_words() -> None:
    for cache in list(_caches):
        cache._background.stop()
    for cache in list(_caches):
        cache.close()
