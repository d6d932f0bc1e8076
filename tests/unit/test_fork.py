"""After a fork: circuits keep their state, and no lock is held by a thread that isn't there."""

from __future__ import annotations

import os
import pickle
import signal
import threading

import pytest

from circuitry import CircuitOpenError, circuit, circuit_of
from circuitry.last_good import last_good

pytestmark = [
    pytest.mark.core,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning"),
]


def in_child(fn, *args):
    """What `fn` gives in a forked child; a child that hangs is ended, and fails the test."""
    return goes_on(os.fork, fn, *args)


def goes_on(fork, fn, *args):
    """What `fn` gives in the child that `fork` makes."""
    reading, writing = os.pipe()
    child = fork()
    if child == 0:
        signal.alarm(8)
        try:
            os.write(writing, pickle.dumps(fn(*args)))
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as answer:
        told = answer.read()
    os.waitpid(child, 0)
    assert told, "the child hung, or has raised"
    return pickle.loads(told)


def life(breaker):
    """All that takes the lock."""
    breaker.reset()
    for _ in range(3):
        breaker.acquire().failure(OSError("down"))
    return str(breaker.metrics().state)


def test_a_circuit_keeps_its_state(breaker, fail):
    fail(breaker, 3)

    def child():
        with pytest.raises(CircuitOpenError) as caught:
            breaker.acquire()
        return caught.value.last_failure, breaker.metrics().failures

    assert in_child(child) == ("OSError: down", 3)


def test_what_the_child_does_is_its_own(breaker):
    assert in_child(life, breaker) == "open"
    assert breaker.state == "closed"


def test_the_lock_of_a_breaker_is_free_in_the_child(breaker):
    with breaker._lock:
        assert in_child(life, breaker) == "open"


def test_a_thread_that_was_telling_listeners_is_not_waited_for(breaker):
    told, go_on, heard = threading.Event(), threading.Event(), []

    def slow(event):
        heard.append(str(event.new_state))
        told.set()
        go_on.wait(10)

    breaker.on_transition(slow)
    speaker = threading.Thread(target=breaker.force_open)
    speaker.start()
    assert told.wait(10)

    def child():
        go_on.set()
        breaker.reset()
        return heard

    assert in_child(child) == ["forced_open", "closed"]
    assert heard == ["forced_open"]
    go_on.set()
    speaker.join()


def test_a_listener_may_fork(breaker):
    heard = []

    def fork(_):
        unsubscribe()
        heard.append(in_child(life, breaker))

    unsubscribe = breaker.on_transition(fork)
    for _ in range(3):
        breaker.acquire().failure()
    assert heard == ["open"]


def test_both_go_on_after_a_listener_has_forked(breaker, fail):
    def fork():
        children = []
        unsubscribe = breaker.on_transition(lambda _: (unsubscribe(), children.append(os.fork())))
        fail(breaker, 3)
        return children[0]

    assert goes_on(fork, life, breaker) == "open"
    assert life(breaker) == "open"


def test_the_lock_of_the_registry_is_free_in_the_child(fresh):
    with fresh._lock:
        assert in_child(lambda: life(fresh.get_or_create("netflix", failure_threshold=3))) == "open"


def test_the_lock_of_a_family_is_free_in_the_child(fresh):
    guarded = circuit("platform", key=lambda number: number)(abs)
    with circuit_of(guarded)._lock:
        assert in_child(guarded, -1) == 1


def test_the_locks_of_a_fallbacks_memories_are_free_in_the_child(make_breaker):
    fallback = last_good()
    breaker = make_breaker(fallback=fallback)
    guarded = breaker(abs)

    def child():
        return guarded(-1), breaker(len)("ab")

    with fallback.memory(abs)._lock, fallback._lock:
        assert in_child(child) == (1, 2)
