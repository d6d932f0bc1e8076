"""A family that panics because its fleet says so."""

from __future__ import annotations

import threading

import pytest

from circuitry import CircuitRegistry
from circuitry.redis import RedisStore

from .servers import on_one_server
from .store_tools import NUMBERS, eventually, new_prefix


@pytest.fixture
def member(server):
    """Makes a process of the fleet: a registry with a store of its own, and its family."""
    stores, prefix = [], new_prefix()

    def make():
        stores.append(RedisStore(server.url(), prefix=prefix))
        numbers = {**NUMBERS, "timeout_duration": 30.0}
        settings = {"store": stores[-1], "max_open_fraction": 0.5, **numbers}
        family = CircuitRegistry().get_or_create_family("shard", **settings)
        for key in "abc":
            family[key].call(lambda: None)
        assert stores[-1].wait_ready(10)
        return family

    yield make
    for store in stores:
        store.close()


@on_one_server
def test_what_others_have_opened_makes_it_panic_and_the_listener_is_called_by_the_herald(member):
    ours, theirs = member(), member()
    heard = []
    ours.on_panic(lambda event: heard.append((event.panicking, threading.current_thread().name)))
    for key in "ab":
        for _ in range(3):
            theirs[key].acquire().failure(OSError("down"))
    eventually(lambda: heard)
    [(panicking, thread)] = heard
    assert panicking
    assert thread.startswith("circuitry-")
    assert (ours["a"].state, ours["a"].metrics().verdict) == ("open", "fleet")
    assert ours["a"].call(lambda: "served") == "served"
    theirs["a"].reset()
    eventually(lambda: len(heard) == 2)
    assert not ours.is_panicking
