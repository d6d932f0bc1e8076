"""What runs under chaos have brought to light."""

from __future__ import annotations

import sys
from types import ModuleType

import anyio
import pytest

from circuitry.events import in_event_loop, waker

from ..fleet.servers import on_one_server
from .tools import LATE, comes_true, joined, on_the_servers_clock, probe


@pytest.fixture(params=["asyncio", "trio"])
def just_being_imported(request, monkeypatch):
    """Another thread imports it, and has just begun."""
    monkeypatch.setitem(sys.modules, request.param, ModuleType(request.param))
    monkeypatch.delitem(sys.modules, f"{request.param}.lowlevel", raising=False)


@pytest.mark.usefixtures("just_being_imported")
def test_while_an_event_loop_is_imported_in_another_thread_none_runs_in_this_one():
    assert not in_event_loop()


def test_a_caller_on_asyncio_is_woken_while_another_thread_imports_trio(monkeypatch):
    async def wait() -> None:
        monkeypatch.setitem(sys.modules, "trio", ModuleType("trio"))
        monkeypatch.delitem(sys.modules, "trio.lowlevel", raising=False)
        assert in_event_loop()
        woken = anyio.Event()
        waker(woken.set)()
        with anyio.fail_after(5):
            await woken.wait()

    anyio.run(wait, backend="asyncio")


@on_one_server
def test_who_closes_on_its_own_follows_a_fleet_that_has_not_heard_of_all_its_probes(make_fleet, open_store):
    fleet = on_the_servers_clock(make_fleet)
    rules = {"failure_threshold": 1, "success_threshold": 2, "timeout_duration": 0.2}
    breaker = joined(open_store(fleet), half_open_max_calls=1, **rules)
    breaker.acquire().failure(OSError("down"))
    assert comes_true(lambda: breaker._gate.governs)
    first = probe(breaker)
    fleet.client.delete(fleet.keys.probes)  # as if what is said of it were lost on the way
    first.success()
    probe(breaker).success()
    assert comes_true(lambda: fleet.peek().successes == 1)
    assert comes_true(lambda: breaker.state == "half_open")  # it was closed, by its own count
    probe(breaker).success()
    assert comes_true(lambda: fleet.peek().state == "closed" and breaker.state == "closed")


@on_one_server
def test_who_closes_by_its_own_count_a_moment_before_the_fleet_does_turns_no_more_often(
    make_fleet, open_store
):
    fleet = on_the_servers_clock(make_fleet)
    rules = {"failure_threshold": 1, "success_threshold": 2, "timeout_duration": 0.2}
    store = open_store(fleet, check_period=0.02)
    breaker = joined(store, half_open_max_calls=2, **rules)
    turns: list[tuple[str, str]] = []
    breaker.on_transition(lambda event: turns.append((event.old_state, event.new_state)))
    for _ in range(3):
        breaker.acquire().failure(OSError("down"))
        assert comes_true(lambda: breaker._gate.governs)
        for permit in (probe(breaker), probe(breaker)):
            permit.success()
        assert comes_true(lambda: fleet.peek().state == "closed" and breaker.state == "closed")
        assert store.flush(LATE)
    assert comes_true(lambda: len(turns) >= 9)
    assert turns == [("closed", "open"), ("open", "half_open"), ("half_open", "closed")] * 3
