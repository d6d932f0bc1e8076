"""What a fleet costs the server, counted by the server itself."""

from __future__ import annotations

import contextlib
import time

import pytest

from circuitry import CircuitBreaker, CircuitOpenError
from circuitry.redis import RedisStore

from .servers import needed, on_one_server
from .store_tools import eventually, new_prefix, processes

redis = needed("redis")

pytestmark = on_one_server

#: What the link sends. The rest is the script's own doing, and the test's.
SENT = ("eval", "evalsha", "ping", "persist", "subscribe")


def nothing():
    return 0


@pytest.fixture
def counted(our_server, start_server):
    """A server of one's own, and what was sent to it since the last time: `counted()`."""
    server = start_server(our_server.kind)
    with redis.Redis.from_url(server.url()) as client:

        def so_far():
            stats = client.info("commandstats")
            return {name: stats[f"cmdstat_{name}"]["calls"] for name in SENT if f"cmdstat_{name}" in stats}

        def count():
            calls = so_far()
            client.config_resetstat()
            return calls

        count.server, count.so_far = server, so_far
        yield count


def test_a_thousand_idle_circuits_cost_two_commands_a_second(counted):
    """A check is ten reads of a hundred circuits and a PING; by default it comes every 8 to 12 s."""
    with RedisStore(counted.server.url(), check_period=0.4) as store:
        breakers = [CircuitBreaker(f"service-{number}", store=store) for number in range(1000)]
        assert store.wait_ready(10)
        counted()
        begun = time.monotonic()
        eventually(lambda: counted.so_far().get("ping", 0) >= 2)
        time.sleep(0.1)
        calls, checks = counted(), (time.monotonic() - begun) / (0.4 * 0.8)
        assert set(calls) == {"evalsha", "ping"}
        assert calls["evalsha"] <= 10 * calls["ping"]
        assert calls["ping"] <= checks + 1
        assert len(breakers) == 1000


def test_calls_of_a_healthy_circuit_cost_nothing(counted):
    """0 commands for 1000 calls."""
    with processes(1, counted.server.url(), check_period=60) as (a,):
        counted()
        for _ in range(1000):
            assert a.breaker.call(nothing) == 0
        assert a.store.flush(5)
        assert counted() == {}


def test_rejections_of_an_open_circuit_cost_nothing(counted):
    """0 commands for 1000 rejections, also where another process has opened it."""
    with processes(2, counted.server.url(), check_period=60, timeout_duration=60.0) as (a, b):
        a.fail()
        eventually(lambda: b.state == "open")
        assert a.store.flush(5)
        counted()
        for process in (a, b):
            for _ in range(1000):
                with pytest.raises(CircuitOpenError):
                    process.breaker.call(nothing)
        assert counted() == {}


def test_a_burst_of_failures_is_sent_in_few_batches(counted):
    """What comes while the link is at it is combined."""
    with processes(1, counted.server.url(), failure_threshold=100_000, check_period=60) as (a,):
        permits = [a.breaker.acquire() for _ in range(1000)]
        counted()
        for permit in permits:
            permit.failure(OSError("down"))
        assert a.store.flush(5)
        assert a.store.circuits()["netflix"].failures == 1000
        assert counted()["evalsha"] <= 100


def test_who_goes_on_failing_does_not_keep_the_link_from_others(counted):
    """In each turn all that waits is seen to: news are heard, and checks made."""
    prefix = new_prefix()
    url = counted.server.url()
    with (
        processes(1, url, prefix, failure_threshold=10**9, check_period=0.2) as (a,),
        processes(1, url, prefix, name="other") as (b,),
        RedisStore(url, prefix=prefix) as silent,
    ):
        other = CircuitBreaker("other", store=a.store, failure_threshold=3)
        assert silent.health().link == "idle"
        assert a.store.wait_ready(5)
        gate = a.breaker._gate
        send = gate.send

        def sending(speaker):  # there is always more to be said
            send(speaker)
            if not b.events and other.state == "closed":
                a.fail(1)

        with contextlib.ExitStack() as stack:
            gate.send = sending
            stack.callback(delattr, gate, "send")
            a.fail(1)
            b.fail()
            eventually(lambda: other.state == "open")
