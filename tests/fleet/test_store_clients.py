"""What a store can be made from: each kind of URL and client leads to one shared verdict."""

from __future__ import annotations

import contextlib
import shutil
import subprocess

import pytest

from circuitry import CircuitBreaker
from circuitry.redis import RedisStore
from circuitry.redis.script import MEMBER_RIGHTS
from circuitry.redis.store import shared_store

from .servers import Server, free_port, lacks, needed, on_one_server
from .store_tools import Process, eventually, new_prefix, processes, share_a_verdict

redis = needed("redis")

pytestmark = on_one_server


# -- One server ----------------------------------------------------------------------------------------


def test_a_url_will_do(server):
    """`RedisStore.from_url` takes what redis-py takes."""
    with RedisStore.from_url(server.url(), prefix=new_prefix(), quorum=2) as store:
        breaker = CircuitBreaker("netflix", store=store)
        assert store.wait_ready(5)
        assert breaker.metrics().verdict == "local"
        assert store.health().link == "up"


@pytest.mark.parametrize(
    "settings", [{}, {"decode_responses": True, "protocol": 3}, {"socket_timeout": 60, "client_name": "web"}]
)
def test_a_client_will_do_whatever_its_settings_are(server, settings):
    """Of a client only address and credentials are taken."""
    with redis.Redis.from_url(server.url(), **settings) as client, processes(2, client) as (a, b):
        share_a_verdict(a, b)


def test_an_asyncio_client_will_do(server):
    """It serves sync code too, since only its settings are taken."""
    client = redis.asyncio.Redis.from_url(server.url())
    with processes(2, client) as (a, b):
        share_a_verdict(a, b)


def test_a_client_on_a_pool_of_its_own_will_do(server):
    """A pool's settings are those of its connections."""
    pool = redis.BlockingConnectionPool.from_url(server.url())
    with redis.Redis(connection_pool=pool) as client, processes(2, client) as (a, b):
        share_a_verdict(a, b)


@pytest.mark.parametrize("make", [str, redis.Redis.from_url, redis.asyncio.Redis.from_url])
def test_a_socket_in_the_file_system_will_do(our_server, start_server, tmp_path, make):
    """unix:// and clients with a path lead to the same server."""
    start_server(our_server.kind, "--unixsocket", str(tmp_path / "s"))
    with processes(2, make(f"unix://{tmp_path}/s?db=1")) as (a, b):
        share_a_verdict(a, b)


@pytest.mark.parametrize("make", [str, redis.Redis.from_url])
def test_a_password_in_the_url_is_used(our_server, start_server, make):
    """Also one with characters that a URL has to encode."""
    server = start_server(our_server.kind, "--requirepass", "p@ss/wort?#")
    url = f"redis://:p%40ss%2Fwort%3F%23@127.0.0.1:{server.port}/0"
    with processes(2, make(url)) as (a, b):
        share_a_verdict(a, b)
        assert "ss" not in repr(a.store).replace("<RedisStore", "").replace("class", "")


def test_a_user_in_the_url_is_used(our_server, connect):
    """The user's rights are those of the store."""
    connect().execute_command("ACL", "SETUSER", "guest", "reset", "on", ">word", "~*", "&*", "+@all")
    try:
        with processes(1, our_server.url().replace("//", "//guest:word@")) as (a,):
            users = {client["user"] for client in connect().client_list()}
            assert "guest" in users
            assert a.store.health().error is None
    finally:
        connect().execute_command("ACL", "DELUSER", "guest")


# -- Keys ----------------------------------------------------------------------------------------------


def test_the_prefix_is_in_all_keys_and_separates_fleets(server, connect):
    """Two prefixes on one server are two fleets."""
    first, second = new_prefix(), new_prefix()
    with processes(1, server.url(), first) as (a,), processes(1, server.url(), second) as (b,):
        a.fail()
        eventually(lambda: connect().get(f"{first}netflix:state") == b"open")
        b.store.flush()
        assert b.state == "closed"
        assert b.store.circuits()["netflix"].state == "closed"
        assert connect().get(f"{second}netflix:state") == b"closed"


def test_hash_tags_put_the_name_in_braces(server, connect):
    """As a cluster needs it, also on one server."""
    prefix = new_prefix()
    with processes(2, server.url(), prefix, hash_tag=True) as (a, b):
        a.fail()
        eventually(lambda: b.state == "open")
        assert connect().get(f"{prefix}{{netflix}}:state") == b"open"
        assert list(a.store.circuits()) == ["netflix"]


def test_two_databases_of_one_server_do_not_disturb_each_other(server):
    """Pub/sub knows nothing of databases, so each has a channel of its own."""
    prefix = new_prefix()
    with processes(2, server.url(0), prefix) as (a, b), processes(1, server.url(1), prefix) as (other,):
        heard = []
        other.breaker.on_transition(heard.append)
        a.fail()
        eventually(lambda: b.state == "open")
        assert other.store.circuits()["netflix"].state == "closed"
        other.succeed()
        assert (other.state, heard) == ("closed", [])


def test_the_same_url_or_client_gives_the_same_store(server):
    """So `with_redis` makes one link, however many breakers there are; a closed store isn't used again."""
    url = server.url()
    store = shared_store(url)
    assert shared_store(url) is store is shared_store(store)
    breaker = CircuitBreaker.with_redis("netflix", None, url)
    assert breaker.store is store
    store.close()
    assert shared_store(url) is not store
    with redis.Redis.from_url(url) as client:
        other = shared_store(client)
        assert other is shared_store(client) is not store
        other.close()


# -- TLS -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A key and a certificate for 127.0.0.1 that vouches for itself."""
    if shutil.which("openssl") is None:
        lacks("there is no openssl on PATH (Debian: apt-get install openssl)")
    place = tmp_path_factory.mktemp("tls")
    files = place / "key.pem", place / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=here"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", files[0], "-out", files[1]]
    subprocess.run(command, check=True, capture_output=True)
    return files


@pytest.fixture
def tls(start_server, certificate, our_server):
    """A server that talks TLS, and its certificate: (port, path)."""
    key, cert = certificate
    port = free_port()
    options = ("--tls-port", str(port), "--tls-cert-file", str(key.parent / "cert.pem"))
    options += ("--tls-key-file", str(key), "--tls-ca-cert-file", str(cert), "--tls-auth-clients", "no")
    for kind in ("redis-server", our_server.kind):
        try:
            start_server(kind, *options)
        except Exception:
            continue
        return port, cert
    lacks("no server here was built with TLS (Debian's redis-server is)")


def test_tls_is_used_by_url_and_client(tls):
    """The certificate is checked as the URL or the client says."""
    port, cert = tls
    url = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={cert}"
    with processes(2, url) as (a, b):
        share_a_verdict(a, b)
    options = {"ssl": True, "ssl_ca_certs": str(cert)}
    for client in (
        redis.Redis("127.0.0.1", port, **options),
        redis.asyncio.Redis(host="127.0.0.1", port=port, **options),
    ):
        with processes(1, client) as (a,):
            a.fail()
            eventually(lambda a=a: a.store.circuits()["netflix"].state == "open")


def test_a_certificate_that_nobody_vouches_for_is_an_event(tls):
    """It isn't trusted, and the circuit is local."""
    process = Process(f"rediss://127.0.0.1:{tls[0]}/0", new_prefix())
    eventually(lambda: process.kinds == ["lost"])
    assert "certificate" in process.store.health().error.lower()
    process.fail()
    assert process.state == "open"
    process.store.close()


# -- Cluster -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster(server, tmp_path_factory):
    """Three masters, which share the slots among them."""
    if not isinstance(server, Server):
        pytest.skip("the server in CIRCUITRY_TEST_REDIS_URL isn't started here")
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000")
    nodes = [Server(server.kind, tmp_path_factory.mktemp("node"), *options) for _ in range(3)]
    try:
        for node in nodes:
            node.start()
        join(nodes)
        yield nodes
    finally:
        for node in nodes:
            node.stop()


def join(nodes):
    clients = [redis.Redis.from_url(node.url()) for node in nodes]
    for client in clients[1:]:
        client.execute_command("CLUSTER", "MEET", "127.0.0.1", nodes[0].port)
    for place, client in enumerate(clients):
        slots = range(16_384 * place // 3, 16_384 * (place + 1) // 3)
        client.execute_command("CLUSTER", "ADDSLOTS", *slots)
    for client in clients:
        eventually(lambda client=client: is_whole(client), 15)
        client.close()


def is_whole(client):
    said = client.execute_command("CLUSTER", "INFO")
    said = said if isinstance(said, dict) else dict(line.split(":") for line in said.decode().split())
    return (said["cluster_state"], said["cluster_known_nodes"]) == ("ok", "3")


def test_a_cluster_keeps_each_circuit_in_one_slot(cluster):
    """200 breakers lie on all three masters; what one member says of them, the other hears."""
    client = redis.cluster.RedisCluster("127.0.0.1", cluster[0].port)
    prefix = new_prefix()
    names = [f"service-{number}" for number in range(200)]
    with RedisStore(client, prefix=prefix) as one, RedisStore(client, prefix=prefix) as two:
        ours = [CircuitBreaker(name, store=one, failure_threshold=1) for name in names]
        theirs = [CircuitBreaker(name, store=two, failure_threshold=1) for name in names]
        assert one.wait_ready(10)
        assert two.wait_ready(10)
        for breaker in ours:
            breaker.acquire().failure(OSError("down"))
        eventually(lambda: {breaker.state for breaker in theirs} == {"open"})
        assert one.flush(5)
        kept = one.circuits()
        assert sorted(kept) == sorted(names)
        assert {view.state for view in kept.values()} == {"open"}
        assert one.history("service-7")[-1].reason == "tripped"
    for name in names:
        slots = {client.keyslot(key) for key in client.scan_iter(f"{prefix}{{{name}}}:*")}
        assert len(slots) == 1
    holders = [redis.Redis.from_url(node.url()) for node in cluster]
    assert all(holder.dbsize() > 50 for holder in holders)
    for holder in holders:
        holder.close()
    client.close()


def test_a_slot_that_moves_is_followed_and_nothing_is_said_twice(cluster):
    """MOVED leads to the new master; one failure stays one failure."""
    client = redis.cluster.RedisCluster("127.0.0.1", cluster[0].port)
    with processes(1, client) as (a,):
        keys = a.store._link.naming.keys("netflix")
        a.fail(1)
        eventually(lambda: client.get(keys.failures) == b"1")
        slot = client.keyslot(keys.state)
        old = client.nodes_manager.get_node_from_slot(slot).port
        new = next(node.port for node in cluster if node.port != old)
        move_slot(slot, old, new)
        a.fail(1)
        eventually(lambda: client.get(keys.failures) == b"2")
        assert a.kinds == []
    client.close()


def test_in_a_cluster_a_member_needs_two_more_rights(cluster):
    """redis-py asks which node has which slots, and what commands there are; the list of rights says so."""
    prefix = new_prefix()
    rights = f"{MEMBER_RIGHTS} +cluster|slots +command".format(prefix=prefix).split()
    nodes = [redis.Redis.from_url(node.url()) for node in cluster]
    for node in nodes:
        node.execute_command("ACL", "SETUSER", "member", "reset", "on", ">secret", *rights)
        node.acl_log_reset()
    client = redis.cluster.RedisCluster("127.0.0.1", cluster[0].port, username="member", password="secret")
    with processes(2, client, prefix) as (a, b):
        share_a_verdict(a, b)
        assert a.store.health().subscription
    for node in nodes:
        assert {entry["object"] for entry in node.acl_log()} <= {"client|setinfo"}  # our own client's
        node.close()
    client.close()


def move_slot(slot, old, new):
    """As redis-cli does it."""
    with redis.Redis(port=old) as source, redis.Redis(port=new) as target:
        ids = {
            port: client.execute_command("CLUSTER", "MYID").decode()
            for port, client in ((old, source), (new, target))
        }
        target.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[old])
        source.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[new])
        keys = source.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100)
        source.execute_command("MIGRATE", "127.0.0.1", new, "", 0, 1000, "KEYS", *keys)
        for client in (target, source):
            client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[new])


# -- Sentinel ------------------------------------------------------------------------------------------


def test_a_failover_that_loses_writes_leaves_all_with_one_verdict(our_server, start_server, tmp_path):
    """The new master knows nothing of the opening: its state wins under a new version, and all agree."""
    master = start_server(our_server.kind)
    replica = start_server(our_server.kind, "--replicaof", f"127.0.0.1 {master.port}")
    watch = tmp_path / "sentinel.conf"
    watch.write_text(
        f"sentinel monitor shop 127.0.0.1 {master.port} 1\n"
        "sentinel down-after-milliseconds shop 500\nsentinel failover-timeout shop 2000\n"
    )
    with sentinel_of(our_server, tmp_path, watch) as port, patient(replica) as second:
        sentinel = redis.sentinel.Sentinel([("127.0.0.1", port)])
        eventually(lambda: second.info("replication")["master_link_status"] == "up")
        eventually(lambda: sentinel.discover_slaves("shop"), 12)
        asyncio_master = redis.asyncio.sentinel.Sentinel([("127.0.0.1", port)]).master_for("shop")
        client = sentinel.master_for("shop")
        long = {"timeout_duration": 60.0}
        with (
            processes(2, client, "fleet:", **long) as (a, b),
            processes(1, asyncio_master, "fleet:", **long) as (c,),
        ):
            lose_contact(master, replica)
            a.fail()
            eventually(lambda: b.state == c.state == "open")
            master.stop()
            replica.thaw()
            eventually(lambda: second.info("replication")["role"] == "master", 20)
            assert second.get("fleet:netflix:state") == b"closed"
            everybody = (a, b, c)
            eventually(lambda: all(process.store.health().link == "up" for process in everybody), 12)
            eventually(lambda: len({(p.state, p.breaker._gate.version) for p in everybody}) == 1)
            a.breaker.reset()
            assert a.store.flush(5)
            a.fail()
            eventually(lambda: b.state == c.state == "open")
            assert second.get("fleet:netflix:state") == b"open"


def patient(server):
    """A client that tries again: a server that is promoted hangs up on everybody."""
    retry = redis.retry.Retry(redis.backoff.NoBackoff(), 5)
    return redis.Redis.from_url(server.url(), retry=retry, retry_on_error=[redis.ConnectionError])


def lose_contact(master, replica):
    """From now on nothing that the master takes reaches the replica."""
    replica.freeze()
    with redis.Redis.from_url(master.url()) as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "replica")


@contextlib.contextmanager
def sentinel_of(server, directory, config):
    """A Sentinel, from the same program; its port."""
    port = free_port()
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    command = [str(server._program), str(config), "--port", str(port), "--sentinel"]
    process = subprocess.Popen(command, cwd=directory, **quiet)
    try:
        eventually(lambda: is_there(port))
        yield port
    finally:
        process.kill()
        process.wait()


def is_there(port):
    with contextlib.suppress(redis.ConnectionError), redis.Redis(port=port) as client:
        return client.ping()
    return False


def test_in_a_cluster_rates_are_pooled(cluster):
    client, prefix = redis.cluster.RedisCluster("127.0.0.1", cluster[0].port), new_prefix()
    with RedisStore(client, prefix=prefix) as one, RedisStore(client, prefix=prefix) as two:
        of = {"failure_rate_threshold": 0.5, "minimum_calls": 12}
        breakers = [CircuitBreaker("netflix", store=store, **of) for store in (one, two)]
        for breaker in breakers * 6:
            breaker.acquire().failure(OSError("down"))
        eventually(lambda: {breaker.state for breaker in breakers} == {"open"})
    client.close()
