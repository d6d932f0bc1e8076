"""Where a fleet's catalogues lie on Redis, and how they are read and written there.

Two kinds of keys, all of a platform in one slot of a Redis Cluster:

- `catalog:{netflix}:US`, a hash: `items`, a JSON array with a line for each item; `at`, when the catalogue
  was as the platform has it, in unix seconds of the server's clock; `revision`, another one at each writing;
- `catalog:{netflix}`, a sorted set: region -> `at`.

What lies there may have been put there by anybody: it is read as JSON, never unpickled, never more than
`max_bytes` of it, and what isn't of this form is said to be garbage.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from circuitry.checks import check_name, refuse
from circuitry.redis.wire import Line

PREFIX = "catalog:"

#: What a process with such a cache may do, as `ACL SETUSER` takes it; on top of `circuitry.redis`'s own.
CACHE_RIGHTS = (
    "~{prefix}* +eval +time +type +hget +hmget +hstrlen +hset +del +pexpire +zadd +zrevrange +zremrangebyrank"
)

AHEAD = 60.0  # seconds that a stored time may lie ahead of the server's clock, after a failover

# Redis 6.2 and newer. Every reply begins with the server's time.
_INDEX = """
local now, kind = redis.call('TIME'), redis.call('TYPE', KEYS[1]).ok
if kind ~= 'zset' then return {now[1], now[2], kind} end
return {now[1], now[2], kind, redis.call('ZREVRANGE', KEYS[1], 0, ARGV[1] - 1, 'WITHSCORES')}
"""
_TAKE = """
local now, kind = redis.call('TIME'), redis.call('TYPE', KEYS[1]).ok
if kind ~= 'hash' then return {now[1], now[2], kind} end
local size = redis.call('HSTRLEN', KEYS[1], 'items')
local fields = redis.call('HMGET', KEYS[1], 'revision', 'at')
local items = size <= tonumber(ARGV[1]) and redis.call('HGET', KEYS[1], 'items')
return {now[1], now[2], kind, fields[1] or '', fields[2] or '', items or '', size}
"""
# What stands there is replaced if it is what the writer has seen. Nothing is deleted before it is written:
# a server without memory denies the one and not the other.
_PUT = """
local kind = redis.call('TYPE', KEYS[1]).ok
local stands = kind == 'hash' and redis.call('HGET', KEYS[1], 'revision') or ''
if stands ~= ARGV[1] then return 0 end
if kind ~= 'hash' then redis.call('DEL', KEYS[1]) end
redis.call('HSET', KEYS[1], 'revision', ARGV[2], 'at', ARGV[3], 'items', ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
if redis.call('TYPE', KEYS[2]).ok ~= 'zset' then redis.call('DEL', KEYS[2]) end
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[6])
redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -1 - ARGV[7])
redis.call('PEXPIRE', KEYS[2], ARGV[5])
return 1
"""


class GarbageError(ValueError):
    """What lies under a key isn't what belongs there; the text says what it is."""


class Stored(NamedTuple):
    """A catalogue as it lies on Redis: the JSON texts of its items, and its moment on our clock."""

    at: float
    texts: Sequence[bytes]


class Shelf:
    """One platform's catalogues on Redis. For one thread.

    Args:
        platform_id: whose catalogues.
        prefix: what all keys begin with.
        max_regions: how many catalogues the fleet keeps; those stored longest ago are forgotten.
        max_bytes: how long the text of a catalogue may be.
        max_age: seconds that a catalogue is kept.
        clock: our clock, in seconds.

    Raises:
        ConfigurationError: the platform's name or the prefix isn't allowed.
    """

    def __init__(
        self,
        platform_id: str,
        prefix: str,
        *,
        max_regions: int,
        max_bytes: int,
        max_age: float,
        clock: Callable[[], float],
    ) -> None:
        if check_name(platform_id).startswith("}"):
            refuse("platform_id", platform_id, "a text that doesn't start with '}', for it is put in braces")
        _check_prefix(prefix)
        self._index = f"{prefix}{{{platform_id}}}"
        self._max_regions = max_regions
        self._max_bytes = max_bytes
        self._keep_ms = math.ceil(min(max_age, 1e9) * 1000)
        self._clock = clock
        self._ahead = (0.0, 0.0)  # by how much the server's clock is ahead of ours: at most, and at least
        self._revisions: dict[str, bytes] = {}  # of what was last taken

    def key(self, region: str) -> str:
        """The key of a region's catalogue."""
        return f"{self._index}:{region}"

    def regions(self, line: Line) -> list[tuple[str, float]]:
        """Whose catalogues are there, the newest first, each with its moment on our clock.

        Raises:
            GarbageError: the key holds something else.
        """
        kind, *rest = self._eval(line, _INDEX, [self._index], self._max_regions)
        if kind == b"none":
            return []
        if kind != b"zset":
            raise GarbageError(f"{self._index!r} is a {kind.decode()}")
        flat: list[bytes] = rest[0]
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return [(region.decode(errors="replace"), self._moment(at)) for region, at in pairs]

    def take(self, line: Line, region: str) -> Stored | None:
        """What is there of a region; None if nothing is.

        Raises:
            GarbageError: the key holds something else. A `put` then takes its place.
        """
        self._revisions[region] = b""
        kind, *fields = self._eval(line, _TAKE, [self.key(region)], self._max_bytes)
        if kind == b"none":
            return None
        if kind != b"hash":
            raise GarbageError(f"{self.key(region)!r} is a {kind.decode()}")
        self._revisions[region], at, items, size = fields
        if size > self._max_bytes:
            raise GarbageError(f"{self.key(region)!r} is {size} bytes long, more than {self._max_bytes}")
        return Stored(self._moment(at), _lines(items, self.key(region)))

    def put(self, line: Line, region: str, stored: Stored) -> bool:
        """Put a catalogue in the place of what was last taken; False if somebody else has done so since.

        Raises:
            GarbageError: it is longer than it may be.
        """
        items = b"[\n" + b",\n".join(stored.texts) + b"\n]"
        if len(items) > self._max_bytes:
            raise GarbageError(f"{self.key(region)!r} would be {len(items)} bytes long")
        seen, at = self._revisions.pop(region), f"{stored.at + self._ahead[1]:.6f}"
        argv = (seen, uuid.uuid4().hex, at, items, self._keep_ms, region, self._max_regions)
        keys = (self.key(region), self._index)
        return bool(line.execute("EVAL", _PUT, len(keys), *keys, *argv))

    def _eval(self, line: Line, script: str, keys: Iterable[str], *argv: object) -> list[Any]:
        """A script's reply without the time that it begins with, which is noted."""
        sent = self._clock()
        reply: list[Any] = line.execute("EVAL", script, 1, *keys, *argv)
        server = int(reply[0]) + int(reply[1]) / 1e6
        self._ahead = server - sent, server - self._clock()
        return reply[2:]

    def _moment(self, at: bytes) -> float:
        """A time of the server's on our clock: rather too early, so that nothing seems younger than it is."""
        ahead = self._ahead[0]
        try:
            moment = float(at) - ahead
        except ValueError:
            moment = math.nan
        now = self._clock()
        if not -math.inf < moment <= now + AHEAD:
            raise GarbageError(f"{self._index!r}: {at[:40]!r} is no time")
        return min(moment, now)


def _check_prefix(prefix: object) -> None:
    if not isinstance(prefix, str) or not prefix or set(prefix) & set("{}"):
        refuse("prefix", prefix, "a text that isn't empty and has no braces")


def _lines(items: bytes, key: str) -> list[bytes]:
    """The JSON texts in an array as `put` writes it."""
    first, *lines = items.split(b"\n")
    if first != b"[" or not lines or lines.pop() != b"]":
        raise GarbageError(f"{key!r} holds no catalogue")
    return [line.removesuffix(b",") for line in lines if line]


def text_of(item: Any) -> bytes:
    """What JSON makes of an item: one line.

    Raises:
        TypeError, ValueError: JSON can't.
    """
    return json.dumps(item, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
