"""What a server may do to the script: lack it, lack memory or rights, or hold something else."""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from circuitry.redis.script import MEMBER_RIGHTS, OBSERVER_RIGHTS
from circuitry.redis.views import Refusal, history_of, message_of, refusal, views_of
from circuitry.states import CircuitState

from .model_fleet import Fleet
from .servers import needed, on_one_server


@contextlib.contextmanager
def refused(reason):
    """What is done here is refused by the server for this reason."""
    with pytest.raises(Exception) as caught:
        yield
    assert refusal(caught.value) is reason


# -- Lacking -----------------------------------------------------------------------------------------


def test_a_server_that_lost_its_scripts_gets_this_one_again(fleet):
    fleet.sync()
    fleet.client.script_flush()
    assert fleet.open().verdict == "opened"
    assert fleet.client.script_exists(fleet.script().sha) == [True]


def test_without_memory_nothing_is_half_done(our_server, fleet, make_fleet):
    """The state is written first, so the first write is refused."""
    probe = fleet.half_open()
    fresh = make_fleet(quorum=2)
    stored = fleet.meta(), fleet.lifetimes().keys(), fleet.history()
    fleet.client.config_set("maxmemory", 1)
    try:
        asked = [lambda: fleet.acquire("b"), probe.success, probe.failure, fleet.reset]
        for ask in asked:
            with refused(Refusal.OOM):
                ask()
        assert refusal(fresh.sync().cause) is Refusal.OOM
        assert (fleet.meta(), fleet.lifetimes().keys(), fleet.history()) == stored
        assert fresh.lifetimes() == {}
    finally:
        fleet.client.config_set("maxmemory", 0)
    assert probe.success().verdict == "counted"


def test_without_memory_the_view_can_still_be_read(our_server, fleet):
    fleet.open()
    fleet.client.config_set("maxmemory", 1)
    try:
        assert fleet.peek().state == "open"
        assert fleet.sync().state == "open"
        assert fleet.acquire().verdict == "rejected"
    finally:
        fleet.client.config_set("maxmemory", 0)


def test_a_replica_refuses_to_write_and_lets_read(our_server, fleet):
    fleet.open()
    fleet.client.replicaof("127.0.0.1", "1")
    try:
        assert fleet.peek().state == "open"
        with refused(Refusal.READONLY):
            fleet.reset()
    finally:
        fleet.client.replicaof("NO", "ONE")
    assert fleet.reset().verdict == "reset"


# -- Many at once, and other ways to talk ----------------------------------------------------------------


def at_once(number, ask):
    """What each of so many threads gets that ask at the same time."""
    gate = threading.Barrier(number)

    def work(place):
        gate.wait(10)
        return ask(place)

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(work, range(number)))


def test_of_many_that_ask_at_once_as_many_may_probe_as_the_limit_says(fleet):
    fleet.open()
    fleet.wait()
    verdicts = [
        view.verdict for view in at_once(12, lambda place: fleet.acquire(f"m{place}", f"token {place}"))
    ]
    assert sorted(verdicts) == ["full"] * 10 + ["probe"] * 2


def test_of_many_that_fail_at_once_none_is_lost_and_one_opens_it(make_fleet):
    fleet = make_fleet(failure_threshold=12)
    epoch = fleet.sync().epoch
    views = at_once(12, lambda place: fleet.batch(1, member=f"m{place}", epoch=epoch))
    assert sorted(view.verdict for view in views) == ["counted"] * 11 + ["opened"]
    assert sorted(view.failures for view in views) == list(range(12))


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("decode_responses", [False, True])
def test_clients_may_talk_as_they_like(fleet, connect, protocol, decode_responses):
    fleet.client = connect(protocol=protocol, decode_responses=decode_responses)
    fleet.open()
    fleet.wait()
    assert fleet.probe().failure("Störung").cause == "Störung"
    fleet.client = connect()


@on_one_server
def test_in_a_cluster_a_circuit_lives_in_one_slot(start_server, our_server):
    redis = needed("redis")
    server = start_server(our_server.kind, "--cluster-enabled", "yes")
    with redis.Redis.from_url(server.url()) as node:
        node.execute_command("CLUSTER", "ADDSLOTS", *range(16_384))
        deadline = time.monotonic() + 10
        while b"cluster_state:ok" not in node.execute_command("CLUSTER", "INFO").replace(b" ", b""):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        fleet = Fleet(node, quorum=2)
        with pytest.raises(redis.ResponseError, match=r"(?i)slot"):
            fleet.sync()
        fleet.naming = fleet.naming.tagged()
        fleet.keys = fleet.naming.keys(fleet.name)
        live_through_everything(fleet)


# -- Something else under the keys -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["state", "failures", "meta"])
def test_a_key_of_another_type_gives_no_verdict_and_is_left_alone(fleet, kind):
    fleet.batch(2)
    key = getattr(fleet.keys, kind)
    fleet.client.delete(key)
    fleet.client.lpush(key, "mine")
    for ask in (lambda: fleet.batch(1), fleet.acquire, fleet.reset):
        with refused(Refusal.WRONGTYPE):
            ask()
    for view in (fleet.sync(), fleet.peek()):
        assert (view.verdict, view.version) == ("error", 0)
        assert refusal(view.cause) is Refusal.WRONGTYPE
    assert fleet.client.lrange(key, 0, -1) == [b"mine"]
    fleet.client.delete(key)
    assert fleet.sync().verdict == "view"


def test_leases_of_another_type_give_no_verdict_while_they_matter(fleet):
    probe = fleet.half_open()
    fleet.delete("probes")
    fleet.client.set(fleet.keys.probes, "mine")
    for ask in (fleet.acquire, probe.success):
        with refused(Refusal.WRONGTYPE):
            ask()
    assert fleet.sync().verdict == "error"
    fleet.reset()
    assert fleet.half_open().success().verdict == "counted"


def test_members_of_another_type_give_no_verdict_where_they_matter(make_fleet):
    fleet = make_fleet(quorum=2)
    fleet.client.set(fleet.keys.peers, "mine")
    assert refusal(fleet.sync().cause) is Refusal.WRONGTYPE
    fleet.rules = fleet.rules._replace(quorum=1)
    assert fleet.open().verdict == "opened"


def test_a_history_of_another_type_hinders_nothing(fleet):
    fleet.client.set(fleet.keys.history, "mine")
    fleet.open()
    fleet.wait()
    assert fleet.probe().failure().verdict == "opened"
    assert fleet.client.get(fleet.keys.history) == b"mine"


def test_the_moment_of_the_last_failure_replaces_what_is_there(fleet):
    fleet.client.lpush(fleet.keys.last_failure, "mine")
    fleet.batch(1)
    assert fleet.get("last_failure") == "1800000000"


def test_one_odd_circuit_does_not_hide_the_others(fleet):
    script = fleet.script()
    subjects = [script.subject(name, fleet.rules) for name in ("x", "odd", "y")]
    fleet.client.lpush(subjects[1].keys.state, "mine")
    command = script.sync(*((subject, 0) for subject in subjects))
    views = views_of(script.run(fleet.client.execute_command, command))
    assert [view.verdict for view in views] == ["view", "error", "view"]


# -- Rights ------------------------------------------------------------------------------------------


@pytest.fixture
def as_user(our_server, connect):
    """Let a fleet go on as a user with exactly these rights on its keys and its channel."""
    users = []
    changed = []
    admin = connect()

    def become(fleet, rights):
        prefix = fleet.naming.prefix
        users.append(f"user-{prefix}")
        said = rights.format(prefix=prefix).split()
        admin.execute_command("ACL", "SETUSER", users[-1], "reset", "on", ">secret", *said)
        changed.append((fleet, fleet.client))
        fleet.client = connect(username=users[-1], password="secret")

    yield become
    for fleet, client in changed:
        fleet.client = client
    admin.execute_command("ACL", "DELUSER", *users)


def live_through_everything(fleet):
    """All operations, in all their outcomes, of a fleet with a quorum."""
    for member in "ab":
        fleet.sync(member)
    fleet.batch(1, member="a")
    fleet.batch(0, 2, member="b")
    assert fleet.batch(1, member="a").verdict == "opened"
    assert fleet.acquire("b").verdict == "rejected"
    fleet.wait()
    assert fleet.probe("b").failure().verdict == "opened"
    fleet.wait()
    assert fleet.acquire("b").verdict == "full"
    probe, other = fleet.probe("a"), fleet.probe("a")
    assert fleet.acquire("a").verdict == "full"
    assert fleet.renew(probe, other).renewed == 2
    assert other.ignored().verdict == "released"
    assert probe.success().verdict == "counted"
    assert fleet.probe("a").success().verdict == "closed"
    assert fleet.trip("a").verdict == "opened"
    for mode in (CircuitState.FORCED_OPEN, CircuitState.DISABLED, CircuitState.SHADOW):
        assert fleet.force(mode, seconds=5).verdict == "forced"
        assert fleet.force(mode).verdict == "forced"
    assert fleet.reset().verdict == "reset"
    fleet.pool((9, 3), member="b", keep=1.0)
    fleet.advance(2)
    assert fleet.pool((9, 3), member="a").pooled == (1, ((9, 3),))
    assert fleet.pool((9, 0), member="a").failures == 0
    fleet.sync("a", known=fleet.peek().version + 1)
    assert fleet.sync("b").state == "closed"


def test_a_member_needs_no_more_rights_than_documented(make_fleet, as_user):
    fleet = make_fleet(quorum=2)
    as_user(fleet, MEMBER_RIGHTS)
    fleet.listen()
    live_through_everything(fleet)
    assert len(fleet.heard()) > 10
    fleet.now = None
    fleet.sync()
    assert fleet.client.ping()


def test_a_member_is_heard_by_others(make_fleet, as_user):
    fleet = make_fleet()
    fleet.listen()
    others = fleet.client
    as_user(fleet, MEMBER_RIGHTS)
    opened = fleet.open()
    fleet.client = others
    assert fleet.heard()[-1] == opened._replace(verdict="view")


def test_who_may_not_publish_still_takes_part(make_fleet, as_user):
    fleet = make_fleet()
    as_user(fleet, MEMBER_RIGHTS.replace("+publish ", ""))
    assert fleet.open().verdict == "opened"


def test_who_only_looks_needs_no_more_rights_than_documented(make_fleet, as_user):
    fleet = make_fleet()
    fleet.half_open(), fleet.probe()
    as_user(fleet, OBSERVER_RIGHTS)
    view = fleet.peek()
    assert (view.state, view.live_probes, view.remaining_ms) == ("half_open", 2, 5_000)
    fleet.now = None
    assert fleet.peek().state == "half_open"
    assert history_of(fleet.client.lrange(fleet.keys.history, 0, -1))[-1].reason == "timed_out"
    found = [key.decode() for key in fleet.client.scan_iter(fleet.naming.pattern, count=1000)]
    assert [fleet.naming.name_of(key) for key in found] == ["netflix"]


def test_who_only_looks_hears_what_is_published(make_fleet, as_user):
    fleet = make_fleet()
    fleet.sync()
    others = fleet.client
    as_user(fleet, OBSERVER_RIGHTS)
    listener = fleet.client.pubsub()
    listener.subscribe(fleet.naming.channel(0))
    assert listener.get_message(timeout=5)["type"] == "subscribe"
    fleet.client = others
    fleet.open()
    heard = None
    deadline = time.monotonic() + 5
    while heard is None and time.monotonic() < deadline:
        heard = listener.get_message(timeout=1)
    listener.close()
    assert message_of(heard["data"])[1].state == "open"


def test_who_only_looks_cannot_change_anything(make_fleet, as_user):
    fleet = make_fleet()
    fleet.batch(1)
    as_user(fleet, OBSERVER_RIGHTS)
    for ask in (lambda: fleet.batch(1), fleet.reset, fleet.trip):
        with refused(Refusal.NOPERM):
            ask()
    with refused(Refusal.NOPERM):
        fleet.client.set(fleet.keys.state, "open")


def test_rights_end_at_the_prefix(make_fleet, as_user):
    fleet, other = make_fleet(), make_fleet()
    as_user(fleet, MEMBER_RIGHTS)
    fleet.keys = other.keys
    fleet.naming = other.naming
    with refused(Refusal.NOPERM):
        fleet.reset()
