"""The timelines of docs/howto/sharing.md, second by second, on the script and the server's clock."""

from __future__ import annotations

import pytest

from .servers import on_one_server

pytestmark = on_one_server

NODES = ("a", "b", "c", "d")


@pytest.fixture
def make(make_fleet):
    def making(**rules):
        numbers = {
            "failure_threshold": 5,
            "success_threshold": 2,
            "timeout_ms": 30_000,
            "half_open_max_calls": 1,
            "lease_ms": 5_000,
        }
        fleet = make_fleet(**{**numbers, **rules})
        for node in NODES:
            fleet.sync(node)
        return fleet

    return making


def test_an_outage(make):
    fleet = make()
    assert fleet.batch(2, member="a").failures == 2
    assert fleet.batch(2, member="b").failures == 4
    opened = fleet.batch(1, member="c")
    assert (opened.verdict, opened.remaining_ms) == ("opened", 30_000)
    assert {fleet.acquire(node).verdict for node in NODES} == {"rejected"}
    fleet.advance(30)
    probe = fleet.probe("d")
    assert fleet.acquire("a").verdict == "full"
    fleet.advance(1)
    assert probe.failure().remaining_ms == 30_000
    assert {fleet.acquire(node).verdict for node in NODES} == {"rejected"}
    fleet.advance(30)
    assert fleet.probe("b").success().successes == 1
    fleet.advance(1)
    assert fleet.probe("c").success().verdict == "closed"
    assert {fleet.acquire(node).verdict for node in NODES} == {"closed"}


@pytest.mark.parametrize("quorum", [1, 2])
def test_a_lone_broken_node_among_busy_ones_opens_nothing(make, quorum):
    fleet = make(quorum=quorum)
    for _ in range(10):
        fleet.batch(1, member="a")
        assert fleet.batch(0, member="b").failures == 0
    assert fleet.peek().state == "closed"


@pytest.mark.parametrize(("quorum", "state"), [(1, "open"), (2, "closed")])
def test_a_lone_broken_node_among_idle_ones(make, quorum, state):
    fleet = make(quorum=quorum)
    for _ in range(5):
        fleet.batch(1, member="a")
    assert fleet.peek().state == state


def test_a_second_broken_node_in_the_same_streak_makes_a_quorum(make):
    fleet = make(quorum=2)
    fleet.batch(5, member="a")
    assert fleet.batch(1, member="b").verdict == "opened"


@pytest.mark.parametrize(("settled", "verdict"), [(False, "counted"), (True, "opened")])
def test_who_is_alone_for_long_enough_is_all_that_are_present(make, settled, verdict):
    fleet = make(quorum=2)
    fleet.advance(31)  # the others are gone
    assert fleet.batch(5, member="a", settled=settled).verdict == verdict


def test_a_killed_prober(make):
    fleet = make()
    fleet.open()
    fleet.advance(30)
    killed = fleet.probe("d")
    fleet.advance(1)
    fleet.renew(killed)  # its last word
    for _ in range(9):
        assert {fleet.acquire(node).verdict for node in ("a", "b", "c")} == {"full"}
        fleet.advance(0.5)
    fleet.advance(0.5)
    assert fleet.acquire("a").verdict == "probe"


@pytest.mark.parametrize("known_by", ["a", "b"])
def test_redis_back_empty_is_closed_for_all(make, known_by):
    fleet = make()
    fleet.open()
    fleet.sync(known_by)
    fleet.delete(*fleet.keys._fields)
    view = fleet.sync(known_by)
    assert (view.state, view.mode, view.reason) == ("closed", None, "lost")
