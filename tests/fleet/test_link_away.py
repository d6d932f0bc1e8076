"""The server is frozen, killed, empty, full, read-only or busy: no call waits, and all agree afterwards."""

from __future__ import annotations

import logging
import time

import pytest

from circuitry.redis.script import MEMBER_RIGHTS
from circuitry.redis.wire import Subscription

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
