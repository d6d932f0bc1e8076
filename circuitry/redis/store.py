"""`RedisStore`: where a fleet keeps its verdicts."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any, Literal

from circuitry.checks import check_count, check_seconds, refuse
from circuitry.config import logger
from circuitry.errors import CircuitBreakerError
from circuitry.events import Listeners, check_listener
from circuitry.forking import LockHolder, rearm_after_fork
from circuitry.judging import describe
from circuitry.redis.health import Report, StoreHealth
from circuitry.redis.keys import PREFIX, Naming
from circuitry.redis.link import Link
from circuitry.redis.script import Rules, Script
from circuitry.redis.session import CHUNK
from circuitry.redis.shared import SharedGate
from circuitry.redis.views import Transition, View, history_of, views_of
from circuitry.redis.wire import Line, Wire, wire_of

WARNING, INFO = 30, 20


class StoreUnavailableError(CircuitBreakerError):
    """The server can't be read now. Circuits go on without it."""


class RedisStore(LockHolder):
    """Shares the verdict of circuits with all processes that use the same server and prefix.

    Args:
        client: a URL (`redis://`, `rediss://`, `unix://`), a `redis.Redis` (also a Sentinel's master
            client), a `redis.cluster.RedisCluster` or a `redis.asyncio.Redis`. Only its address and
            credentials are taken: the store has connections of its own, with limits of its own.
        prefix: what all keys, and the channel, begin with.
        hash_tag: put names in braces, as a Redis Cluster needs it; with a cluster's client it is done anyway.
        quorum: so many processes must have failed for a circuit to open for all, >= 1.
        redis_timeout: seconds, > 0, that a caller waits at most for leave to probe.
        check_period: seconds, > 0, between two checks for what was missed.

    Nothing is connected here, and no server is needed: one that is away is told of by an event and a
    log line, and each circuit goes by what its own process sees. One thread, `circuitry-link`, starts when
    a circuit is first used.

    Safe to use from any number of threads and tasks, under asyncio and trio; a forked child has its own link.

    Raises:
        ConfigurationError: an argument isn't allowed.
        ImportError: redis-py isn't installed.
    """

    def __init__(
        self,
        client: Any,
        *,
        prefix: str = PREFIX,
        hash_tag: bool = False,
        quorum: int = 1,
        redis_timeout: float = 0.05,
        check_period: float = 10.0,
    ) -> None:
        super().__init__()
        check_count("quorum", quorum)
        if type(hash_tag) is not bool:
            refuse("hash_tag", hash_tag, "True or False")
        self.quorum = quorum
        self._client = client  # kept: `shared_store` tells clients apart by their identity
        self._wire: Wire = wire_of(client)
        self._listeners = Listeners()
        self._link = Link(
            self._wire,
            Naming(prefix, hash_tag),
            check_seconds("redis_timeout", redis_timeout),
            check_seconds("check_period", check_period),
            _telling(weakref.ref(self)),
        )
        weakref.finalize(self, self._link.stop).atexit = False
        rearm_after_fork(self)

    @classmethod
    def from_url(cls, url: str, **settings: Any) -> RedisStore:
        """A store by its address: `RedisStore.from_url("redis://localhost:6379/0")`.

        Raises:
            ConfigurationError: the URL is malformed, or a setting isn't allowed.
        """
        return cls(url, **settings)

    # -- Circuits ----------------------------------------------------------------------------------------

    def gate(self, breaker: Any) -> SharedGate:
        """The gate of one breaker: for `CircuitBreaker(..., store=store)`.

        Raises:
            ConfigurationError: the breaker's name can't be made into keys.
        """
        return SharedGate(self, self._link, breaker)

    def quorum_of(self, breaker: Any) -> int:
        """How many processes must have failed for this circuit to open for all."""
        own = breaker.config.quorum if breaker is not None else None
        return self.quorum if own is None else int(own)

    # -- The link ----------------------------------------------------------------------------------------

    def wait_ready(self, timeout: float = 1.0) -> bool:
        """Wait until the fleet's verdicts are known here: for short jobs, which might end before.

        Args:
            timeout: seconds at most. It blocks: not for a thread with an event loop.

        Returns:
            Whether they are; False if the server can't be reached or read, or the store is closed.
        """
        link = self._link
        link.start()
        link.wait(lambda: link.is_ready or link.is_closed, timeout)
        return link.is_ready and not link.is_closed

    def flush(self, timeout: float = 1.0) -> bool:
        """Wait until all that was said has been sent.

        Args:
            timeout: seconds at most. It blocks: not for a thread with an event loop.

        Returns:
            Whether it has.
        """
        link = self._link
        link.wait(lambda: link.is_idle or link.is_closed, timeout)
        return link.is_idle

    def close(self) -> None:
        """Send what waits, for about a second at most, and end the link. Circuits go on without it."""
        self._link.close()

    def __enter__(self) -> RedisStore:
        return self

    def __exit__(self, *details: object) -> Literal[False]:
        self.close()
        return False

    def health(self) -> StoreHealth:
        """How the link is, without asking the server."""
        return self._link.state()

    def on_event(self, listener: Callable[[Report], object]) -> Callable[[], None]:
        """Call `listener(event)` when the server is lost or found, and for what else an operator should know.

        It runs in a thread of its own, one event at a time; what it raises is logged.

        Returns:
            A function that unsubscribes it.

        Raises:
            TypeError: the listener isn't callable, or async.
        """
        check_listener(listener)

        def heard(event: Report) -> None:  # an object of its own for each subscription
            listener(event)

        def unsubscribe() -> None:
            with self._lock:
                self._listeners = self._listeners.without(heard)

        with self._lock:
            self._listeners = self._listeners.with_(heard)
        return unsubscribe

    def _tell(self, report: Report) -> None:
        level = INFO if report.kind == "found" else WARNING
        extra = {"circuit": report.name, "event": report.kind, "detail": report.detail}
        whose = f" of circuit {report.name!r}" if report.name else ""
        detail = f": {report.detail}" if report.detail else ""
        logger.log(level, "redis%s: %s%s", whose, report.kind, detail, extra=extra)
        if self._listeners:
            self._link.herald.tell(lambda: self._listeners.tell(report))

    # -- Reading: without becoming a member ------------------------------------------------------------------

    def circuits(self) -> dict[str, View]:
        """Every circuit that is kept on the server, by name. Blocks for its round trips.

        Raises:
            StoreUnavailableError: it can't be read now.
        """
        with _Reader(self) as reader:
            names = sorted(reader.names())
            return dict(zip(names, reader.peek(names), strict=True))

    def history(self, name: str) -> list[Transition]:
        """The latest transitions of a circuit, oldest first. Blocks for a round trip.

        Raises:
            StoreUnavailableError: it can't be read now.
        """
        with _Reader(self) as reader:
            return history_of(reader.execute("LRANGE", self._link.naming.keys(name).history, 0, -1))

    def __repr__(self) -> str:
        return f"<RedisStore {self._link.naming.prefix!r}: {self.health().link}>"

    def __reduce__(self) -> str:
        raise TypeError("a RedisStore can't be pickled: make one in each process, from the same URL")


class _Reader:
    """A connection for one look at the server."""

    def __init__(self, store: RedisStore) -> None:
        self._wire = store._wire
        self._naming = store._link.naming
        self._script = Script(self._naming, "onlooker", store._wire.db)
        self._line: Line  # while it is entered

    def __enter__(self) -> _Reader:
        self._line = self._trying(self._wire.connect)
        return self

    def __exit__(self, *details: object) -> None:
        self._line.close()

    def execute(self, *args: Any) -> Any:
        """One command.

        Raises:
            StoreUnavailableError: it couldn't be carried out.
        """
        return self._trying(self._line.execute, *args)

    def names(self) -> Iterator[str]:
        """The circuits that have a state on the server."""
        for key in self._trying(self._scan):
            try:
                name = self._naming.name_of(key.decode()) or ""
                self._naming.keys(name)
            except ValueError:
                continue  # a key of somebody else's: no circuit can have this name
            yield name

    def _scan(self) -> set[bytes]:
        found: set[bytes] = set()
        for scan in self._line.scans():
            cursor = None
            while cursor != 0:
                reply, keys = scan(cursor or 0, "MATCH", self._naming.pattern, "COUNT", 500)
                cursor = int(reply)
                found.update(keys)
        return found

    def peek(self, names: list[str]) -> Iterator[View]:
        """Where these circuits stand."""
        rules = Rules(1, 1, 1, 1, 1, 1)  # of no account for who only looks
        size = 1 if self._wire.is_cluster else CHUNK
        for start in range(0, len(names), size):
            subjects = [self._script.subject(name, rules) for name in names[start : start + size]]
            reply = self._script.run(self.execute, self._script.peek(*subjects))
            yield from self._trying(views_of, reply)

    def _trying(self, act: Callable[..., Any], *args: Any) -> Any:
        try:
            return act(*args)
        except Exception as error:
            raise StoreUnavailableError(f"redis can't be read now: {describe(error)}") from error


def _telling(store: weakref.ref[RedisStore]) -> Callable[[Report], None]:
    """For the link, which must not keep its store alive: it ends when the store is dropped."""

    def tell(report: Report) -> None:
        alive = store()
        if alive is not None:
            alive._tell(report)

    return tell


class _Stores(LockHolder):
    """The stores that somebody has, by what they were made from."""

    def __init__(self) -> None:
        super().__init__()
        self._known: weakref.WeakValueDictionary[object, RedisStore] = weakref.WeakValueDictionary()
        rearm_after_fork(self)

    def of(self, target: Any) -> RedisStore:
        key: object = target if isinstance(target, str) else id(target)
        with self._lock:
            store = self._known.get(key)
            if store is None or store._link.is_closed:
                store = self._known[key] = RedisStore(target)
            return store


_stores = _Stores()


def shared_store(target: Any) -> RedisStore:
    """The store for this URL or client: the same one whenever it is asked for, while somebody has it.

    Raises:
        ConfigurationError: the target isn't allowed.
        ImportError: redis-py isn't installed.
    """
    return target if isinstance(target, RedisStore) else _stores.of(target)
