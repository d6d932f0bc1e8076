"""The server is frozen, killed, empty, full, read-only or busy: no call waits, and all agree afterwards."""

from __future__ import annotations

import contextlib
import logging
import threading
import time

import pytest

from circuitry.redis.script import MEMBER_RIGHTS
from circuitry.redis.wire import Subscription

from .servers import needed, on_one_server
from .store_tools import Process, eventually, longest_call, new_prefix, processes, share_a_verdict

redis = needed("redis")

#: Seconds: far below the 0.5 s that a command may take, far above what a busy machine adds to a call.
AT_ONCE = 0.25
QUICK = {"check_period": 0.2}


def lines(caplog, level):
    """What was logged of Redis on this level."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno == level and record.getMessage().startswith("redis")
    ]


@pytest.fixture(autouse=True)
def _logged(caplog):
    caplog.set_level(logging.INFO, "circuitry")


def see_each_other(a, b):
    """After return both go by one verdict again, whatever they did meanwhile."""
    eventually(lambda: a.store.health().link == b.store.health().link == "up")
    assert a.store.wait_ready(5)
    assert b.store.wait_ready(5)
    a.breaker.reset()
    assert a.store.flush(5)
    eventually(lambda: a.state == b.state == "closed")
    eventually(lambda: a.breaker._gate.version == b.breaker._gate.version)
    share_a_verdict(b, a)


def check_that_loss_and_return_are_told_once(process, caplog, number=1):
    """One WARNING and one event when it goes, one INFO and one event when it comes back."""
    assert process.kinds == ["lost", "found"]
    assert len([line for line in lines(caplog, logging.WARNING) if "lost" in line]) == number
    assert len([line for line in lines(caplog, logging.INFO) if "found" in line]) == number


def is_down(*given):
    return all(process.store.health().link == "down" for process in given)


# -- Gone --------------------------------------------------------------------------------------------------


@on_one_server
def test_a_frozen_server_holds_up_no_call_and_no_circuit(our_server, start_server, caplog):
    """It keeps its connections and answers nothing: the link finds out by its own PONG deadline."""
    server = start_server(our_server.kind)
    with processes(2, server.url(), **QUICK) as (a, b):
        server.freeze()
        took = longest_call(a, lambda: eventually(lambda: is_down(a, b)))
        assert took < AT_ONCE
        before = time.perf_counter()
        a.fail()
        assert time.perf_counter() - before < AT_ONCE
        assert (a.state, b.state) == ("open", "closed")
        health = a.store.health()
        assert (health.link, health.subscription) == ("down", False)
        assert "Timeout" in health.error
        assert time.time() - health.last_contact < 10
        server.thaw()
        see_each_other(a, b)
        assert a.store.health().error is None
        check_that_loss_and_return_are_told_once(a, caplog, number=2)


@on_one_server
def test_failing_calls_on_a_frozen_server_do_not_wait_and_are_not_told_later(our_server, start_server):
    """What couldn't be said within a second is dropped: the fleet doesn't trip for it."""
    server = start_server(our_server.kind)
    with processes(2, server.url(), failure_threshold=1000, check_period=60) as (a, b):
        server.freeze()
        took = longest_call(a, lambda: eventually(lambda: is_down(a)), fails=True)
        assert took < AT_ONCE
        a.fail(2000)
        assert a.state == "open"
        time.sleep(1.1)
        server.thaw()
        eventually(lambda: a.store.health().link == "up")
        assert a.store.wait_ready(5)
        assert (b.state, b.store.circuits()["netflix"].failures) == ("closed", 0)
        assert a.state == "open"


@on_one_server
def test_a_fleet_probe_waits_for_a_frozen_server_no_longer_than_its_patience(our_server, start_server):
    """Half-open is the one state in which a call asks, for `redis_timeout` at most."""
    server = start_server(our_server.kind)
    with processes(1, server.url(), check_period=60, redis_timeout=0.05) as (a,):
        a.fail()
        assert a.store.flush(5)
        time.sleep(0.35)
        server.freeze()
        took = longest_call(a, lambda: eventually(lambda: is_down(a)))
        assert took < AT_ONCE
        eventually(lambda: a.breaker.acquire().success() or a.state == "closed")


@on_one_server
def test_a_server_killed_and_back_empty_closes_nothing_that_tripped(our_server, start_server, caplog):
    """Nothing has to be moved when it goes or comes: each process stood where the fleet stood."""
    server = start_server(our_server.kind)
    with processes(2, server.url(), timeout_duration=60.0) as (a, b):
        server.stop()
        assert longest_call(a, lambda: eventually(lambda: is_down(a, b))) < AT_ONCE
        a.fail()
        server.start()
        eventually(lambda: a.store.health().link == b.store.health().link == "up")
        assert a.store.wait_ready(5)
        assert (a.state, b.state) == ("open", "closed")
    check_that_loss_and_return_are_told_once(a, caplog, number=2)


@on_one_server
def test_members_agree_after_a_restart(our_server, start_server):
    """Versions grow across an empty server, so what is said after it is news to all."""
    server = start_server(our_server.kind)
    with processes(2, server.url()) as (a, b):
        share_a_verdict(a, b)
        version = a.breaker._gate.version
        server.restart()
        eventually(lambda: a.kinds == ["lost", "found"] == b.kinds)
        see_each_other(a, b)
        assert a.breaker._gate.version > version


@on_one_server
def test_a_server_that_comes_later_is_found(our_server, start_server, caplog):
    """A store needs no server to begin with."""
    server = start_server(our_server.kind)
    server.stop()
    a = Process(server.url(), new_prefix())
    try:
        eventually(lambda: a.kinds == ["lost"])
        assert not a.store.wait_ready(0.05)
        a.fail()
        assert a.state == "open"
        server.start()
        assert a.store.wait_ready(5)
        check_that_loss_and_return_are_told_once(a, caplog)
    finally:
        a.store.close()


# -- Connections -------------------------------------------------------------------------------------------


def kill(client, kind, name):
    """Close the connections of one kind; names tell them from other tests'."""
    ids = [one["id"] for one in client.client_list(_type=kind) if one["name"] == name]
    for one in ids:
        client.client_kill_filter(_id=one)
    return len(ids)


@on_one_server
def test_a_killed_command_connection_is_made_anew(our_server, connect, caplog):
    """It is noticed at once, without a command, and told of as a loss and a return."""
    client = connect()
    name = new_prefix().strip(":")
    with redis.Redis.from_url(our_server.url(), client_name=name) as ours, processes(1, ours) as (a,):
        assert kill(client, "normal", name) == 1
        eventually(lambda: a.kinds == ["lost", "found"])
        check_that_loss_and_return_are_told_once(a, caplog)
        assert a.store.health().link == "up"


@on_one_server
def test_a_lease_is_renewed_after_a_loss_too(our_server, connect):
    """The probe still runs, so its slot isn't anybody else's."""
    name = new_prefix().strip(":")
    with (
        redis.Redis.from_url(our_server.url(), client_name=name) as ours,
        processes(1, ours, probe_timeout=1.5) as (a,),
    ):
        a.fail()
        assert a.store.flush(5)
        time.sleep(0.35)
        permit, begun = a.breaker.acquire(), time.monotonic()
        assert a.store.circuits()["netflix"].live_probes == 1
        kill(connect(), "normal", name)
        eventually(lambda: a.kinds == ["lost", "found"])
        time.sleep(max(0.0, begun + 1.7 - time.monotonic()))
        assert a.store.circuits()["netflix"].live_probes == 1
        permit.success()


@on_one_server
def test_a_killed_subscription_is_made_anew_without_a_word(our_server, connect, monkeypatch):
    """Losing it alone isn't losing the server, and what was missed is asked for."""
    monkeypatch.setattr("circuitry.redis.session.POLL_PERIOD", 0.05)
    client = connect()
    name = new_prefix().strip(":")
    with (
        redis.Redis.from_url(our_server.url(), client_name=name) as ours,
        processes(2, ours, check_period=60) as (a, b),
    ):
        time.sleep(0.1)
        assert kill(client, "pubsub", name) == 2
        eventually(lambda: len(client.client_list(_type="pubsub")) >= 2)
        a.fail()
        eventually(lambda: b.state == "open")
        assert a.kinds == b.kinds == []


@on_one_server
def test_a_subscription_that_is_always_cut_off_is_not_made_again_and_again(our_server, connect, monkeypatch):
    """After a short life it waits for the next poll, and somebody is told."""
    client = connect()
    name = new_prefix().strip(":")
    with redis.Redis.from_url(our_server.url(), client_name=name) as ours, processes(2, ours) as (a, b):
        assert kill(client, "pubsub", name) == 2
        eventually(lambda: a.kinds == b.kinds == ["deaf"])
        assert (a.store.health().link, a.store.health().subscription) == ("up", False)
        a.fail()
        eventually(lambda: b.state == "open")
        eventually(lambda: a.store.health().subscription)
        assert a.kinds == ["deaf"]


@on_one_server
def test_a_silent_subscription_is_replaced(our_server, monkeypatch):
    """redis-py doesn't raise on a frozen link: a PONG has to come in time."""
    monkeypatch.setattr("circuitry.redis.session.POLL_PERIOD", 0.05)
    monkeypatch.setattr("circuitry.redis.wire.Subscription.ping", lambda self: None)
    with processes(1, our_server.url(), **QUICK) as (a,):
        first = a.store._link._session._subscription
        eventually(lambda: a.store._link._session._subscription not in (first, None))
        assert a.kinds == []


@on_one_server
def test_a_subscription_that_cannot_be_pinged_is_replaced(our_server, monkeypatch):
    """That it is broken may be found when it is asked, too."""
    monkeypatch.setattr("circuitry.redis.session.POLL_PERIOD", 0.05)
    with processes(1, our_server.url(), check_period=0.3) as (a,):
        first = a.store._link._session._subscription
        monkeypatch.setattr(first, "ping", lambda: first._connection._sock.no_such_thing)
        eventually(lambda: a.store._link._session._subscription not in (first, None))
        assert a.kinds == []


def test_an_answer_to_subscribe_that_is_none_is_an_error():
    """A proxy may say OK to everything."""

    class Proxy:
        def connect(self):
            pass

        def send_command(self, *given):
            self.given = given

        def read_response(self):
            return [b"OK", b"", 0]

    with pytest.raises(redis.ConnectionError, match="OK"):
        Subscription(Proxy(), "circuit:events:0")


def test_without_the_right_to_subscribe_it_polls_and_says_so(our_server, connect, caplog, monkeypatch):
    """`deaf` is told once, and the verdict comes all the same."""
    monkeypatch.setattr("circuitry.redis.session.POLL_PERIOD", 0.1)
    prefix = new_prefix()
    rights = MEMBER_RIGHTS.replace("+subscribe ", "").format(prefix=prefix).split()
    connect().execute_command("ACL", "SETUSER", prefix, "reset", "on", ">secret", *rights)
    url = our_server.url().replace("//", f"//{prefix[:-1]}%3A:secret@")
    try:
        with processes(2, url, prefix, check_period=60) as (a, b):
            a.fail()
            eventually(lambda: b.state == "open")
            assert a.kinds == b.kinds == ["deaf"]
            assert (a.store.health().link, a.store.health().subscription) == ("up", False)
            assert len(lines(caplog, logging.WARNING)) == 2
            connect().execute_command("ACL", "SETUSER", prefix, "+subscribe")
            eventually(lambda: a.store.health().subscription)
    finally:
        connect().execute_command("ACL", "DELUSER", prefix)


# -- There, and refusing ---------------------------------------------------------------------------------


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
