"""The server is there, and refuses, is busy, or holds what can't be read: no call waits for it."""

from __future__ import annotations

import contextlib
import logging
import threading
import time

import pytest

from .servers import needed, on_one_server
from .store_tools import (
    AT_ONCE,
    QUICK,
    Process,
    check_that_loss_and_return_are_told_once,
    eventually,
    is_down,
    lines,
    longest_call,
    new_prefix,
    processes,
    see_each_other,
    share_a_verdict,
)

redis = needed("redis")


@pytest.fixture(autouse=True)
def _logged(caplog):
    caplog.set_level(logging.INFO, "circuitry")


def test_a_server_out_of_memory_is_told_of_once_and_local_circuits_trip(our_server, start_server, caplog):
    """The link stays up, since reading still works; an order is given when there is memory again."""
    server = start_server(our_server.kind)
    with redis.Redis.from_url(server.url()) as client, processes(2, server.url(), **QUICK) as (a, b):
        client.config_set("maxmemory", 1)
        assert longest_call(a, lambda: time.sleep(0.3), fails=True) < AT_ONCE
        assert (a.state, b.state) == ("open", "closed")
        eventually(lambda: a.kinds == ["refused"])
        assert len(lines(caplog, logging.WARNING)) == 1
        assert "netflix" in lines(caplog, logging.WARNING)[0]
        assert a.store.health().link == "up"
        b.breaker.force_open()
        assert not b.store.flush(0.3)
        assert (b.state, b.store.health().queued) == ("forced_open", 1)
        client.config_set("maxmemory", 0)
        eventually(lambda: a.state == "forced_open")
        assert b.store.flush(5)
        assert (a.kinds, b.kinds) == (["refused"], ["refused"])


@on_one_server
def test_a_lease_that_cannot_be_renewed_for_lack_of_memory_is_not_asked_for_without_a_pause(
    our_server, start_server
):
    """A refusal is no reason to hurry: the next try is a third of a lease later."""
    server = start_server(our_server.kind)
    with redis.Redis.from_url(server.url()) as client, processes(1, server.url()) as (a,):
        a.breaker._configure(a.breaker.config.replace(probe_timeout=2.0))
        a.fail()
        eventually(lambda: a.store.circuits()["netflix"].state == "open")
        time.sleep(0.35)
        permit = a.breaker.acquire()
        client.config_set("maxmemory", 1)
        client.config_resetstat()
        eventually(lambda: a.kinds == ["refused"])
        time.sleep(0.3)
        assert client.info("commandstats")["cmdstat_evalsha"]["calls"] <= 3
        client.config_set("maxmemory", 0)
        permit.success()
        eventually(lambda: a.store.circuits()["netflix"].state == "closed")


def test_a_server_that_became_a_replica_is_lost_once_until_it_takes_writes(our_server, start_server, caplog):
    """It isn't found again and lost again with each call, though it answers."""
    server = start_server(our_server.kind)
    with redis.Redis.from_url(server.url()) as client, processes(2, server.url()) as (a, b):
        client.replicaof("127.0.0.1", "1")
        assert longest_call(a, lambda: time.sleep(0.4), fails=True) < AT_ONCE
        assert a.state == "open"
        eventually(lambda: a.kinds == ["lost"])
        assert "read only" in a.store.health().error
        assert len(lines(caplog, logging.WARNING)) == 1
        assert a.store.health().link == "down"
        client.replicaof("NO", "ONE")
        eventually(lambda: a.kinds == ["lost", "found"])
        see_each_other(a, b)


def test_a_server_that_lost_its_scripts_is_given_them_without_a_word(our_server, connect):
    """NOSCRIPT is no news."""
    with processes(2, our_server.url()) as (a, b):
        connect().script_flush()
        share_a_verdict(a, b)
        assert a.kinds == b.kinds == []


def test_a_key_of_another_type_gives_no_verdict_and_is_told_of_once(our_server, connect, caplog):
    """The circuit is local meanwhile; the other circuits are shared as before."""
    prefix = new_prefix()
    client = connect()
    with processes(2, our_server.url(), prefix, **QUICK) as (a, b):
        with Process(our_server.url(), prefix, name="other", **QUICK).store as odd:
            assert odd.wait_ready(5)
            client.delete(f"{prefix}netflix:meta")
            client.lpush(f"{prefix}netflix:meta", "mine")
            eventually(lambda: "unreadable" in a.kinds)
            assert longest_call(a, lambda: time.sleep(0.3), fails=True) < AT_ONCE
            assert (a.state, b.state) == ("open", "closed")
            assert sorted(set(a.kinds)) == ["refused", "unreadable"]
            assert len(a.kinds) == 2
            assert "WRONGTYPE" in a.events[0].detail
            assert odd.circuits()["other"].verdict == "view"
            assert client.lrange(f"{prefix}netflix:meta", 0, -1) == [b"mine"]
        client.delete(f"{prefix}netflix:meta")
        see_each_other(a, b)


@on_one_server
def test_garbage_under_the_keys_heals(our_server, connect):
    """What nobody can read is replaced by what is true."""
    prefix = new_prefix()
    client = connect()
    with processes(2, our_server.url(), prefix, **QUICK) as (a, b):
        client.set(f"{prefix}netflix:state", "\x00\xff")
        client.set(f"{prefix}netflix:failures", "many")
        client.hset(f"{prefix}netflix:meta", "version", "soon")
        client.publish(f"{prefix}events:0", "\x00 nonsense")
        client.publish(f"{prefix}events:0", '[1, "netflix"]')
        eventually(lambda: client.get(f"{prefix}netflix:state") == b"closed")
        see_each_other(a, b)
        assert a.kinds == b.kinds == []


def test_a_busy_server_is_away_until_its_script_ends(our_server, start_server, caplog):
    """Somebody's endless script blocks it: it says BUSY."""
    server = start_server(our_server.kind, "--lua-time-limit", "20")
    with redis.Redis.from_url(server.url()) as client, processes(1, server.url(), **QUICK) as (a,):
        run = threading.Thread(target=run_for_ever, args=(server.url(),))
        run.start()
        assert longest_call(a, lambda: eventually(lambda: is_down(a)), fails=True) < AT_ONCE
        assert a.state == "open"
        eventually(lambda: "BUSY" in a.store.health().error or "running" in a.store.health().error)
        client.script_kill()
        run.join()
        eventually(lambda: a.kinds == ["lost", "found"])
        check_that_loss_and_return_are_told_once(a, caplog)


def run_for_ever(url):
    with redis.Redis.from_url(url, socket_timeout=None) as client, contextlib.suppress(redis.ResponseError):
        client.eval("while true do end", 0)


@on_one_server
def test_a_server_that_is_loading_is_away(our_server, start_server, tmp_path):
    """It answers each command by LOADING until it has read its file."""
    server = start_server(
        our_server.kind, "--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024"
    )
    with redis.Redis.from_url(server.url()) as client:
        client.mset({f"key:{number}": "x" * 10 for number in range(400)})
        client.save()
    server.stop()
    server._launch(server.port)
    a = Process(server.url(), new_prefix())
    try:
        eventually(lambda: "oading" in (a.store.health().error or ""))
        a.fail()
        assert a.state == "open"
        assert a.store.wait_ready(10)
        assert a.kinds == ["lost", "found"]
    finally:
        a.store.close()


# -- Others in the fleet ---------------------------------------------------------------------------------


@on_one_server
def test_a_newer_protocol_gives_no_verdict_and_is_told_of_once(our_server, connect, caplog):
    """Its keys are left alone, and the circuit is local."""
    prefix = new_prefix()
    client = connect()
    with processes(1, our_server.url(), prefix, **QUICK) as (a,):
        client.hset(f"{prefix}netflix:meta", "protocol", "2")
        eventually(lambda: a.kinds == ["newer_protocol"])
        assert longest_call(a, lambda: time.sleep(0.3), fails=True) < AT_ONCE
        assert a.state == "open"
        assert a.kinds == ["newer_protocol"]
        assert a.events[0].name == "netflix"
        assert len(lines(caplog, logging.WARNING)) == 1
        assert client.get(f"{prefix}netflix:state") == b"closed"
        assert a.store.health().link == "up"
        client.delete(f"{prefix}netflix:meta")
        a.breaker.reset()
        a.fail()
        eventually(lambda: client.get(f"{prefix}netflix:state") == b"open")


@on_one_server
def test_settings_that_differ_are_told_of_and_each_keeps_its_own(our_server):
    """As in the middle of a deployment."""
    prefix = new_prefix()
    url = our_server.url()
    with processes(1, url, prefix) as (a,), processes(1, url, prefix, failure_threshold=7) as (b,):
        eventually(lambda: "settings_differ" in a.kinds + b.kinds)
        told = next(event for event in a.events + b.events if event.kind == "settings_differ")
        assert told.name == "netflix"
        assert "3/1/300/1" in told.detail
        assert "7/1/300/1" in told.detail or a.events == []
        assert (a.breaker.config.failure_threshold, b.breaker.config.failure_threshold) == (3, 7)
        b.fail(3)
        assert b.store.flush(5)
        assert b.state == a.state == "closed"
        b.breaker.acquire().success()
        a.fail(3)
        eventually(lambda: b.state == "open")
