"""What becomes of a shared circuit that is half-open: leases, probes, and how they decide."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.core


def test_the_first_to_ask_after_the_deadline_gets_the_first_probe(fleet):
    fleet.open()
    fleet.wait()
    view = fleet.acquire("b")
    assert (view.verdict, view.state, view.live_probes) == ("probe", "half_open", 1)
    assert (view.reason, view.actor, view.cause) == ("timed_out", "b", "down")
    assert fleet.get("state") == "half_open"


def test_no_more_probes_than_the_limit_are_in_flight_in_the_fleet(fleet):
    fleet.half_open("a")
    assert fleet.acquire("b").verdict == "probe"
    for member in "abc":
        view = fleet.acquire(member)
        assert (view.verdict, view.live_probes) == ("full", 2)


def test_with_limit_one_there_is_one_probe(make_fleet):
    fleet = make_fleet(half_open_max_calls=1)
    fleet.half_open()
    assert fleet.acquire("b").verdict == "full"


def test_full_says_how_long_it_holds(fleet):
    fleet.half_open()
    fleet.advance(1)
    fleet.probe("b")
    fleet.advance(1)
    assert fleet.acquire("c").remaining_ms == 3_000
    assert fleet.peek().remaining_ms == 3_000


def test_with_a_slot_free_there_is_nothing_to_wait_for(fleet):
    assert fleet.half_open().view.remaining_ms == 0


def test_enough_successes_close_it(fleet):
    view = fleet.half_open().success()
    assert (view.verdict, view.state, view.successes) == ("counted", "half_open", 1)
    view = fleet.probe("b").success()
    assert (view.verdict, view.state, view.reason, view.actor) == ("closed", "closed", "recovered", "b")
    assert (view.successes, view.failures, view.live_probes, view.cause) == (0, 0, 0, None)
    assert fleet.get("state") == "closed"


def test_the_success_threshold_may_exceed_the_limit(make_fleet):
    fleet = make_fleet(success_threshold=4, half_open_max_calls=1)
    fleet.half_open().success()
    for _ in range(2):
        assert fleet.probe().success().verdict == "counted"
    assert fleet.probe().success().verdict == "closed"


def test_one_failure_opens_it_again(fleet):
    probe, other = fleet.half_open(), fleet.probe("b")
    fleet.advance(1)
    view = probe.failure("still down")
    assert (view.verdict, view.state, view.remaining_ms) == ("opened", "open", 10_000)
    assert (view.reason, view.cause, view.live_probes) == ("probe_failed", "still down", 0)
    assert fleet.get("last_failure") == "1800000011"
    assert other.success().verdict == "stale"


def test_an_ignored_probe_gives_its_slot_back_and_decides_nothing(make_fleet):
    fleet = make_fleet(half_open_max_calls=1)
    view = fleet.half_open().ignored()
    assert (view.verdict, view.state, view.live_probes, view.successes) == ("released", "half_open", 0, 0)
    assert fleet.acquire("b").verdict == "probe"


def test_a_success_gives_its_slot_back(make_fleet):
    fleet = make_fleet(half_open_max_calls=1)
    assert fleet.half_open().success().live_probes == 0
    assert fleet.acquire("b").verdict == "probe"


def test_a_probe_ends_once(fleet):
    probe = fleet.half_open()
    probe.success()
    assert probe.success().verdict == "unknown"
    assert probe.failure().verdict == "unknown"
    assert fleet.peek().successes == 1


def test_a_token_that_was_never_given_is_unknown(fleet):
    probe = fleet.half_open()
    probe.token = "never"
    view = probe.failure()
    assert (view.verdict, view.state) == ("unknown", "half_open")


def test_a_probe_of_the_last_round_does_not_decide_this_one(fleet):
    late, failed = fleet.half_open(), fleet.probe("b")
    failed.failure()
    fleet.wait()
    fleet.probe("c")
    assert late.success().verdict == "stale"
    assert late.failure().verdict == "stale"
    view = fleet.peek()
    assert (view.state, view.successes, view.live_probes) == ("half_open", 0, 1)


def test_a_round_begins_with_all_slots_free(make_fleet):
    """Those that were in flight when a probe failed hold none, also if their leases still live."""
    fleet = make_fleet(timeout_ms=1_000)
    fleet.half_open("a")
    fleet.probe("b").failure()
    fleet.wait()
    assert fleet.probe("c").view.live_probes == 1


def test_a_probe_says_nothing_about_a_closed_circuit(fleet):
    probe = fleet.half_open()
    fleet.reset()
    assert probe.failure().verdict == "stale"
    assert fleet.peek().state == "closed"


def test_a_lease_that_is_not_renewed_frees_its_slot(make_fleet):
    """The prober was killed."""
    fleet = make_fleet(half_open_max_calls=1)
    fleet.half_open()
    fleet.advance(4.999999)
    assert fleet.acquire("b").verdict == "full"
    fleet.advance(0.000001)
    view = fleet.acquire("b")
    assert (view.verdict, view.live_probes) == ("probe", 1)


@pytest.mark.parametrize("ending", ["success", "failure", "ignored"])
def test_the_result_of_a_lapsed_probe_still_counts(make_fleet, ending):
    fleet = make_fleet(half_open_max_calls=1)
    probe = fleet.half_open()
    fleet.advance(60)
    verdicts = {"success": "counted", "failure": "opened", "ignored": "released"}
    assert getattr(probe, ending)().verdict == verdicts[ending]


def test_a_lapsed_probe_does_not_free_anothers_slot(make_fleet):
    fleet = make_fleet(half_open_max_calls=1)
    late = fleet.half_open("a")
    fleet.advance(5)
    fleet.probe("b")
    late.ignored()
    view = fleet.acquire("c")
    assert (view.verdict, view.live_probes) == ("full", 1)


def test_a_lapsed_probe_counts_although_another_has_its_slot(make_fleet):
    fleet = make_fleet(half_open_max_calls=1)
    late = fleet.half_open("a")
    fleet.advance(5)
    fleet.probe("b")
    view = late.success()
    assert (view.verdict, view.successes, view.live_probes) == ("counted", 1, 1)


def test_a_renewed_lease_lives_on(make_fleet):
    fleet = make_fleet(half_open_max_calls=1)
    probe = fleet.half_open()
    for _ in range(5):
        fleet.advance(4)
        view = fleet.renew(probe)
        assert (view.verdict, view.renewed, view.remaining_ms) == ("renewed", 1, 5_000)
    assert fleet.acquire("b").verdict == "full"
    assert probe.success().verdict == "counted"


def test_a_lapsed_lease_is_not_renewed(make_fleet):
    """Its slot may be another's."""
    fleet = make_fleet(half_open_max_calls=1)
    late = fleet.half_open("a")
    fleet.advance(5)
    fleet.probe("b")
    view = fleet.renew(late)
    assert (view.verdict, view.renewed, view.live_probes) == ("renewed", 0, 1)


def test_several_leases_are_renewed_at_once(fleet):
    one, other = fleet.half_open(), fleet.probe()
    fleet.advance(3)
    assert fleet.renew(one, other).renewed == 2
    one.success()
    assert fleet.renew(one, other).renewed == 1


def test_a_lease_of_another_epoch_is_not_renewed(fleet):
    late, failed = fleet.half_open(), fleet.probe()
    failed.failure()
    view = fleet.renew(late)
    assert (view.verdict, view.renewed) == ("stale", 0)
    fleet.wait()
    fleet.probe("b")
    view = fleet.renew(late)
    assert (view.verdict, view.renewed, view.live_probes) == ("stale", 0, 1)


def test_lapsed_tokens_do_not_pile_up(make_fleet):
    """A backend that hangs for hours must not fill Redis. The newest ones stay redeemable."""
    fleet = make_fleet(half_open_max_calls=1)
    probe = fleet.half_open()
    first = probe
    for _ in range(300):
        fleet.advance(5)
        probe = fleet.probe()
    assert fleet.client.zcard(fleet.keys.probes) == 257
    assert first.failure().verdict == "unknown"
    assert probe.success().verdict == "counted"


def test_a_clock_that_went_back_does_not_hold_a_slot(make_fleet):
    """A lease that ends later than any can is one from before."""
    fleet = make_fleet(half_open_max_calls=1)
    probe = fleet.half_open()
    fleet.advance(-3600)
    assert fleet.acquire("b").verdict == "probe"
    assert probe.success().verdict == "counted"


def test_a_clock_that_went_back_does_not_make_the_wait_longer(fleet):
    fleet.open()
    fleet.advance(1)
    fleet.advance(-3600)
    assert fleet.sync().remaining_ms == 10_000
    fleet.advance(4)
    assert fleet.acquire().remaining_ms == 6_000
    fleet.advance(6)
    assert fleet.acquire().verdict == "probe"


def test_members_probe_by_their_own_limits(fleet):
    fleet.half_open(), fleet.probe()
    fleet.rules = fleet.rules._replace(half_open_max_calls=3, success_threshold=1)
    assert fleet.probe("b").success().verdict == "closed"
