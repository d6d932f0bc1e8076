"""How a shared circuit is kept: versions, epochs, history, lifetimes, and what is published."""

from __future__ import annotations

import time

from circuitry.states import CircuitState

FORCED_OPEN, DISABLED, SHADOW = CircuitState.FORCED_OPEN, CircuitState.DISABLED, CircuitState.SHADOW


# -- Versions and epochs ---------------------------------------------------------------------------


def test_the_version_is_the_time_in_microseconds(fleet):
    fleet.sync()
    fleet.advance(1)
    assert fleet.batch(1).version == fleet.now


def test_each_change_has_a_greater_version_also_at_the_same_instant(fleet):
    views = [fleet.sync(), fleet.batch(1), fleet.batch(1), fleet.batch(0), fleet.open()]
    fleet.wait()
    views += [fleet.acquire(), fleet.acquire(), fleet.reset(), fleet.force(DISABLED)]
    versions = [view.version for view in views]
    assert versions == sorted(set(versions))


def test_each_change_has_a_greater_version_although_the_clock_goes_back(fleet):
    versions = []
    for _ in range(3):
        versions.append(fleet.batch(1).version)
        fleet.advance(-1000)
    assert versions == sorted(set(versions))


def test_each_transition_begins_an_epoch_with_its_version(fleet):
    views = [fleet.sync(), fleet.open()]
    fleet.wait()
    probe = fleet.probe()
    views += [probe.view, probe.failure(), fleet.reset()]
    epochs = [view.epoch for view in views]
    assert epochs == sorted(set(epochs))
    assert all(view.epoch <= view.version for view in views)


def test_what_is_no_transition_begins_no_epoch(fleet):
    epoch = fleet.sync().epoch
    assert {fleet.batch(1).epoch, fleet.batch(0).epoch, fleet.sync("b").epoch, fleet.acquire().epoch} == {
        epoch
    }
    probe = fleet.half_open()
    assert {fleet.acquire().epoch, probe.success().epoch, fleet.acquire().epoch} == {probe.view.epoch}


def test_a_server_that_has_forgotten_all_begins_an_epoch_above_what_a_member_knows(fleet):
    """FLUSHALL, or a restart: what the server says wins, under a version that everybody believes."""
    known = fleet.half_open().view
    fleet.clean()
    fleet.advance(-1000)
    view = fleet.sync()
    assert (view.state, view.reason, view.actor) == ("closed", "lost", "a")
    assert view.epoch == view.version == known.version + 1


def test_a_server_that_has_forgotten_some_says_what_it_has_under_an_epoch_above(fleet):
    """A failover lost the last writes."""
    opened = fleet.open()
    fleet.advance(2)
    view = fleet.sync("b", known=opened.version + 5)
    assert (view.state, view.reason, view.remaining_ms, view.cause) == ("open", "lost", 8_000, "down")
    assert view.epoch == view.version > opened.version + 5


def test_so_it_is_whatever_a_member_comes_with(fleet):
    opened = fleet.open()
    asked = [fleet.acquire, fleet.batch, lambda: fleet.batch(1), fleet.trip]
    for ask in asked:
        fleet.seen["a"] = opened._replace(version=fleet.peek().version + 5_000_000)
        assert ask().version > opened.version + 5_000_000


def test_leases_of_what_was_lost_are_not_redeemed(fleet):
    probe = fleet.half_open()
    fleet.sync("b", known=probe.view.version + 1)
    assert fleet.peek().live_probes == 0
    assert probe.failure().verdict == "stale"


def test_a_member_that_knows_as_much_as_the_server_changes_nothing(fleet):
    view = fleet.batch(1)
    assert fleet.sync("b", known=view.version)._replace(verdict=view.verdict) == view


# -- The server's time -------------------------------------------------------------------------------


def test_time_is_that_of_the_server(fleet):
    fleet.now = None
    seconds, micros = fleet.client.time()
    before = seconds * 1_000_000 + micros
    view = fleet.open()
    seconds, micros = fleet.client.time()
    assert before < view.version <= seconds * 1_000_000 + micros + 3
    assert before // 1_000_000 <= int(fleet.get("last_failure")) <= seconds
    assert view.remaining_ms == 10_000
    time.sleep(0.002)
    assert fleet.acquire().remaining_ms < 10_000


def test_a_real_deadline_passes(make_fleet):
    fleet = make_fleet(timeout_ms=2)
    fleet.now = None
    fleet.open()
    deadline = time.monotonic() + 5
    while fleet.acquire().verdict != "probe":
        assert time.monotonic() < deadline
    assert fleet.peek().state == "half_open"


# -- History -----------------------------------------------------------------------------------------


def test_transitions_are_remembered_with_time_reason_and_actor(fleet):
    fleet.sync("a")
    fleet.sync("b")
    fleet.batch(3, member="b", cause='"quoted": ü')
    fleet.wait()
    probe = fleet.probe("a")
    fleet.advance(0.25)
    probe.failure("again")
    fleet.force(SHADOW, actor="eva")
    last = fleet.reset(actor="uwe")
    told = [
        (line.at - 1_800_000_000, line.old_state, line.new_state, line.reason, line.actor, line.cause)
        for line in fleet.history()
    ]
    assert told == [
        (0, "closed", "closed", "created", "a", None),
        (0, "closed", "open", "tripped", "b", '"quoted": ü'),
        (10, "open", "half_open", "timed_out", "a", '"quoted": ü'),
        (10.25, "half_open", "open", "probe_failed", "a", "again"),
        (10.25, "open", "shadow", "shadowed", "eva", None),
        (10.25, "shadow", "closed", "reset", "uwe", None),
    ]
    assert fleet.history()[-1].epoch == last.epoch


def test_what_a_shadow_judges_is_remembered_under_the_epoch_it_began(fleet):
    fleet.force(SHADOW)
    view = fleet.open()
    line = fleet.history()[-1]
    assert (line.old_state, line.new_state, line.reason) == ("shadow", "shadow", "tripped")
    assert line.epoch == view.epoch


def test_the_last_fifty_transitions_are_remembered(fleet):
    for number in range(60):
        fleet.reset(actor=str(number))
    actors = [line.actor for line in fleet.history()]
    assert actors == [str(number) for number in range(10, 60)]


def test_each_epoch_has_one_line(fleet):
    fleet.half_open().failure()
    fleet.wait()
    fleet.probe().success()
    view = fleet.probe().success()
    epochs = [line.epoch for line in fleet.history()]
    assert epochs == sorted(set(epochs))
    assert epochs[-1] == view.epoch


# -- How long it is kept -------------------------------------------------------------------------------


def test_everything_has_an_end(fleet):
    probe = fleet.half_open()
    probe.success()
    fleet.probe()
    left = fleet.lifetimes()
    assert set(left) == {"state", "last_failure", "meta", "probes", "history"}
    assert all(60_000 <= ms <= 120_000 for ms in left.values())


def test_an_open_circuit_is_kept_for_longer_than_it_is_open(make_fleet):
    fleet = make_fleet(timeout_ms=900_000, keep_ms=1_000)
    fleet.open()
    assert all(901_000 <= ms <= 902_000 for ms in fleet.lifetimes().values())


def test_a_streak_is_kept_as_long_as_its_circuit(fleet):
    fleet.batch(2)
    left = fleet.lifetimes()
    assert set(left) == {"state", "failures", "last_failure", "meta", "history"}
    assert min(left.values()) >= 60_000


def test_members_keep_what_they_check(fleet):
    fleet.batch(2)
    for kind in fleet.lifetimes():
        fleet.client.pexpire(getattr(fleet.keys, kind), 59_000)
    fleet.sync()
    assert all(60_000 <= ms <= 120_000 for ms in fleet.lifetimes().values())


def test_a_check_does_not_write_when_enough_time_is_left(fleet):
    fleet.sync()
    fleet.client.pexpire(fleet.keys.history, 59_000)
    fleet.sync()
    assert fleet.lifetimes()["history"] <= 59_000


def test_who_only_looks_keeps_nothing(fleet):
    fleet.batch(1)
    for kind in fleet.lifetimes():
        fleet.client.pexpire(getattr(fleet.keys, kind), 59_000)
    fleet.peek()
    assert all(ms <= 59_000 for ms in fleet.lifetimes().values())


def test_presence_ends_by_itself(make_fleet):
    fleet = make_fleet(quorum=2)
    fleet.sync()
    assert 0 < fleet.lifetimes()["peers"] <= 30_000


def test_an_order_is_kept_for_ever(fleet):
    for mode in (FORCED_OPEN, DISABLED, SHADOW):
        fleet.sync()
        fleet.force(mode)
        fleet.sync("b")
        assert set(fleet.lifetimes().values()) == {-1}
        fleet.reset()
        assert all(0 < ms <= 120_000 for ms in fleet.lifetimes().values())


def test_a_shadow_that_judges_is_kept_for_ever(fleet):
    fleet.force(SHADOW)
    fleet.half_open()
    assert set(fleet.lifetimes().values()) == {-1}


def test_an_order_with_an_end_is_kept_until_after_it(fleet):
    fleet.force(FORCED_OPEN, seconds=1_000)
    assert all(1_060_000 <= ms <= 1_120_000 for ms in fleet.lifetimes().values())


def test_an_order_that_lost_its_permanence_by_hand_gets_it_back(fleet):
    fleet.force(FORCED_OPEN)
    fleet.client.pexpire(fleet.keys.meta, 1_000_000)
    fleet.sync()
    assert set(fleet.lifetimes().values()) == {-1}


def test_a_circuit_that_was_made_permanent_by_hand_gets_its_end_back(fleet):
    fleet.sync()
    fleet.client.persist(fleet.keys.meta)
    fleet.sync()
    assert 0 < fleet.lifetimes()["meta"] <= 120_000


# -- What is published ---------------------------------------------------------------------------------


def test_each_transition_is_published_with_the_whole_view(fleet):
    fleet.sync()
    fleet.listen()
    opened = fleet.open()
    fleet.wait()
    probe = fleet.probe()
    failed = probe.failure()
    reset = fleet.reset()
    expected = [opened, probe.view, failed, reset]
    assert fleet.heard() == [view._replace(verdict="view") for view in expected]


def test_the_first_failure_and_the_end_of_a_streak_are_published(fleet):
    fleet.sync()
    fleet.listen()
    first = fleet.batch(1)
    fleet.batch(1)
    last = fleet.batch(0)
    fleet.batch(0)
    again = fleet.batch(0, 1)
    fleet.batch(0, 1)
    heard = fleet.heard()
    assert [view.version for view in heard] == [first.version, last.version, again.version]
    assert [view.failures for view in heard] == [1, 0, 1]


def test_what_only_concerns_the_asker_is_not_published(fleet):
    probe = fleet.half_open()
    fleet.listen()
    fleet.sync()
    fleet.peek()
    other = fleet.probe("b")
    fleet.acquire("c")
    fleet.renew(probe)
    assert fleet.heard() == []
    other.ignored(), fleet.heard()
    probe.success()
    assert fleet.heard() == []


def test_a_slot_that_is_free_again_is_published_for_those_who_were_told_full(fleet):
    probes = [fleet.half_open(), fleet.probe("b")]
    assert fleet.acquire("c").verdict == "full"
    fleet.listen()
    probes[0].ignored()
    (view,) = fleet.heard()
    assert (view.state, view.live_probes) == ("half_open", 1)


def test_a_server_that_has_forgotten_publishes_what_it_has(fleet):
    fleet.open()
    fleet.clean()
    fleet.listen()
    view = fleet.sync()
    assert fleet.heard() == [view]


def test_the_end_of_an_order_is_published_once(fleet):
    fleet.force(DISABLED, seconds=1)
    fleet.advance(1)
    fleet.listen()
    fleet.peek()
    view = fleet.sync()
    fleet.sync()
    fleet.sync("b")
    assert fleet.heard() == [view]


def test_two_databases_of_a_server_are_two_fleets(make_fleet, server):
    """Pub/sub ignores SELECT: staging must not open production."""
    production = make_fleet()
    staging = make_fleet(db=9)
    staging.naming, staging.keys = production.naming, production.keys
    production.sync(), staging.sync()
    production.listen(), staging.listen()
    view = staging.open()
    assert staging.heard() == [view._replace(verdict="view")]
    assert production.heard() == []
    assert production.peek().state == "closed"
