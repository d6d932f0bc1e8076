"""What an operator says to a fleet."""

from __future__ import annotations

import pytest

from circuitry.states import CircuitState

pytestmark = pytest.mark.core

FORCED_OPEN, DISABLED, SHADOW = CircuitState.FORCED_OPEN, CircuitState.DISABLED, CircuitState.SHADOW


def test_each_mode_shows_as_the_state_that_others_should_read(fleet):
    for mode, state in ((FORCED_OPEN, "open"), (DISABLED, "closed"), (SHADOW, "closed")):
        view = fleet.force(mode)
        assert (view.verdict, view.mode, view.shown, view.state) == ("forced", mode, mode, state)
        assert fleet.get("state") == state
        assert (view.remaining_ms, view.mode_ms) == (0, 0)


def test_the_reason_and_the_actor_are_told(fleet):
    reasons = {FORCED_OPEN: "forced_open", DISABLED: "disabled", SHADOW: "shadowed"}
    for mode, reason in reasons.items():
        view = fleet.force(mode, actor="eva@desk")
        assert (view.reason, view.actor) == (reason, "eva@desk")
    view = fleet.reset(actor="uwe")
    assert (view.verdict, view.reason, view.actor) == ("reset", "reset", "uwe")


def test_each_order_begins_an_epoch_even_if_nothing_else_changes(fleet):
    epochs = [
        fleet.force(DISABLED).epoch,
        fleet.force(DISABLED).epoch,
        fleet.reset().epoch,
        fleet.reset().epoch,
    ]
    assert epochs == sorted(set(epochs))


def test_forced_open_rejects_for_ever(fleet):
    fleet.force(FORCED_OPEN)
    fleet.advance(1e6)
    view = fleet.acquire()
    assert (view.verdict, view.shown) == ("rejected", "forced_open")
    assert fleet.batch(0).verdict == "stale"


def test_disabled_judges_nothing(fleet):
    epoch = fleet.force(DISABLED).epoch
    assert fleet.batch(5, epoch=epoch).verdict == "stale"
    assert fleet.trip(epoch=epoch).verdict == "stale"
    assert fleet.acquire().verdict == "closed"
    assert fleet.peek().failures == 0


def test_shadow_judges_as_usual(fleet):
    fleet.force(SHADOW)
    view = fleet.open()
    assert (view.state, view.mode, view.remaining_ms) == ("open", "shadow", 10_000)
    assert fleet.get("state") == "open"
    assert fleet.acquire().verdict == "rejected"
    fleet.wait()
    fleet.probe().success()
    view = fleet.probe().success()
    assert (view.verdict, view.state, view.mode) == ("closed", "closed", "shadow")
    fleet.open()
    fleet.wait()
    assert fleet.probe().failure().mode == "shadow"


def test_an_order_closes_what_was_judged(fleet):
    for mode in (DISABLED, SHADOW):
        fleet.reset()
        fleet.open()
        view = fleet.force(mode)
        assert (view.state, view.remaining_ms, view.cause) == ("closed", 0, None)


def test_reset_closes_and_forgets(fleet):
    probe = fleet.half_open()
    view = fleet.reset()
    assert (view.state, view.mode, view.live_probes, view.successes, view.cause) == (
        "closed",
        None,
        0,
        0,
        None,
    )
    assert fleet.get("last_failure") is None
    assert probe.success().verdict == "stale"


def test_reset_ends_a_streak(fleet):
    fleet.batch(2)
    assert fleet.reset().failures == 0
    assert fleet.batch(2).verdict == "counted"


def test_reset_ends_each_mode(fleet):
    for mode in (FORCED_OPEN, DISABLED, SHADOW):
        fleet.force(mode)
        view = fleet.reset()
        assert (view.mode, view.state) == (None, "closed")


def test_an_order_with_an_end_ends(fleet):
    for mode in (FORCED_OPEN, DISABLED, SHADOW):
        forced = fleet.force(mode, seconds=2.5)
        assert forced.mode_ms == 2_500
        fleet.advance(2.499)
        assert (fleet.sync().mode, fleet.sync().mode_ms) == (mode, 1)
        fleet.advance(0.001)
        view = fleet.sync()
        assert (view.mode, view.state, view.reason) == (None, "closed", "expired")
        assert view.epoch > forced.epoch


def test_a_shadow_with_an_end_keeps_it_through_transitions(fleet):
    fleet.force(SHADOW, seconds=15)
    fleet.open()
    fleet.wait()
    fleet.probe()
    fleet.advance(1)
    assert fleet.sync().mode_ms == 4_000
    fleet.advance(4)
    view = fleet.sync()
    assert (view.mode, view.state, view.reason, view.live_probes) == (None, "closed", "expired", 0)


def test_a_later_order_takes_the_end_away(fleet):
    fleet.force(FORCED_OPEN, seconds=5)
    fleet.force(FORCED_OPEN)
    fleet.advance(6)
    assert fleet.sync().mode == "forced_open"


def test_who_only_looks_sees_the_end_and_does_not_write_it(fleet):
    forced = fleet.force(FORCED_OPEN, seconds=5)
    fleet.advance(5)
    view = fleet.peek()
    assert (view.mode, view.state, view.epoch) == (None, "closed", forced.epoch)
    assert fleet.meta()["mode"] == "forced_open"


def test_an_order_outlives_the_process_that_gave_it(fleet):
    fleet.force(FORCED_OPEN)
    fleet.seen.clear()
    assert fleet.sync("newcomer").mode == "forced_open"
