"""What the windows of a fleet's members come to: added up by the script, for a while, in one epoch."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuitry.redis import script as module
from circuitry.states import CircuitState

from .servers import needed

redis = needed("redis")

pytestmark = pytest.mark.core

DISABLED = CircuitState.DISABLED


def stored(fleet):
    """The members whose windows lie on the server."""
    return {seat.decode().split(":")[0] for seat in fleet.client.hkeys(fleet.keys.windows)}


def test_windows_of_all_members_are_added_up_one_by_one(fleet):
    fleet.sync("a"), fleet.sync("b")
    view = fleet.pool((10, 3), (8, 0), member="a")
    assert (view.verdict, view.pooled) == ("counted", (1, ((10, 3), (8, 0))))
    assert fleet.pool((90, 2), (7, 7), member="b").pooled == (2, ((100, 5), (15, 7)))


def test_what_a_member_tells_takes_the_place_of_what_it_told_before(fleet):
    fleet.pool((10, 3)), fleet.pool((12, 4))
    assert fleet.pool((12, 4)).pooled == (1, ((12, 4),))


def test_the_failures_that_stand_against_it_are_the_most_that_one_window_holds(fleet):
    assert fleet.pool((10, 3), (8, 5)).failures == 5
    assert fleet.get("failures") == "5"
    assert fleet.peek().failures == 5


def test_it_says_how_many_members_have_something_bad(fleet):
    fleet.pool((10, 3), member="a")
    assert fleet.pool((10, 0), member="b").pooled.failing == 1
    assert fleet.pool((10, 1), member="c").pooled.failing == 2


def test_windows_of_another_sign_are_not_added(fleet):
    fleet.pool((10, 3), sign="other", member="a")
    assert fleet.pool((5, 1), member="b").pooled == (1, ((5, 1),))
    assert stored(fleet) == {"a", "b"}


def test_a_member_that_is_not_heard_of_counts_for_as_long_as_it_has_said(fleet):
    fleet.pool((10, 3), member="a", keep=5.0)
    fleet.advance(4.999)
    assert fleet.pool((1, 1), member="b", keep=9.0).pooled == (2, ((11, 4),))
    fleet.advance(0.001)
    assert fleet.pool((1, 1), member="b", keep=9.0).pooled == (1, ((1, 1),))
    assert stored(fleet) == {"b"}


def test_what_nobody_tells_any_more_vanishes(fleet):
    fleet.pool((10, 3), keep=5.0)
    assert 4_000 < fleet.client.pttl(fleet.keys.windows) <= 5_000


def test_once_nothing_is_bad_nothing_is_kept(fleet):
    fleet.pool((10, 3), member="a"), fleet.pool((50, 0), member="b")
    assert fleet.pool((60, 0), member="b").failures == 3
    assert fleet.pool((11, 0), member="a").failures == 0
    assert stored(fleet) == set()
    assert fleet.get("failures") is None


def test_windows_without_anything_bad_change_nothing(fleet):
    before = fleet.sync()
    view = fleet.pool((10, 0))
    assert (view.version, view.pooled) == (before.version, (0, ((10, 0),)))
    assert stored(fleet) == set()


def test_it_is_published_when_something_is_bad_and_when_nothing_is_any_more(fleet):
    fleet.sync("a"), fleet.sync("b")
    fleet.listen()
    fleet.pool((10, 1)), fleet.pool((11, 2)), fleet.pool((50, 1), member="b")
    assert [view.failures for view in fleet.heard()] == [1]
    fleet.pool((12, 0)), fleet.pool((60, 0), member="b")
    assert [view.failures for view in fleet.heard()] == [0]


def test_a_transition_forgets_the_windows(fleet):
    fleet.pool((10, 6))
    assert fleet.trip().verdict == "opened"
    assert stored(fleet) == set()
    fleet.reset()
    assert fleet.pool((4, 1)).pooled == (1, ((4, 1),))


@pytest.mark.parametrize("turn", ["open", "disabled", "reset"])
def test_windows_from_before_are_stale(fleet, turn):
    epoch = fleet.sync().epoch
    {"open": fleet.open, "disabled": lambda: fleet.force(DISABLED), "reset": fleet.reset}[turn]()
    view = fleet.pool((10, 6), epoch=epoch)
    assert (view.verdict, view.pooled, stored(fleet)) == ("stale", None, set())


def test_what_comes_too_late_is_of_no_account(fleet):
    fleet.sync()
    before, later = fleet.now, fleet.now + 1
    fleet.advance(0.000001)
    assert fleet.pool((10, 6), best_before=before).verdict == "stale"
    assert fleet.trip(best_before=before).verdict == "stale"
    assert fleet.pool((10, 6), best_before=later).verdict == "counted"
    assert fleet.trip(best_before=later).verdict == "opened"


@pytest.mark.parametrize("text", ["", "nonsense", "99999999999999999 same", "-1 same 4 4", "x same 1 1"])
def test_what_a_hand_has_written_there_is_swept_away(fleet, text):
    fleet.pool((10, 3), member="a")
    fleet.client.hset(fleet.keys.windows, "hand", text)
    assert fleet.pool((10, 3), member="a").pooled == (1, ((10, 3),))
    assert stored(fleet) == {"a"}


def test_the_time_of_the_last_failure_is_when_more_was_bad(fleet):
    fleet.pool((10, 1))
    then = fleet.get("last_failure")
    fleet.advance(5)
    fleet.pool((11, 1))
    assert fleet.get("last_failure") == then
    fleet.pool((12, 2))
    assert int(fleet.get("last_failure")) == int(then) + 5


# -- For how long it is open ---------------------------------------------------------------------------


def test_it_stays_open_for_as_long_as_was_drawn(fleet):
    assert fleet.batch(3, wait=42.0).remaining_ms == 42_000
    fleet.advance(42)
    assert fleet.probe().failure(wait=17.5).remaining_ms == 17_500
    fleet.reset()
    assert fleet.trip(wait=3.0).remaining_ms == 3_000


def test_where_nothing_was_drawn_its_timeout_holds(fleet):
    assert fleet.trip().remaining_ms == fleet.rules.timeout_ms


def test_it_counts_how_often_it_has_opened(fleet):
    assert fleet.open().openings == 1
    for openings in (2, 3):
        fleet.wait()
        probe = fleet.probe()
        assert probe.view.openings == openings - 1
        assert probe.failure().openings == openings


def test_having_closed_it_counts_anew(fleet):
    probe = fleet.half_open()
    second = fleet.probe("b")
    probe.success()
    assert second.success().openings == 0
    fleet.sync()
    assert fleet.open().openings == 1


@pytest.mark.parametrize("say", ["reset", "forced_open", "disabled", "hand"])
def test_what_an_operator_does_is_no_opening(fleet, say):
    fleet.open()
    if say == "hand":
        fleet.set("state", "closed")
    else:
        fleet.reset() if say == "reset" else fleet.force(CircuitState(say))
    assert fleet.sync().openings == 0


# -- Against a naive list -----------------------------------------------------------------------------------

MEMBERS = "abc"
TELLINGS = st.lists(
    st.tuples(
        st.sampled_from(MEMBERS),
        st.sampled_from(["x", "y"]),
        st.tuples(st.integers(0, 30), st.integers(0, 30)),
        st.integers(1, 4),  # for how many seconds it counts
        st.integers(0, 2),  # how many seconds pass before it
    ),
    max_size=12,
)


def expected(told, now, sign):
    live = [numbers for of, numbers, ends in told.values() if of == sign and ends > now]
    return sum(bad > 0 for _, bad in live), (tuple(map(sum, zip(*live, strict=True))),)


@settings(max_examples=25)
@given(tellings=TELLINGS)
def test_sums_are_those_of_a_naive_list(one_server, tellings):
    from .model_fleet import Fleet

    with redis.Redis.from_url(one_server.url()) as client:
        fleet = Fleet(client, name=uuid.uuid4().hex)
        told = {}
        for member, sign, numbers, keep, seconds in tellings:
            fleet.advance(seconds)
            told[member] = sign, numbers, fleet.now + keep * 1_000_000
            view = fleet.pool(numbers, member=member, sign=sign, keep=keep)
            assert view.pooled == expected(told, fleet.now, sign)
            if view.failures == 0:
                told = {}
        fleet.clean()


def test_the_rights_of_a_member_are_enough_for_it():
    assert {"+hgetall", "+hdel"} <= set(module.MEMBER_RIGHTS.split())
