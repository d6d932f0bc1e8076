"""Quorums among real members: who opens for all, and who only for himself."""

from __future__ import annotations

import time

import pytest

from circuitry import CircuitBreaker, CircuitBreakerConfig, CircuitOpenError

from .fleet_scenes import NUMBERS, admits, fail, until

PRESENCE = 0.3  # seconds: three checks


def members(join, count, **settings):
    """Members of a fleet that wants two to have failed."""
    return [join(store=join.store(quorum=2), timeout_duration=0.2, **settings) for _ in range(count)]


def test_a_node_alone_in_its_trouble_opens_nothing_for_the_others(colour, join):
    broken, healthy = members(join, 2)
    for _ in range(10):
        if broken.state == "closed":
            fail(broken)
    assert broken.store.flush()
    assert broken.state == "open"
    assert (broken.metrics().verdict, join.get("state")) == ("local", "closed")
    colour.acquire(healthy).success()


def test_an_outage_costs_one_failure_more_in_the_whole_fleet(join):
    """The second node's first failure joins the streak that stands."""
    one, other = members(join, 2)
    fail(one, 3)
    assert one.store.flush()
    assert join.get("state") == "closed"
    fail(other, 1)
    for member in (one, other):
        until(lambda member=member: member.metrics().verdict == "fleet", "it isn't open for all")
        assert member.state == "open"


def test_the_last_one_left_decides_alone_once_it_can_know(join):
    """Until it has been there for as long as a member counts as present, others may be there unseen."""
    store = join.store(quorum=2, check_period=PRESENCE / 3)
    alone = join(store=store, failure_threshold=1, timeout_duration=60)
    fail(alone, 1)
    assert store.flush()
    assert (join.get("state"), alone.metrics().verdict) == ("closed", "local")
    time.sleep(PRESENCE)
    alone.reset()
    fail(alone, 1)
    until(lambda: alone.metrics().verdict == "fleet", "it goes on waiting for others")
    assert join.get("state") == "open"


def test_after_an_outage_of_redis_it_has_to_find_out_anew_who_is_there(join_frail):
    """The presence of all has lapsed meanwhile: the first to be back isn't the last one left."""
    stores = [join_frail.store(quorum=2, check_period=10.0) for _ in range(2)]
    one, other = [join_frail(store=store, failure_threshold=1, timeout_duration=60) for store in stores]
    one.acquire().failure(OSError("down"))
    assert one.store.flush()
    one.reset(local=True)
    join_frail.server.stop()
    until(lambda: one.store.health().link == "down", "it isn't taken for lost")
    other.store.close()
    join_frail.server.start()
    until(lambda: one.store.health().link == "up", "it isn't found again")
    fail(one, 1)
    assert one.store.flush()
    assert one.state == "open"
    assert (one.metrics().verdict, join_frail.get("state")) == ("local", "closed")


def test_who_reopened_it_lets_the_others_try_first(join):
    one, other = members(join, 2)
    fail(one, 3), fail(other, 1)
    for member in (one, other):
        until(lambda member=member: member.metrics().verdict == "fleet", "it isn't open for all")
    time.sleep(0.22)
    one.acquire().failure(OSError("still down"))
    until(lambda: other.metrics().retry_after > 0, "it isn't told")
    time.sleep(0.22)
    with pytest.raises(CircuitOpenError):
        one.acquire()
    probe = other.acquire()
    probe.success()
    until(lambda: one.state == other.state == "closed", "it isn't closed for all")


def test_a_circuits_own_quorum_goes_before_the_stores(join):
    store = join.store(quorum=2)
    own = join(store=store, quorum=1)
    fail(own, 3)
    until(lambda: join.get("state") == "open", "the store's quorum holds")
    config = CircuitBreakerConfig(**NUMBERS, quorum=2)
    strict = CircuitBreaker("hulu", config, store=join.store(quorum=1))
    assert strict.store.wait_ready()
    fail(strict, 3)
    assert strict.store.flush()
    assert join.get("state", "hulu") == "closed"
    assert admits(own) is False
