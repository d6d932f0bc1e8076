"""What operators are told of a store, and by whom."""

from __future__ import annotations

import gc
import sys
import threading

import pytest

from circuitry import CircuitBreaker
from circuitry.redis import RedisStore

from .servers import free_port, on_one_server
from .store_tools import NUMBERS, Process, eventually, new_prefix, processes


def news():
    return [thread for thread in threading.enumerate() if thread.name == "circuitry-news"]


def refuse(thread):
    raise RuntimeError("can't start new thread")


def test_listeners_may_leave_raise_and_even_exit(caplog):
    """None of it hinders the others, or what comes later."""
    process = Process(f"redis://127.0.0.1:{free_port()}", new_prefix())
    store, heard = process.store, []

    def leave(event):
        sys.exit("a listener has no business here")

    store.close()
    store.on_event(lambda event: 1 / 0)
    unsubscribe = store.on_event(heard.append)
    store._link.report("first", None, "")
    eventually(lambda: len(heard) == 1)
    store.on_event(leave)
    store._link.report("second", "netflix", "")
    eventually(lambda: len(heard) == 2 and not news())
    store._link.report("third", None, "again")
    eventually(lambda: len(heard) == 3)
    assert [(event.kind, event.name, event.detail) for event in heard[1:]] == [
        ("second", "netflix", ""),
        ("third", None, "again"),
    ]
    unsubscribe()
    unsubscribe()
    store._link.report("fourth", None, "")
    eventually(lambda: not news())
    assert len(heard) == 3
    assert "of circuit 'netflix': second" in caplog.text
    assert "ZeroDivisionError" in caplog.text


@on_one_server
def test_the_links_own_thread_calls_no_listener(server):
    """It has leases to renew: listeners are told by a thread of their own, in order, one at a time."""
    with processes(2, server.url()) as (a, b):
        heard, may_go_on = [], threading.Event()

        def listener(event):
            heard.append((threading.current_thread().name, event.new_state.value, event.source))
            may_go_on.wait(10)

        b.breaker.on_transition(listener)
        a.breaker.force_open()
        eventually(lambda: heard)
        a.breaker.reset()
        eventually(lambda: b.breaker._circuit.state == "closed")
        assert len(heard) == 1
        may_go_on.set()
        eventually(lambda: len(heard) == 2)
        assert heard == [("circuitry-news", "forced_open", "fleet"), ("circuitry-news", "closed", "fleet")]


@pytest.mark.parametrize("listener", [5, None])
def test_a_listener_must_be_callable(listener):
    """Else it is refused at once."""
    with RedisStore("redis://localhost") as store, pytest.raises(TypeError, match="listener"):
        store.on_event(listener)


def test_somebodys_logging_may_raise(monkeypatch):
    """The link goes on."""
    monkeypatch.setattr("circuitry.redis.store.logger.log", lambda *given, **named: 1 / 0)
    process = Process(f"redis://127.0.0.1:{free_port()}", new_prefix())
    eventually(lambda: process.store.health().error)
    eventually(lambda: process.store._link._failures > 2)
    process.store.close()


def test_what_comes_and_goes_is_told_again_after_a_lull(monkeypatch):
    """But not what is so for good, nor once a call."""
    with RedisStore("redis://localhost") as store:
        told = []
        monkeypatch.setattr(store, "_tell", told.append)
        now = [1000.0]
        monkeypatch.setattr("circuitry.redis.link.time.monotonic", lambda: now[0])
        for pause in (0, 59, 59, 61, 1):
            now[0] += pause
            store._link.report("refused", "netflix", "OOM")
            store._link.report("settings_differ", "netflix", "5 and 7")
        assert [report.kind for report in told] == ["refused", "settings_differ", "refused"]


def test_news_are_told_where_no_thread_can_start(monkeypatch):
    """By who has them, then."""
    monkeypatch.setattr("threading.Thread.start", refuse)
    with RedisStore("redis://localhost") as store:
        heard = []
        store.on_event(heard.append)
        store._link.report("first", None, "")
        store._link.report("second", None, "")
        assert [event.kind for event in heard] == ["first", "second"]


def test_a_report_of_a_store_that_is_gone_is_told_to_nobody(caplog):
    """Its link may still be at it."""
    link = RedisStore("redis://localhost")._link
    gc.collect()
    link.report("lost", None, "")
    assert caplog.text == ""


def test_numbers_of_the_tests_are_not_the_defaults():
    """So that a test that forgets them fails."""
    assert NUMBERS["failure_threshold"] != CircuitBreaker("x").config.failure_threshold
