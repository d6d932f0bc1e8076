"""Three bugs that chaos misses, since they need two things in the same instant: each is made on purpose."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from circuitry import CircuitOpenError, CircuitState, TooManyCallsError
from circuitry.redis.script import SOURCE
from circuitry.testing import ManualClock

from ..fleet.model_fleet import SECOND, Fleet
from ..fleet.servers import on_one_server
from .tools import comes_true, joined, on_the_servers_clock, probe

pytestmark = on_one_server

SILENT = SOURCE.replace("redis.pcall('PUBLISH', c.channel, cjson.encode(message))", "return")
LONG = 60.0  # seconds: longer than any test


# -- A message that is lost together with its transition ----------------------------------------------------


def test_a_transition_of_which_no_message_comes_is_found_by_the_next_check(make_fleet, open_store):
    assert SILENT != SOURCE
    fleet = on_the_servers_clock(make_fleet, source=SILENT)
    store = open_store(fleet, check_period=0.2)
    breaker = joined(store)
    reports: list[Any] = []
    store.on_event(reports.append)
    fleet.listen()
    for step, state in ((fleet.open, "open"), (fleet.reset, "closed")):
        view = step()
        assert comes_true(lambda state=state: breaker.state == state)
        assert breaker._gate.view[1:5] == view[1:5]
    assert fleet.heard() == []
    assert reports == []  # the link was up all the time


@pytest.mark.usefixtures("our_server")
def test_who_loses_its_subscription_in_the_instant_of_a_transition_asks_where_the_fleet_stands(
    make_fleet, open_store
):
    fleet = on_the_servers_clock(make_fleet)
    breaker = joined(open_store(fleet, check_period=LONG))
    script = fleet.script()
    subject = script.subject(fleet.name, fleet.rules)
    command = script.force(subject, fleet.sync().version, CircuitState.FORCED_OPEN, "ops")
    with fleet.client.pipeline(transaction=True) as one_instant:
        one_instant.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        one_instant.execute_command(*script.by_source(command))
        killed, _ = one_instant.execute()
    assert killed >= 1
    assert comes_true(lambda: breaker.state == "forced_open")
    assert breaker._gate.epoch == fleet.peek().epoch


@pytest.mark.usefixtures("our_server")
def test_who_loses_all_connections_in_the_instant_of_a_transition_asks_where_the_fleet_stands(
    make_fleet, open_store
):
    fleet = on_the_servers_clock(make_fleet)
    breaker = joined(open_store(fleet, check_period=LONG))
    fleet.sync()
    script = fleet.script()
    subject = script.subject(fleet.name, fleet.rules)
    command = script.batch(subject, fleet.known("a"), fleet.epoch("a"), [3], "down")
    with fleet.client.pipeline(transaction=True) as one_instant:
        for kind in ("pubsub", "normal"):
            one_instant.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
        one_instant.execute_command(*script.by_source(command))
        one_instant.execute()
    assert comes_true(lambda: breaker.state == "open")
    assert breaker._gate.epoch == fleet.peek().epoch


# -- The lease of a killed owner, where there is one slot ---------------------------------------------------

OWNER = """
import sys, time
from circuitry import CircuitBreaker
from circuitry.redis import RedisStore
from circuitry.states import Probe

url, prefix = sys.argv[1:]
store = RedisStore(url, prefix=prefix)
breaker = CircuitBreaker("netflix", store=store, **SETTINGS)
store.wait_ready(5)
breaker.acquire().failure(OSError("down"))
store.flush(5)
time.sleep(0.2)
permit = breaker.acquire()
print("probing", isinstance(permit._admission[0], Probe), flush=True)
time.sleep(60)
"""
ONE_SLOT = {
    "failure_threshold": 1,
    "success_threshold": 1,
    "timeout_duration": 0.1,
    "half_open_max_calls": 1,
    "probe_timeout": 1.0,  # and so long is a lease
}


@pytest.fixture
def owner(server) -> Iterator[Callable[[Fleet], subprocess.Popen[str]]]:
    """Start a process that holds the only lease, and ends by being killed."""
    started: list[subprocess.Popen[str]] = []

    def start(fleet: Fleet) -> subprocess.Popen[str]:
        code = OWNER.replace("SETTINGS", repr(ONE_SLOT))
        command = [sys.executable, "-c", code, server.url(fleet.db), fleet.naming.prefix]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_the_only_slot_of_a_killed_owner_is_free_when_its_lease_ends_and_not_before(
    make_fleet, open_store, owner
):
    fleet = on_the_servers_clock(make_fleet)
    breaker = joined(open_store(fleet, check_period=LONG), **ONE_SLOT)
    process = owner(fleet)
    assert process.stdout is not None
    assert process.stdout.readline() == "probing True\n"
    assert comes_true(lambda: breaker.state == "half_open")
    process.kill()
    process.wait()
    ((token, ends),) = fleet.client.zrange(fleet.keys.probes, 0, -1, withscores=True)
    with pytest.raises(TooManyCallsError) as rejected:
        breaker.acquire()
    assert 0 < rejected.value.retry_after <= 1.0
    permit = probe(breaker)
    seconds, micros = fleet.client.time()
    assert ends <= seconds * SECOND + micros <= ends + SECOND
    ours = fleet.client.zrange(fleet.keys.probes, 0, -1)
    assert len(ours) == 2, "one lives, and the token of the killed one stays good to the end of the round"
    assert token in ours
    assert fleet.peek().live_probes == 1
    permit.success()
    assert comes_true(lambda: fleet.peek().state == "closed")
    assert breaker.state == "closed"


# -- A deadline that comes early -----------------------------------------------------------------------------


@pytest.mark.parametrize("opened_at", [0, 1, 499, 500, 999])
def test_no_member_is_told_less_than_the_time_until_the_deadline(make_fleet, opened_at):
    fleet = make_fleet()
    fleet.sync()
    fleet.now += opened_at
    fleet.open()
    deadline = fleet.now + fleet.rules.timeout_ms * 1000
    for before in (*range(1, 2003, 77), 999, 1000, 1001):
        fleet.now = deadline - before
        told = fleet.now + fleet.peek().remaining_ms * 1000
        assert deadline <= told < deadline + 1000
        assert fleet.acquire("b").verdict == "rejected"
    fleet.now = deadline
    assert fleet.acquire("b").verdict == "probe"


def test_a_process_waits_for_as_long_as_it_was_told_by_its_own_clock(make_fleet, open_store, connect):
    fleet = on_the_servers_clock(make_fleet)
    clock = ManualClock(5000.0)
    breaker = joined(open_store(fleet, check_period=LONG), clock=clock)
    fleet.sync()
    fleet.open()
    assert comes_true(lambda: breaker.state == "open")
    told = breaker._gate.view.remaining_ms / 1000
    assert told == 10.0
    asked = scripts_run(fleet)
    for part in (0.5, 0.4999):
        clock.advance(told * part)
        with pytest.raises(CircuitOpenError):
            breaker.acquire()
    assert scripts_run(fleet) == asked  # nobody was asked: the deadline is known


def test_a_process_whose_clock_runs_ahead_is_refused_by_the_servers(make_fleet, open_store):
    fleet = on_the_servers_clock(make_fleet)
    clock = ManualClock(5000.0)
    breaker = joined(open_store(fleet, check_period=LONG), clock=clock)
    fleet.sync()
    fleet.open()
    assert comes_true(lambda: breaker.state == "open")
    clock.advance(3600.0)
    for _ in range(3):
        with pytest.raises(CircuitOpenError) as rejected:
            breaker.acquire()
        assert 5.0 < rejected.value.retry_after <= 10.0
    assert fleet.peek().state == "open"
    assert [line.reason for line in fleet.history()] == ["created", "tripped"]


def scripts_run(fleet: Fleet) -> int:
    counts = fleet.client.info("commandstats")
    return sum(counts.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("eval", "evalsha"))


def test_no_process_probes_before_the_servers_deadline_however_often_it_asks(make_fleet, open_store):
    fleet = on_the_servers_clock(make_fleet, timeout_ms=300)
    breakers = [joined(open_store(fleet, check_period=LONG), timeout_duration=0.3) for _ in range(2)]
    fleet.sync()
    fleet.open()
    for breaker in itertools.cycle(breakers):
        try:
            permit = breaker.acquire()
        except CircuitOpenError:
            continue
        if any(line.reason == "timed_out" for line in fleet.history()):
            break
        permit.release()  # the message isn't there yet
    *_, opened, half_open = fleet.history()
    assert (opened.reason, half_open.reason) == ("tripped", "timed_out")
    assert half_open.epoch - opened.epoch >= 300_000
    permit.success()
