"""Connections to Redis under limits of our own, whatever client they are made after.

redis-py's defaults would hang a caller: one command took 4 s on a dead server and 58 s on a hung one.
Of a client only its address and credentials are taken. Nothing is retried here, and a connection whose
reply didn't come in time is closed, since the reply may still come.
"""

from __future__ import annotations

import codecs
import functools
import selectors
import weakref
from collections.abc import Callable, Iterable
from typing import Any, Protocol, cast

from circuitry.checks import refuse
from circuitry.redis.address import fault_of, harmless

#: Seconds.
CONNECT_TIMEOUT = 1.0
COMMAND_TIMEOUT = 0.5

#: What a connection of ours takes over from a client's settings.
_TAKEN = frozenset(
    (
        "host",
        "port",
        "path",
        "db",
        "username",
        "password",
        "credential_provider",
        "client_name",
        "socket_keepalive",
        "socket_keepalive_options",
        "socket_type",
    )
)
#: Where a command has its first key; others may go to any node of a cluster.
_FIRST_KEY = {"EVALSHA": 3, "EVAL": 3, "LRANGE": 1, "PERSIST": 1}


def redis_py() -> Any:
    """The library.

    Raises:
        ImportError: it isn't installed; the message says how to.
    """
    codecs.lookup("idna")  # or the link would import it, and a child that is forked meanwhile never could
    try:
        import redis
    except ModuleNotFoundError as missing:
        raise ImportError(
            "circuitry.redis needs redis-py: pip install 'circuitry-breaker[redis]'"
        ) from missing
    return redis


def _cluster() -> Any:
    from redis import cluster

    return cluster


def _sentinel() -> Any:
    from redis import sentinel

    return sentinel


class Wire(Protocol):
    """How a store gets to its server."""

    db: int
    is_cluster: bool

    def connect(self) -> Line:
        """A new connection for commands.

        Raises:
            Exception: the server can't be reached, or doesn't let us in.
        """
        ...

    def subscribe(self, channel: str) -> Subscription:
        """A new connection that hears what is published on `channel`."""
        ...


class Line(Protocol):
    """A connection for commands."""

    def execute(self, *args: Any) -> Any:
        """One command, and its reply."""
        ...

    def watch(self) -> list[Any]:
        """Sockets on which nothing should come while no command is under way."""
        ...

    def is_broken(self) -> bool:
        """Whether the other side has gone, as far as can be told without asking."""
        ...

    def scans(self) -> list[Callable[..., Any]]:
        """SCAN, on each server that holds keys."""
        ...

    def close(self) -> None:
        """End it; may be called twice."""
        ...


class _SingleLine:
    """Commands on one connection of redis-py."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        connection.connect()

    def execute(self, *args: Any) -> Any:
        self._connection.send_command(*args)
        return self._connection.read_response()

    def watch(self) -> list[Any]:
        return [self._connection._sock]

    def is_broken(self) -> bool:
        try:
            return bool(self._connection.can_read(timeout=0))
        except (OSError, redis_py().RedisError):
            return True

    def scans(self) -> list[Callable[..., Any]]:
        return [functools.partial(self.execute, "SCAN")]

    def close(self) -> None:
        self._connection.disconnect()


class Subscription:
    """A connection that hears what is published. PING is answered on it too, in its turn."""

    def __init__(self, connection: Any, channel: str) -> None:
        self._connection = connection
        connection.connect()
        connection.send_command("SUBSCRIBE", channel)
        kind, _, _ = connection.read_response()
        if kind != b"subscribe":
            raise redis_py().ConnectionError(f"SUBSCRIBE was answered by {kind!r}")

    def ping(self) -> None:
        """Ask whether it is alive."""
        self._connection.send_command("PING")

    def read(self) -> tuple[str, bytes] | None:
        """What has come: ("message", data) or ("pong", b""); None if there is nothing more."""
        if not self._connection.can_read(timeout=0):
            return None
        kind, *rest = self._connection.read_response()
        return kind.decode(), rest[-1]

    def watch(self) -> list[Any]:
        """Sockets on which news come."""
        return [self._connection._sock]

    def close(self) -> None:
        """End it; may be called twice."""
        self._connection.disconnect()


class SingleWire:
    """One server: by an address, a path, or the master that Sentinels name."""

    is_cluster = False

    def __init__(self, kind: type, settings: dict[str, Any], find: Callable[[], Any] | None = None) -> None:
        self._kind = kind
        self._settings = {**settings, **limits()}
        self._find = find
        self.db = int(settings.get("db") or 0)

    def check(self) -> None:
        """Make a connection, and don't connect it.

        Raises:
            Exception: redis-py can't make anything of these settings.
        """
        self._kind(**self._settings)

    def connect(self) -> _SingleLine:
        """A new connection for commands."""
        return _SingleLine(self._connection())

    def subscribe(self, channel: str) -> Subscription:
        """A new connection that hears what is published on `channel`."""
        return Subscription(self._connection(), channel)

    def _connection(self) -> Any:
        if self._find is None:
            return self._kind(**self._settings)
        host, port = self._find()
        return self._kind(**self._settings, host=host, port=port)


class _ClusterLine:
    """Commands on the nodes of a Redis Cluster, each on the one that has the keys.

    The node is always named: what redis-py finds by itself it also tries again by itself.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._client = make()

    def execute(self, *args: Any) -> Any:
        place = _FIRST_KEY.get(args[0])
        client = self._client
        node = client.get_default_node() if place is None else client.get_node_from_key(str(args[place]))
        return client.execute_command(*args, target_nodes=node)

    def watch(self) -> list[Any]:
        return []

    def is_broken(self) -> bool:
        return False

    def scans(self) -> list[Callable[..., Any]]:
        clients = [self._client.get_redis_connection(node) for node in self._client.get_primaries()]
        return [functools.partial(client.execute_command, "SCAN") for client in clients]

    def connection(self) -> Any:
        """A new connection to a node."""
        pool = self._client.get_redis_connection(self._client.get_default_node()).connection_pool
        settings = _taken(pool.connection_kwargs, _TAKEN)
        return pool.connection_class(**{**settings, **limits()})

    def close(self) -> None:
        self._client.close()


class ClusterWire:
    """A Redis Cluster. What is published on one node is heard on all."""

    is_cluster = True
    db = 0

    def __init__(self, client: Any) -> None:
        nodes = client.nodes_manager.startup_nodes.values()
        self._nodes = [(node.host, node.port) for node in nodes]
        self._settings = _client_settings(client.nodes_manager.connection_kwargs)
        self._settings.pop("db", None)
        self._remap = client.nodes_manager.address_remap
        self._line: weakref.ref[_ClusterLine] | None = None

    def connect(self) -> _ClusterLine:
        """The nodes' connections for commands."""
        line = _ClusterLine(self._client)
        self._line = weakref.ref(line)
        return line

    def _client(self) -> Any:
        cluster = _cluster()
        nodes = [cluster.ClusterNode(host, port) for host, port in self._nodes]
        return cluster.RedisCluster(startup_nodes=nodes, address_remap=self._remap, **self._settings)

    def subscribe(self, channel: str) -> Subscription:
        """A new connection to a node that hears what is published on `channel`."""
        line = self._line() if self._line is not None else None
        assert line is not None, "subscribed before connected"
        return Subscription(line.connection(), channel)


def limits() -> dict[str, Any]:
    """What holds for every connection of ours."""
    return {
        "socket_timeout": COMMAND_TIMEOUT,
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "retry": _no_retry(),
        "health_check_interval": 0,
        "decode_responses": False,
        "protocol": 2,
        **_anonymity(),
    }


def _anonymity() -> dict[str, None]:
    """No CLIENT SETINFO, which the documented rights don't include: as this redis-py is told of it."""
    is_new = hasattr(redis_py(), "DriverInfo")
    return {"driver_info": None} if is_new else {"lib_name": None, "lib_version": None}


def _no_retry() -> Any:
    """How redis-py is told not to try again: a command that wasn't answered may still run."""
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return Retry(NoBackoff(), 0)


def await_news(sockets: Iterable[Any], timeout: float) -> None:
    """Return when there is something to read on one of them, or after `timeout` seconds."""
    with selectors.DefaultSelector() as selector:
        for socket in sockets:
            selector.register(socket, selectors.EVENT_READ)
        selector.select(timeout)


def wire_of(target: Any) -> Wire:
    """The way to what a URL or a client of redis-py names.

    Raises:
        ConfigurationError: it is malformed, or nothing that is known.
        ImportError: redis-py isn't installed.
    """
    redis = redis_py()
    if isinstance(target, str):
        return _by_url(redis, target)
    from redis import asyncio

    if isinstance(target, _cluster().RedisCluster):
        return ClusterWire(target)
    pool = getattr(target, "connection_pool", None)
    if isinstance(target, (redis.Redis, asyncio.Redis)) and pool is not None:
        if hasattr(pool, "sentinel_manager"):
            return _by_sentinel(redis, pool)
        return SingleWire(_kind(redis, pool.connection_class), _taken(pool.connection_kwargs, _TAKEN))
    allowed = (
        "a URL (redis://, rediss://, unix://), a redis.Redis, a redis.cluster.RedisCluster, a Sentinel's "
        "master client, or a redis.asyncio.Redis"
    )
    kind = cast("type[object]", type(target))  # not itself: its text may hold a password
    return refuse("client", kind, allowed)


def _by_url(redis: Any, url: str) -> SingleWire:
    fault = fault_of(url)
    if fault is None:
        try:
            pool = redis.ConnectionPool.from_url(url)
            wire = SingleWire(pool.connection_class, _taken(pool.connection_kwargs, _TAKEN))
            wire.check()
            return wire
        except (ValueError, TypeError, redis.RedisError):
            fault = "something in it is unknown to redis-py"
    allowed = (
        "redis://[[user]:password@]host:port/db, rediss:// likewise, or unix://path?db=0, with special "
        f"characters of a password percent-encoded; {fault}"
    )
    return refuse("url", harmless(url), allowed)  # not in redis-py's words: they show parts of it


def _by_sentinel(redis: Any, pool: Any) -> SingleWire:
    """Sentinels are asked anew at each connection, by clients of ours."""
    manager, service = pool.sentinel_manager, pool.service_name
    places = [client.connection_pool.connection_kwargs for client in manager.sentinels]
    ours = _sentinel().Sentinel(
        [(place["host"], place["port"]) for place in places],
        min_other_sentinels=manager.min_other_sentinels,
        sentinel_kwargs=_client_settings(manager.sentinel_kwargs),
    )
    settings = _taken(pool.connection_kwargs, _TAKEN - {"host", "port", "path"})
    return SingleWire(_kind(redis, pool.connection_class), settings, lambda: ours.discover_master(service))


def _kind(redis: Any, kind: type) -> type:
    """The blocking connection for the same kind of place: TCP, TLS or a socket in the file system."""
    name = kind.__name__
    if "SSL" in name:
        return cast("type", redis.SSLConnection)
    return cast("type", redis.UnixDomainSocketConnection if "Unix" in name else redis.Connection)


def _taken(settings: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """Whose connection it is, and where to; not how long it may take."""
    return {
        name: value
        for name, value in settings.items()
        if (name in names or name.startswith("ssl_")) and value is not None
    }


def _client_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """The same for clients of ours, which find out themselves where to, and are told whether by TLS."""
    taken = _taken(settings, _TAKEN - {"host", "port", "path"})
    is_tls = settings.get("ssl") or "SSL" in getattr(settings.get("connection_class"), "__name__", "")
    return {**taken, **limits(), **({"ssl": True} if is_tls else {})}
