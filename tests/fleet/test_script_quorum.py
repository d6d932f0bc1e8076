"""How many members have to see failures before the fleet does."""

from __future__ import annotations

import pytest


def prepare(make_fleet):
    """Four members, two of which have to see failures."""
    fleet = make_fleet(quorum=2)
    for member in "abcd":
        fleet.sync(member)
    return fleet


@pytest.fixture
def fleet(make_fleet):
    return prepare(make_fleet)


def test_members_are_counted_where_a_quorum_is_asked_for(fleet):
    assert fleet.sync().peers == 4
    fleet.rules = fleet.rules._replace(quorum=1)
    assert fleet.sync().peers == 0


def test_without_a_quorum_nobody_is_registered(make_fleet):
    fleet = make_fleet()
    fleet.sync()
    fleet.batch(1)
    assert fleet.client.exists(fleet.keys.peers) == 0


def test_a_member_that_is_not_heard_of_is_gone(fleet):
    fleet.advance(20)
    fleet.sync("a")
    fleet.advance(9.999999)
    assert fleet.sync("b").peers == 4
    fleet.advance(0.000001)
    assert fleet.sync("a").peers == 2
    assert fleet.client.zcard(fleet.keys.peers) == 2


def test_who_only_looks_is_no_member(fleet):
    fleet.peek()
    assert fleet.sync().peers == 4


def test_one_broken_member_does_not_open_it_for_all(fleet):
    for _ in range(50):
        view = fleet.batch(10, member="a")
        assert (view.verdict, view.state) == ("counted", "closed")
    assert view.failures == 500


def test_the_first_failure_of_a_second_member_joins_the_standing_streak(fleet):
    """In a total outage a quorum of two costs one more failing call in the whole fleet."""
    fleet.batch(3, member="a")
    assert fleet.batch(1, member="b").verdict == "opened"


def test_failures_of_enough_members_below_the_threshold_do_not_open_it(fleet):
    fleet.batch(1, member="a")
    assert fleet.batch(1, member="b").verdict == "counted"
    assert fleet.batch(1, member="a").verdict == "opened"


def test_a_success_also_forgets_who_was_in_the_streak(fleet):
    fleet.batch(1, member="a")
    fleet.batch(0, member="b")
    assert fleet.batch(3, member="b").verdict == "counted"
    assert fleet.batch(0, 3, member="a").verdict == "counted"
    assert fleet.batch(1, member="b").verdict == "opened"


def test_a_member_whose_name_is_part_of_anothers_is_another(fleet):
    fleet.sync("aa")
    fleet.batch(3, member="aa")
    assert fleet.batch(1, member="a").verdict == "opened"


def test_three_have_to_see_it_if_three_are_asked_for(fleet):
    fleet.rules = fleet.rules._replace(quorum=3)
    fleet.batch(3, member="a")
    assert fleet.batch(3, member="b").verdict == "counted"
    assert fleet.batch(1, member="c").verdict == "opened"


def test_with_fewer_members_all_of_them_do(make_fleet):
    fleet = make_fleet(quorum=5)
    fleet.sync("a"), fleet.sync("b")
    fleet.batch(3, member="a")
    assert fleet.batch(1, member="b").verdict == "opened"


def test_the_last_member_decides_alone(make_fleet):
    fleet = make_fleet(quorum=2)
    fleet.sync("a")
    assert fleet.batch(3, member="a").verdict == "opened"


def test_a_newcomer_does_not_take_itself_for_the_last_member(make_fleet):
    """Just started, it can't know yet whether others are there: Redis may have come back empty."""
    fleet = make_fleet(quorum=2)
    fleet.sync("a")
    assert fleet.batch(3, member="a", settled=False).verdict == "counted"
    assert fleet.batch(1, member="a", settled=True).verdict == "opened"


def test_members_that_fall_silent_lower_the_quorum(fleet):
    fleet.batch(3, member="a")
    fleet.advance(30)
    assert fleet.batch(1, member="a").verdict == "opened"


def test_who_reports_is_present(make_fleet):
    fleet = make_fleet(quorum=2)
    fleet.sync("a"), fleet.sync("b")
    fleet.advance(20)
    fleet.batch(1, member="b")
    fleet.advance(20)
    assert fleet.sync("a").peers == 2


def test_a_clock_that_went_back_does_not_keep_the_dead_present(fleet):
    fleet.advance(-3600)
    assert fleet.sync("a").peers == 1
