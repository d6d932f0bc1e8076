"""Wrong addresses and settings: what is malformed is refused at once, and no message shows a password."""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
import threading

import pytest

from circuitry import CircuitBreaker, CircuitBreakerError, ConfigurationError
from circuitry.redis import RedisStore

from .servers import free_port, needed, on_one_server
from .store_tools import Process, eventually, new_prefix

redis = needed("redis")

SECRET = "hunter2"


# -- Malformed -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "begins otherwise"),
        ("localhost:6379", "begins otherwise"),
        ("http://localhost", "begins otherwise"),
        (f"http://:{SECRET}@localhost", "begins otherwise"),
        (f"user:{SECRET}@localhost", "begins otherwise"),
        ("redis:/localhost", "begins otherwise"),
        ("redis://localhost:port", "port"),
        ("redis://localhost:99999", "port"),
        (f"redis://:{SECRET}", "port"),
        (f"redis://:{SECRET}/x@localhost:6379", "port"),
        (f"redis://:{SECRET}#x@localhost:6379", "port"),
        (f"redis://:x/{SECRET}@localhost:6379", "port"),
        ("redis://[::1", "host"),
        ("redis://localhost/first", "database"),
        ("redis://localhost/1/2", "database"),
        ("redis://localhost/-1", "database"),
        (f"redis://:{SECRET}@localhost/first", "database"),
        ("redis://localhost?db=first", "database"),
        (f"redis://localhost/x?password={SECRET}", "database"),
        (f"redis://localhost/x?password=@{SECRET}", "database"),
        (f"redis://localhost?socket_timeout={SECRET}", "unknown to redis-py"),
        (f"rediss://localhost?ssl_cert_reqs={SECRET}", "unknown to redis-py"),
        ("unix://", "no path"),
    ],
)
def test_a_malformed_url_is_refused_at_construction(url, why):
    """The message says what is wrong, and neither it nor what led to it shows a password."""
    with pytest.raises(ConfigurationError, match=why) as caught:
        RedisStore.from_url(url)
    chain = caught.value, caught.value.__cause__, caught.value.__context__
    assert SECRET not in " ".join(map(repr, chain))
    assert "redis://" in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "redis://localhost/",
        "redis://localhost/0/",
        "rediss://u:p@h:1/2",
        "unix:///s?db=2",
        "redis://[::1]:1",
    ],
)
def test_what_redis_py_takes_is_taken(url):
    """Nothing is connected, so nothing else can be wrong."""
    RedisStore.from_url(url).close()


@pytest.mark.parametrize("shown", ["localhost:6379", "redis://localhost/first", "http://my-host.org:80/x"])
def test_a_url_without_a_password_is_shown(shown):
    """So that the mistake can be seen."""
    with pytest.raises(ConfigurationError, match=shown):
        RedisStore(shown)


def test_a_client_that_is_none_is_refused_by_its_type():
    """Its text might hold a password."""
    pool = redis.ConnectionPool(password=SECRET)
    settings = {"host": "localhost", "password": SECRET}
    for client in (
        None,
        5,
        b"redis://:hunter2@localhost",
        pool,
        settings,
        redis.asyncio.cluster.RedisCluster,
    ):
        with pytest.raises(ConfigurationError, match="a URL") as caught:
            RedisStore(client)
        assert SECRET not in repr(caught.value)
        assert type(client).__name__ in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("prefix", ""),
        ("prefix", "a\n"),
        ("prefix", 5),
        ("hash_tag", "yes"),
        ("quorum", 0),
        ("quorum", True),
        ("redis_timeout", 0),
        ("redis_timeout", float("nan")),
        ("check_period", -1),
        ("check_period", "10"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(setting, value):
    """By its name, its value and what is allowed."""
    with pytest.raises(ConfigurationError, match=setting):
        RedisStore("redis://localhost", **{setting: value})


def test_names_that_cannot_be_keys_are_refused_when_the_breaker_is_made():
    """Not when it first fails."""
    with (
        RedisStore("redis://localhost", hash_tag=True) as store,
        pytest.raises(ConfigurationError, match="name"),
    ):
        CircuitBreaker("}x", store=store)


def test_without_redis_py_it_says_what_installs_it(monkeypatch):
    """The store is there, and its error names the extra."""
    monkeypatch.setitem(sys.modules, "redis", None)
    for ask in (RedisStore, RedisStore.from_url, lambda url: CircuitBreaker.with_redis("netflix", None, url)):
        with pytest.raises(ImportError, match=r"pip install 'circuitry-breaker\[redis\]'"):
            ask("redis://localhost")


# -- Out of reach ----------------------------------------------------------------------------------------


def check_that_it_is_an_event_and_local(target, caplog, says):
    """One event, one line, and a circuit that trips by itself; the store can't be read."""
    caplog.set_level(logging.DEBUG)
    process = Process(target, new_prefix())
    try:
        eventually(lambda: process.kinds == ["lost"])
        process.fail(20)
        assert process.state == "open"
        assert not process.store.wait_ready(0.2)
        assert not process.store.flush(0.05)
        with pytest.raises(CircuitBreakerError, match="redis can't be read now"):
            process.store.circuits()
        health = process.store.health()
        assert (health.link, health.subscription, health.round_trip) == ("down", False, None)
        assert says in health.error
        assert process.kinds == ["lost"]
        warnings = [record for record in caplog.records if record.getMessage().startswith("redis")]
        assert [record.levelno for record in warnings] == [logging.WARNING]
        assert SECRET not in caplog.text + repr(process.events) + repr(health) + repr(process.store)
    finally:
        process.store.close()


def test_a_closed_port_is_an_event(caplog):
    """Nobody listens there."""
    check_that_it_is_an_event_and_local(f"redis://:{SECRET}@127.0.0.1:{free_port()}", caplog, "refused")


def test_a_host_that_does_not_exist_is_an_event(caplog):
    """Its name is in the message."""
    check_that_it_is_an_event_and_local(
        f"redis://:{SECRET}@no-such-host.invalid", caplog, "no-such-host.invalid"
    )


def test_a_socket_that_does_not_exist_is_an_event(caplog, tmp_path):
    """Its path is in the message."""
    check_that_it_is_an_event_and_local(f"unix://{tmp_path}/none", caplog, "none")


@on_one_server
@pytest.mark.parametrize("given", ["", f":{SECRET}@", f"somebody:{SECRET}@"])
def test_a_wrong_password_is_an_event(our_server, start_server, caplog, given):
    """And so is none, where one is needed."""
    server = start_server(our_server.kind, "--requirepass", "right")
    says = "uthenti" if not given else "invalid username-password"
    check_that_it_is_an_event_and_local(server.url().replace("//", f"//{given}"), caplog, says)


@on_one_server
def test_a_database_that_does_not_exist_is_an_event(our_server, caplog):
    """The server has 16."""
    check_that_it_is_an_event_and_local(our_server.url(99), caplog, "DB index")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", "InvalidResponse"),
        (b"", "Timeout"),
        (None, "ConnectionError"),
        (b"-ERR unknown command\r\n", "unknown command"),
    ],
)
def test_a_server_that_is_not_redis_is_an_event(caplog, answer, says):
    """Whatever it says, or if it says nothing, or hangs up."""
    with answering(answer) as port:
        check_that_it_is_an_event_and_local(f"redis://127.0.0.1:{port}", caplog, says)


@contextlib.contextmanager
def answering(answer):
    """A plain TCP server that gives this answer to all that comes: its port. None hangs up."""
    connections = []

    def serve(listener):
        with contextlib.suppress(OSError):
            while True:
                connections.append(listener.accept()[0])
                threading.Thread(target=talk, args=(connections[-1],), daemon=True).start()

    def talk(connection):
        with connection, contextlib.suppress(OSError):
            while answer is not None and connection.recv(4096):
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)
    for connection in connections:
        connection.close()


@on_one_server
def test_a_server_without_scripts_is_told_of_once(our_server, start_server, caplog):
    """As a server too old would be: the link is up, and each circuit is local."""
    server = start_server(our_server.kind, "--rename-command", "EVAL", "", "--rename-command", "EVALSHA", "")
    process = Process(server.url(), new_prefix(), check_period=0.1)
    try:
        eventually(lambda: "refused" in process.kinds)
        process.fail(20)
        assert process.state == "open"
        assert not process.store.wait_ready(0.3)
        assert process.store.health().link == "up"
        assert len(process.kinds) <= 2
        assert "unknown command" in process.events[0].detail
    finally:
        process.store.close()
