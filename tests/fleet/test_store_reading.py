"""What operators read of a fleet, with the documented rights and no others, and without joining it."""

from __future__ import annotations

import pytest

from circuitry import CircuitBreakerError, ConfigurationError
from circuitry.redis import RedisStore, StoreUnavailableError
from circuitry.redis.script import MEMBER_RIGHTS, OBSERVER_RIGHTS

from .servers import needed, on_one_server
from .store_tools import Process, eventually, new_prefix, processes, share_a_verdict

redis = needed("redis")


@pytest.fixture
def as_user(our_server, connect):
    """The URL of a user with exactly these rights: `as_user(prefix, rights)`."""
    users = []

    def url(prefix, rights, db=0):
        users.append(f"user-{prefix[:-1]}-{len(users)}")
        said = rights.format(prefix=prefix).split()
        connect().execute_command("ACL", "SETUSER", users[-1], "reset", "on", ">secret", *said)
        return our_server.url(db).replace("//", f"//{users[-1]}:secret@")

    yield url
    for user in users:
        connect().execute_command("ACL", "DELUSER", user)


def denied(client):
    """What was refused for want of rights, since the log was reset."""
    return [(entry["reason"], entry["object"]) for entry in client.acl_log()]


# -- Rights ----------------------------------------------------------------------------------------------


def test_a_member_needs_no_more_rights_than_documented(our_server, as_user, connect):
    """Its link, its subscription, its probes, its orders, and what it reads of itself."""
    prefix = new_prefix()
    url = as_user(prefix, MEMBER_RIGHTS)
    connect().acl_log_reset()
    with processes(2, url, prefix, quorum=2, check_period=0.2) as (a, b):
        a.fail(2), b.fail(2)
        eventually(lambda: a.state == b.state == "open")
        eventually(lambda: b.breaker.metrics().verdict == "fleet" or b.state == "open")
        a.breaker.reset()
        assert a.store.flush(5)
        for order in (a.breaker.force_open, a.breaker.disable, a.breaker.shadow, a.breaker.reset):
            order()
            assert a.store.flush(5)
            eventually(lambda: b.state == a.state)
        assert a.store.health().subscription
        assert a.kinds == b.kinds == []
    assert denied(connect()) == []


def test_a_member_in_another_database_needs_select_beside_them(as_user, connect):
    """As the list of rights says."""
    prefix = new_prefix()
    with processes(2, as_user(prefix, MEMBER_RIGHTS + " +select", db=1), prefix) as (a, b):
        share_a_verdict(a, b)
    alone = Process(as_user(prefix, MEMBER_RIGHTS, db=1), prefix)
    eventually(lambda: alone.kinds == ["lost"])
    assert "select" in alone.store.health().error
    alone.store.close()


def test_an_observer_reads_and_can_write_nothing(our_server, as_user, connect):
    """`circuits()` and `history()` work with its rights; a breaker of its stays local, and says so."""
    prefix = new_prefix()
    with processes(1, our_server.url(), prefix) as (a,):
        a.fail()
        assert a.store.flush(5)
        url = as_user(prefix, OBSERVER_RIGHTS)
        kept = connect().get(f"{prefix}netflix:state")
        with RedisStore(url, prefix=prefix) as store:
            assert store.circuits()["netflix"].state == "open"
            assert store.circuits()["netflix"].cause == "OSError: down"
            reasons = [line.reason for line in store.history("netflix")]
            assert reasons == ["created", "tripped"]
            assert store.health().link == "idle"
        member = Process(url, prefix, name="other")
        eventually(lambda: member.kinds == ["lost"])
        member.fail()
        assert member.state == "open"
        member.store.close()
        assert connect().get(f"{prefix}netflix:state") == kept
        assert connect().keys(f"{prefix}other*") == []


def test_who_may_do_nothing_is_told_so(as_user):
    """Reading says why it can't."""
    prefix = new_prefix()
    with RedisStore(as_user(prefix, "+ping"), prefix=prefix) as store:
        for read in (store.circuits, lambda: store.history("netflix")):
            with pytest.raises(StoreUnavailableError, match=r"o permissions"):
                read()
    assert issubclass(StoreUnavailableError, CircuitBreakerError)


# -- Reading ---------------------------------------------------------------------------------------------


@on_one_server
def test_reading_a_fleet_makes_nobody_a_member_and_changes_nothing(our_server, connect):
    """No presence, no line of history, no longer life of keys."""
    prefix = new_prefix()
    client = connect()
    with processes(1, our_server.url(), prefix, quorum=2) as (a,):
        a.fail(1)
        assert a.store.flush(5)
        a.store.close()
        client.set(f"{prefix}bare:state", "open")
        keys = sorted(client.keys(f"{prefix}*"))
        kept = [
            (key, client.type(key), client.pexpiretime(key) if has_expiretime(client) else None)
            for key in keys
        ]
        peers = client.zrange(f"{prefix}netflix:peers", 0, -1, withscores=True)
        history = client.lrange(f"{prefix}netflix:history", 0, -1)
        with RedisStore(our_server.url(), prefix=prefix, quorum=2) as onlooker:
            for _ in range(3):
                circuits = onlooker.circuits()
                assert [(name, view.state.value) for name, view in circuits.items()] == [
                    ("bare", "open"),
                    ("netflix", "closed"),
                ]
                assert circuits["netflix"].failures == 1
                assert onlooker.history("netflix")[0].reason == "created"
                assert onlooker.history("nobody") == []
        assert sorted(client.keys(f"{prefix}*")) == keys
        assert kept == [
            (key, client.type(key), client.pexpiretime(key) if has_expiretime(client) else None)
            for key in keys
        ]
        assert client.zrange(f"{prefix}netflix:peers", 0, -1, withscores=True) == peers
        assert client.lrange(f"{prefix}netflix:history", 0, -1) == history


def has_expiretime(client):
    """PEXPIRETIME came with Redis 7."""
    return int(client.info("server")["redis_version"].split(".")[0]) >= 7


@on_one_server
def test_keys_that_no_circuit_can_have_are_passed_over(our_server, connect):
    """They are somebody else's; one odd circuit doesn't hide the others."""
    prefix = new_prefix()
    client = connect()
    for odd in (b"\xff:state", b"a\nb:state", b":state", b"x:states", b"netflix:meta"):
        client.set(prefix.encode() + odd, "open")
    client.lpush(f"{prefix}list:state", "mine")
    client.mset({f"{prefix}n{number}:state": "open" for number in range(1200)})
    with RedisStore(our_server.url(), prefix=prefix) as store:
        circuits = store.circuits()
        assert len(circuits) == 1201
        assert circuits["list"].verdict == "error"
        with pytest.raises(StoreUnavailableError, match="WRONGTYPE"):
            client.set(f"{prefix}netflix:history", "mine")
            store.history("netflix")
        with pytest.raises(ConfigurationError):
            store.history("")


@on_one_server
def test_what_the_server_says_otherwise_is_no_view(our_server, monkeypatch, connect):
    """A proxy may answer anything."""
    prefix = new_prefix()
    connect().set(f"{prefix}netflix:state", "open")
    monkeypatch.setattr("circuitry.redis.script.Script.run", lambda *given: b"OK")
    with (
        RedisStore(our_server.url(), prefix=prefix) as store,
        pytest.raises(StoreUnavailableError, match="not views"),
    ):
        store.circuits()
