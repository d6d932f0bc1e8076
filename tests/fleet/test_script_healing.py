"""What becomes of keys that other hands have changed: the state key is the truth."""

from __future__ import annotations

import pytest

from circuitry.states import CircuitState

FORCED_OPEN, SHADOW = CircuitState.FORCED_OPEN, CircuitState.SHADOW


def test_a_circuit_opened_by_hand_is_open(fleet):
    before = fleet.sync()
    fleet.listen()
    fleet.set("state", "open")
    view = fleet.sync()
    assert (view.state, view.reason, view.remaining_ms) == ("open", "healed", 10_000)
    assert view.epoch > before.epoch
    assert fleet.heard() == [view]
    fleet.wait()
    assert fleet.acquire().verdict == "probe"


def test_a_circuit_closed_by_hand_is_closed(fleet):
    opened = fleet.open()
    fleet.set("state", "closed")
    view = fleet.sync()
    assert (view.state, view.remaining_ms, view.cause) == ("closed", 0, None)
    assert view.epoch > opened.epoch
    assert fleet.batch(1, epoch=view.epoch).failures == 1


def test_a_circuit_set_half_open_by_hand_wants_probes(fleet):
    fleet.sync()
    fleet.set("state", "half_open")
    fleet.probe().success()
    assert fleet.probe().success().verdict == "closed"


def test_whoever_comes_first_heals(fleet):
    fleet.sync()
    fleet.set("state", "open")
    view = fleet.batch(3)
    assert (view.verdict, view.state) == ("stale", "open")
    fleet.set("state", "half_open")
    assert fleet.acquire().verdict == "probe"


def test_a_hand_ends_an_order(fleet):
    fleet.force(FORCED_OPEN)
    fleet.set("state", "closed")
    view = fleet.sync()
    assert (view.mode, view.state) == (None, "closed")
    fleet.force(SHADOW, seconds=100)
    fleet.set("state", "open")
    view = fleet.sync()
    assert (view.mode, view.state, view.mode_ms) == (None, "open", 0)


def test_leases_from_before_a_hand_changed_the_state_are_gone(fleet):
    probe = fleet.half_open()
    fleet.set("state", "open")
    fleet.sync()
    fleet.set("state", "half_open")
    assert fleet.sync().live_probes == 0
    assert probe.success().verdict == "stale"


def test_once_healed_it_stays_so(fleet):
    fleet.sync()
    fleet.set("state", "open")
    view = fleet.sync()
    fleet.advance(1)
    again = fleet.sync("b")
    assert again == view._replace(remaining_ms=9_000, now=again.now)


@pytest.mark.parametrize("state", ["closed", "open", "half_open"])
def test_a_state_without_all_the_rest_is_adopted(fleet, state):
    fleet.set("state", state)
    view = fleet.sync()
    assert (view.state, view.mode, view.reason) == (state, None, "healed")
    assert view.remaining_ms == (10_000 if state == "open" else 0)
    assert fleet.meta()["state"] == state
    assert all(ms > 0 for ms in fleet.lifetimes().values())


def test_a_circuit_whose_hash_was_evicted_keeps_its_state(fleet):
    opened = fleet.open()
    fleet.delete("meta")
    view = fleet.sync("b")
    assert (view.state, view.remaining_ms) == ("open", 10_000)
    assert view.epoch != opened.epoch


def test_a_circuit_whose_state_was_deleted_is_closed(fleet):
    opened = fleet.open()
    fleet.delete("state")
    view = fleet.sync()
    assert (view.state, view.reason) == ("closed", "healed")
    assert view.epoch > opened.epoch
    assert fleet.get("state") == "closed"


def test_a_state_that_says_nothing_is_put_right(fleet):
    """What was last written by the script stands, under a new epoch."""
    opened = fleet.open()
    for garbage in ("banana", "", "OPEN", "\x00\xff"):
        fleet.set("state", garbage)
        view = fleet.sync()
        assert (view.state, view.cause, view.remaining_ms) == ("open", "down", 10_000)
        assert fleet.get("state") == "open"
    assert view.epoch > opened.epoch
    fleet.force(FORCED_OPEN)
    fleet.set("state", "banana")
    assert fleet.sync().mode == "forced_open"


def test_a_state_that_says_nothing_without_all_the_rest_is_closed(fleet):
    fleet.set("state", "banana")
    assert fleet.sync().state == "closed"
    assert fleet.get("state") == "closed"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", "soon"),
        ("version", "9" * 30),
        ("version", "-1"),
        ("epoch", ""),
        ("epoch", "1.5"),
        ("deadline", "never"),
        ("deadline", "nan"),
        ("successes", "1e3"),
        ("mode", "sleepy"),
        ("protocol", "one"),
        ("state", "ajar"),
    ],
)
def test_a_hash_with_garbage_is_not_believed(fleet, field, value):
    opened = fleet.open()
    fleet.client.hset(fleet.keys.meta, field, value)
    view = fleet.sync("b")
    assert (view.state, view.reason, view.remaining_ms) == ("open", "healed", 10_000)
    fleet.sync("a", known=opened.version)
    assert fleet.meta()[field] != value


@pytest.mark.parametrize("field", ["version", "deadline", "streak", "rules", "cause"])
def test_a_hash_with_something_missing_is_not_believed(fleet, field):
    fleet.open()
    fleet.client.hdel(fleet.keys.meta, field)
    assert (fleet.sync().state, fleet.sync().reason) == ("open", "healed")


def test_a_version_stays_above_what_a_member_knows_although_the_hash_is_gone(fleet):
    opened = fleet.open()
    fleet.delete("meta")
    fleet.advance(-1000)
    assert fleet.sync().version > opened.version


def test_a_streak_written_by_hand_counts(fleet):
    before = fleet.sync()
    fleet.listen()
    fleet.set("failures", "2")
    view = fleet.sync()
    assert (view.failures, view.epoch) == (2, before.epoch)
    assert view.version > before.version
    assert fleet.heard() == [view]
    assert fleet.batch(1).verdict == "opened"


@pytest.mark.parametrize("garbage", ["many", "-3", "1.5", "", " 2", "0x10", "9" * 40])
def test_a_streak_of_garbage_is_none(fleet, garbage):
    fleet.batch(2)
    fleet.set("failures", garbage)
    assert fleet.sync().failures == 0
    assert fleet.get("failures") is None
    assert fleet.batch(2).verdict == "counted"


def test_a_streak_that_was_evicted_is_none(fleet):
    fleet.batch(2)
    fleet.delete("failures")
    assert fleet.batch(2).failures == 2


def test_a_streak_belongs_to_a_closed_circuit_only(fleet):
    fleet.open()
    fleet.set("failures", "7")
    assert fleet.sync().failures == 0


def test_a_streak_without_all_the_rest_is_adopted(fleet):
    fleet.set("failures", "2")
    assert fleet.sync().failures == 2
    assert fleet.batch(1).verdict == "opened"


def test_leases_that_were_evicted_free_their_slots(fleet):
    probe = fleet.half_open()
    fleet.delete("probes")
    assert fleet.peek().live_probes == 0
    assert probe.failure().verdict == "unknown"
    assert fleet.probe().success().verdict == "counted"


def test_who_only_looks_sees_it_healed_and_writes_nothing(fleet):
    before = fleet.sync()
    fleet.set("state", "open")
    fleet.set("failures", "4")
    stored = fleet.meta(), fleet.get("state"), fleet.get("failures"), fleet.history()
    view = fleet.peek()
    assert (view.state, view.epoch, view.version) == ("open", before.epoch, before.version)
    assert stored == (fleet.meta(), fleet.get("state"), fleet.get("failures"), fleet.history())


def test_a_newer_protocol_gives_no_verdict_and_is_left_alone(fleet):
    fleet.open()
    fleet.client.hset(fleet.keys.meta, "protocol", "2")
    fleet.listen()
    stored = fleet.meta()
    views = [fleet.sync(), fleet.peek(), fleet.batch(1), fleet.acquire(), fleet.reset(), fleet.force(SHADOW)]
    for view in views:
        assert (view.verdict, view.cause, view.version) == ("newer", "protocol 2", 0)
    assert fleet.meta() == stored
    assert fleet.heard() == []
