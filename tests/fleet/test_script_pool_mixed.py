"""Windows of members that are not alike: of other rules, with streaks, twice in a process, or of long ago."""

from __future__ import annotations

import pytest

from .servers import needed

needed("redis")

pytestmark = pytest.mark.core


def test_windows_of_another_sign_in_which_nothing_is_bad_sweep_nothing_away(fleet):
    fleet.pool((10, 3), sign="old", member="a"), fleet.pool((90, 0), sign="old", member="b")
    view = fleet.pool((50, 0), sign="new", member="c")
    assert (view.failures, view.pooled) == (3, (0, ((50, 0),)))
    assert fleet.pool((11, 4), sign="old", member="a").pooled == (1, ((101, 4),))


def test_it_stays_for_as_long_as_the_longest_that_was_told(fleet):
    fleet.pool((10, 3), keep=30.0, member="a"), fleet.pool((5, 1), keep=1.0, sign="other", member="b")
    assert 29_000 < fleet.client.pttl(fleet.keys.windows) <= 30_000


def test_what_windows_hold_is_no_streak(fleet):
    fleet.pool((100, 2), member="a")
    view = fleet.batch(1, member="b")
    assert (view.verdict, view.failures) == ("counted", 1)
    assert fleet.batch(1, member="b").failures == 2
    assert fleet.batch(1, member="b").verdict == "opened"


def test_a_streak_that_waited_while_the_circuit_went_over_to_a_rate_opens_nothing(fleet):
    fleet.rules = fleet.rules._replace(failure_threshold=0)
    assert fleet.batch(1, 0, 2).verdict == "counted"


def test_two_circuits_of_one_name_in_one_process_are_both_counted_and_are_one_member(fleet):
    fleet.pool((10, 3), member="a", seat=1)
    assert fleet.pool((20, 5), member="a", seat=2).pooled == (1, ((30, 8),))
    assert fleet.pool((1, 1), member="b", seat=1).pooled == (2, ((31, 9),))


def test_where_the_clock_was_set_back_nobody_counts_for_longer_than_members_are_remembered(fleet):
    fleet.pool((10, 3), member="a")
    fleet.advance(-3600)
    assert fleet.pool((1, 1), member="b").pooled == (1, ((1, 1),))


def test_a_hash_from_before_openings_were_counted_is_believed(fleet):
    from circuitry.states import CircuitState

    before = fleet.force(CircuitState.FORCED_OPEN)
    fleet.client.hdel(fleet.keys.meta, "openings")
    view = fleet.sync("b")
    assert (view.mode, view.epoch, view.openings) == ("forced_open", before.epoch, 0)
