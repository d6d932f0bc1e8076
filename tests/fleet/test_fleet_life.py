"""Circuits that come, go and share a name; members that differ; what can't be read; and late outcomes."""

from __future__ import annotations

import gc
import time

import pytest

from circuitry import CircuitBreaker, CircuitBreakerConfig, CircuitRegistry
from circuitry.redis import outbox

from .fleet_scenes import NUMBERS, admits, fail, open_for_all, probe_due, until


def test_members_whose_settings_differ_keep_their_own_and_say_so(join):
    one, store, heard = join(), join.store(), []
    store.on_event(heard.append)
    other = join(store=store, failure_threshold=9, timeout_duration=60)
    open_for_all(one, other)
    until(lambda: heard, "no event")
    (event,) = heard
    assert (event.kind, event.name) == ("settings_differ", "netflix")
    assert event.detail == "ours 9/1/60000/1, theirs 3/1/100/1"
    one.reset()
    until(lambda: other.state == "closed", "it isn't told")
    other.reset()
    fail(other, 8)
    assert other.store.flush()
    assert other.state == "closed"


def test_several_circuits_of_one_name_on_one_store_are_one_member(join):
    store = join.store()
    one, other, elsewhere = join(store=store), join(store=store), join()
    open_for_all(one, other, elsewhere)
    time.sleep(0.12)
    probe = one.acquire()
    assert not admits(other)
    probe.success()
    for breaker in (one, other, elsewhere):
        until(lambda breaker=breaker: breaker.state == "closed", "it isn't told")


def test_a_member_of_a_family_that_is_evicted_leaves_nothing_behind(join):
    store = join.store()
    registry = CircuitRegistry()
    family = registry.get_or_create_family(
        "platform", CircuitBreakerConfig(**NUMBERS), store=store, max_keys=2
    )
    for key in range(20):
        family[key].acquire().success()
    gc.collect()
    assert store.wait_ready()
    until(lambda: len(store._link.members()) <= 2, "the gates of the evicted are kept")
    family[19].acquire().success()
    store._link._ring()
    until(lambda: len(store._link._gates) <= 2, "their names are kept")
    fail(family[19], 3)
    until(lambda: join.get("state", "platform[19]") == "open", "it is no member")


def test_a_circuit_that_nobody_holds_any_more_still_says_what_it_saw(join):
    store = join.store()
    one = join(store=store)
    fail(one, 2)
    del one
    gc.collect()
    assert store.flush()
    assert join.get("failures") == "2"


def test_a_stream_that_is_left_early_ends_the_streak_of_the_fleet_too(join):
    one, other = join(), join()

    @one
    def pages():
        yield 1
        yield 2

    fail(one, 2)
    until(lambda: join.get("failures") == "2", "nobody hears of it")
    stream = pages()
    next(stream)
    stream.close()
    until(lambda: join.get("failures") is None, "the success is lost")
    fail(other, 1)
    assert other.store.flush()
    assert join.get("state") == "closed"


def test_a_success_ends_the_streak_of_another_member(colour, join):
    one, other = join(), join()
    fail(one, 2)
    until(lambda: join.get("failures") == "2" and other._circuit.evidence.run, "it isn't told")
    colour.acquire(other).success()
    until(lambda: join.get("failures") is None, "the success is lost")
    before = join.commands()
    for _ in range(50):
        other.acquire().success()
    assert other.store.flush()
    assert join.commands() == before


def test_outcomes_that_could_not_be_sent_in_time_are_dropped(join, monkeypatch):
    one = join()
    fail(one, 1)
    until(lambda: join.get("failures") == "1", "it is lost")
    monkeypatch.setattr(outbox, "OUTCOME_AGE", -1.0)
    fail(one, 1)
    assert one.store.flush()
    one.acquire().success()
    assert one.store.flush()
    monkeypatch.undo()
    assert join.get("failures") == "1"
    one.acquire().success()
    until(lambda: join.get("failures") is None, "it takes the success for sent")


def test_a_late_outcome_of_another_epoch_counts_for_nothing(colour, join):
    one, other = join(failure_threshold=1), join(failure_threshold=1)
    late, before = [colour.acquire(one) for _ in range(2)], one._gate.epoch
    other.reset()
    until(lambda: before != one._gate.epoch == other._gate.epoch and one.store.flush(), "it isn't told")
    for permit in late:
        permit.failure(OSError("down"))
    assert one.store.flush()
    assert (one.state, other.state, join.get("state")) == ("closed", "closed", "closed")


def test_a_call_from_before_anything_was_known_counts_in_no_later_epoch(join_frail):
    """It was admitted while the store was still connecting, and fails when the fleet has gone on."""
    other = join_frail(failure_threshold=1)
    join_frail.server.freeze()
    store = join_frail.store()
    one = CircuitBreaker("netflix", store=store, **{**NUMBERS, "failure_threshold": 1})
    late = one.acquire()
    join_frail.server.thaw()
    assert store.wait_ready(5)
    open_for_all(other, one)
    other.reset()
    until(lambda: one.state == "closed", "it isn't told")
    late.failure(OSError("down"))
    assert store.flush()
    assert (one.state, join_frail.get("state")) == ("closed", "closed")


def test_what_speaks_a_newer_protocol_says_nothing(join):
    """No verdict, an event, and each process is on its own, also with its probes; orders wait."""
    one = join(check_period=0.05)
    heard = []
    one.store.on_event(heard.append)
    probe_due(one)
    meta = f"{join.prefix}netflix:meta"
    join.client.hset(meta, "protocol", 99)
    until(lambda: any(event.kind == "newer_protocol" for event in heard), "no event")
    one.acquire().success()
    assert (one.state, one.metrics().verdict) == ("closed", "local")
    one.force_open()
    time.sleep(0.1)
    assert join.client.hget(meta, "mode") == "normal"
    join.client.delete(meta)
    until(lambda: join.client.hget(meta, "mode") == "forced_open", "the order is lost")


def test_keys_that_cannot_be_read_are_no_verdict(join):
    one = join(check_period=0.05)
    heard = []
    one.store.on_event(heard.append)
    join.client.delete(f"{join.prefix}netflix:meta")
    join.client.set(f"{join.prefix}netflix:meta", "what is this?")
    until(lambda: any(event.kind == "unreadable" for event in heard), "no event")
    fail(one, 3)
    assert (one.state, one.metrics().verdict) == ("open", "local")


@pytest.mark.parametrize("how", ["local", "fleet"])
def test_events_and_metrics_say_which_side_decided(join, how):
    one, other = join(timeout_duration=60), join(timeout_duration=60)
    heard = []
    decided = one if how == "local" else other
    one.on_transition(heard.append)
    if how == "local":
        one.store.close()
    fail(decided, 3)
    until(lambda: heard, "no event")
    assert (heard[0].source, one.metrics().verdict) == (how, how)
