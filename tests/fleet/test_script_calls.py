"""What becomes of a shared circuit that is closed: pooled outcomes, and when they open it."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.core


def test_a_circuit_that_nobody_has_used_is_closed(fleet):
    view = fleet.peek()
    assert (view.verdict, view.state, view.shown) == ("view", "closed", "closed")
    assert (view.epoch, view.version, view.failures, view.cause) == (0, 0, 0, None)


def test_a_sync_begins_the_first_epoch(fleet):
    view = fleet.sync()
    assert (view.verdict, view.state, view.reason) == ("view", "closed", "created")
    assert 0 < view.epoch == view.version
    assert fleet.get("state") == "closed"


def test_a_second_sync_changes_nothing(fleet):
    first = fleet.sync()
    fleet.advance(1)
    again = fleet.sync("b")
    assert again == first._replace(now=again.now)


def test_failures_of_all_members_are_one_streak(fleet):
    fleet.sync("a"), fleet.sync("b"), fleet.sync("c")
    assert fleet.batch(1, member="a").verdict == "counted"
    assert fleet.batch(1, member="b").failures == 2
    view = fleet.batch(1, member="c")
    assert (view.verdict, view.state, view.remaining_ms, view.reason) == ("opened", "open", 10_000, "tripped")


def test_the_threshold_is_the_number_of_failures_that_opens(fleet):
    assert fleet.batch(2).verdict == "counted"
    assert fleet.batch(1).verdict == "opened"


def test_more_failures_than_the_threshold_at_once_open_it(fleet):
    assert fleet.batch(30).verdict == "opened"


def test_a_success_of_any_member_ends_the_streak(fleet):
    fleet.sync("b")
    fleet.batch(2, member="a")
    assert fleet.batch(0, member="b").failures == 0
    assert fleet.batch(2, member="a").verdict == "counted"


def test_runs_count_in_their_order(fleet):
    assert fleet.batch(2, 0, 2).failures == 2
    assert fleet.batch(1).verdict == "opened"


def test_a_run_in_the_middle_opens_it(fleet):
    view = fleet.batch(1, 0, 3, 0, 1)
    assert (view.verdict, view.failures) == ("opened", 0)


def test_several_runs_of_failures_add_up(fleet):
    assert fleet.batch(1, 1).failures == 2
    assert fleet.batch(1).verdict == "opened"


def test_a_success_without_failures_changes_nothing(fleet):
    before = fleet.sync()
    fleet.advance(1)
    view = fleet.batch(0)
    assert view == before._replace(verdict=view.verdict, now=view.now)
    assert view.verdict == "counted"


def test_failures_are_readable(fleet):
    fleet.batch(2)
    assert fleet.get("failures") == "2"
    fleet.batch(0)
    assert fleet.get("failures") is None


def test_the_moment_of_the_last_failure_is_readable_in_unix_seconds(fleet):
    fleet.advance(100.9)
    fleet.batch(1)
    assert fleet.get("last_failure") == "1800000100"
    fleet.advance(7)
    fleet.batch(0)
    assert fleet.get("last_failure") == "1800000100"
    fleet.batch(3)
    assert fleet.get("last_failure") == "1800000107"


def test_an_opening_is_readable(fleet):
    fleet.open()
    assert fleet.get("state") == "open"
    assert fleet.get("failures") is None


def test_the_cause_is_that_of_the_batch_which_opened_it(fleet):
    fleet.batch(2, cause="refused")
    assert fleet.peek().cause is None
    assert fleet.batch(1, cause="timed out: ü").cause == "timed out: ü"
    assert fleet.peek().cause == "timed out: ü"


def test_outcomes_of_calls_from_another_epoch_are_stale(fleet):
    old = fleet.sync()
    fleet.reset()
    view = fleet.batch(3, epoch=old.epoch)
    assert (view.verdict, view.state, view.failures) == ("stale", "closed", 0)
    assert fleet.get("last_failure") is None


def test_a_late_success_does_not_close_an_open_circuit(fleet):
    epoch = fleet.sync().epoch
    fleet.open()
    view = fleet.batch(0, epoch=epoch)
    assert (view.verdict, view.state) == ("stale", "open")


def test_outcomes_of_this_epoch_do_not_count_while_it_is_open(fleet):
    """Nobody sends such, but if somebody did, a late failure would restart the timer."""
    opened = fleet.open()
    fleet.advance(4)
    view = fleet.batch(3, epoch=opened.epoch)
    assert (view.verdict, view.remaining_ms) == ("stale", 6_000)


def test_a_late_failure_does_not_reopen_half_open(fleet):
    epoch = fleet.sync().epoch
    fleet.half_open()
    view = fleet.batch(3, epoch=epoch)
    assert (view.verdict, view.state) == ("stale", "half_open")


def test_two_members_that_open_it_at_once_open_it_once(fleet):
    fleet.sync("a"), fleet.sync("b")
    opened = fleet.batch(3, member="a")
    view = fleet.batch(3, member="b")
    assert (view.verdict, view.epoch) == ("stale", opened.epoch)


def test_a_rule_decided_elsewhere_opens_it(fleet):
    view = fleet.trip(cause="half of the calls failed")
    assert (view.verdict, view.state, view.remaining_ms) == ("opened", "open", 10_000)
    assert (view.cause, view.reason) == ("half of the calls failed", "tripped")
    assert fleet.get("last_failure") == "1800000000"


def test_a_rule_decided_on_evidence_of_another_epoch_is_stale(fleet):
    old = fleet.sync()
    fleet.reset()
    assert fleet.trip(epoch=old.epoch).verdict == "stale"
    opened = fleet.open()
    fleet.advance(1)
    view = fleet.trip(epoch=opened.epoch)
    assert (view.verdict, view.remaining_ms) == ("stale", 9_000)


def test_a_closed_circuit_gives_no_lease(fleet):
    fleet.sync()
    view = fleet.acquire()
    assert (view.verdict, view.live_probes) == ("closed", 0)


def test_an_open_circuit_rejects_until_its_deadline(fleet):
    fleet.open()
    fleet.advance(9.999999)
    view = fleet.acquire()
    assert (view.verdict, view.state, view.remaining_ms) == ("rejected", "open", 1)
    fleet.advance(0.000001)
    assert fleet.acquire().verdict == "probe"


def test_the_time_that_remains_is_rounded_up(fleet):
    """A deadline may come late, and never early."""
    fleet.open()
    fleet.advance(0.0001)
    assert fleet.peek().remaining_ms == 10_000
    fleet.advance(0.0009)
    assert fleet.peek().remaining_ms == 9_999


def test_past_its_deadline_it_stays_open_until_somebody_asks(fleet):
    fleet.open()
    fleet.wait()
    fleet.advance(5)
    view = fleet.sync("b")
    assert (view.state, view.remaining_ms) == ("open", 0)


def test_members_judge_by_their_own_thresholds(fleet):
    fleet.batch(2)
    fleet.rules = fleet.rules._replace(failure_threshold=2, timeout_ms=3_000)
    view = fleet.batch(1)
    assert (view.verdict, view.remaining_ms, view.rules) == ("opened", 3_000, "2/2/3000/2")


def test_a_view_tells_by_whose_rules_the_epoch_began(fleet):
    assert fleet.sync().rules == fleet.rules.fingerprint == "3/2/10000/2"
    fleet.rules = fleet.rules._replace(failure_threshold=9)
    assert fleet.sync("b").rules == "3/2/10000/2"
    assert fleet.reset().rules == "9/2/10000/2"


def test_a_circuit_of_any_name_works(make_fleet):
    for name in ('a "quoted" {one}', "}:*%s", "Störung 🚦", "x" * 1000):
        fleet = make_fleet(name=name)
        fleet.listen()
        fleet.open()
        assert fleet.heard()[-1].state == "open"
        assert fleet.sync("b").state == "open"


def test_what_lay_in_a_frozen_servers_buffers_is_yesterdays_news(fleet):
    """The client has gone, and its command is carried out all the same: it must not trip the fleet."""
    fleet.sync()
    assert fleet.batch(1, best_before=fleet.now).verdict == "counted"
    view = fleet.batch(9, best_before=fleet.now - 1)
    assert (view.verdict, view.state, view.failures) == ("stale", "closed", 1)
