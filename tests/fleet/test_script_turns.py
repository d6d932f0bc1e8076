"""With a quorum, a member whose probe has failed lets others try: it may be the one that is broken."""

from __future__ import annotations

import pytest


def prepare(make_fleet):
    """Four members; the probe of `a` has just reopened the circuit."""
    fleet = make_fleet(quorum=2)
    for member in "abcd":
        fleet.sync(member)
    fleet.batch(1, member="b")
    fleet.open()
    fleet.wait()
    fleet.probe("a").failure()
    return fleet


@pytest.fixture
def fleet(make_fleet):
    return prepare(make_fleet)


def test_the_member_waits_for_the_others(fleet):
    fleet.wait()
    view = fleet.acquire("a")
    assert (view.verdict, view.state, view.remaining_ms) == ("full", "open", 5_000)
    assert fleet.acquire("b").verdict == "probe"
    assert fleet.acquire("a").verdict == "full"


def test_before_the_deadline_it_is_rejected_like_all(fleet):
    assert fleet.acquire("a").verdict == "rejected"


def test_if_none_of_them_asks_within_a_lease_it_may(fleet):
    fleet.wait()
    fleet.advance(4.999999)
    assert fleet.acquire("a").verdict == "full"
    fleet.advance(0.000001)
    assert fleet.acquire("a").verdict == "probe"
    assert fleet.acquire("a").verdict == "probe"


def test_while_they_go_on_asking_it_waits(fleet):
    fleet.rules = fleet.rules._replace(success_threshold=9)
    fleet.wait()
    for _ in range(4):
        fleet.probe("b").success()
        fleet.advance(4)
        view = fleet.acquire("a")
        assert (view.verdict, view.remaining_ms) == ("full", 1_000)
    fleet.advance(1)
    assert fleet.acquire("a").verdict == "probe"


def test_alone_it_probes_at_once(fleet):
    fleet.wait()
    fleet.advance(20)
    fleet.sync("a")
    fleet.advance(-20)
    fleet.client.delete(fleet.keys.peers)
    assert fleet.acquire("a").verdict == "probe"


def test_a_round_that_others_end_ends_it(fleet):
    fleet.wait()
    fleet.probe("b").success()
    fleet.probe("c").success()
    fleet.batch(1, member="b", epoch=fleet.peek().epoch)
    assert fleet.batch(3, member="a", epoch=fleet.peek().epoch).verdict == "opened"
    fleet.wait()
    assert fleet.acquire("a").verdict == "probe"


def test_then_the_next_that_fails_waits(fleet):
    fleet.wait()
    fleet.probe("b").failure()
    fleet.wait()
    assert fleet.acquire("b").verdict == "full"
    assert fleet.acquire("a").verdict == "probe"


def test_without_a_quorum_nobody_waits(fleet):
    fleet.rules = fleet.rules._replace(quorum=1)
    fleet.wait()
    assert fleet.acquire("a").verdict == "probe"
