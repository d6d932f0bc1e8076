"""Leave to probe, from a fleet: who is asked, who is answered, and what becomes of it if he has gone."""

from __future__ import annotations

import math
import threading
import time

import pytest

from circuitry.gate import ALONE, Refused
from circuitry.redis.leases import Desk, Held, Lease, Request
from circuitry.states import Outcome, Probe

pytestmark = pytest.mark.core

EPOCH = 7


class Holder:
    """Writes down what becomes of leases."""

    def __init__(self):
        self.held, self.ended = [], []

    def hold(self, lease, probe):
        self.held.append((lease, probe))

    def end(self, lease, outcome, cause):
        self.ended.append((lease, outcome))


@pytest.fixture
def holder():
    return Holder()


@pytest.fixture
def desk():
    return Desk()


@pytest.fixture
def lease(holder):
    return make(holder)


def make(holder, ends_in=60.0, epoch=EPOCH, token="a"):
    return Lease(holder, token, epoch, time.monotonic() + ends_in)


def test_a_lease_tells_its_holder_of_the_probe_or_that_there_is_none(holder, lease):
    lease.used_by(Probe(1, 0))
    lease.give_back()
    assert holder.held == [(lease, Probe(1, 0))]
    assert holder.ended == [(lease, Outcome.IGNORED)]


# -- A request ------------------------------------------------------------------------------------------


def test_a_caller_is_woken_and_finds_the_answer(lease):
    woken = []
    request = Request("a", lambda: woken.append("woken"))
    assert request.answer(lease)
    assert woken == ["woken"]
    assert request.settle(ALONE) is lease


def test_the_first_answer_counts(lease):
    request = Request("a", lambda: None)
    assert request.answer(lease)
    assert not request.answer(ALONE)
    assert request.settle(ALONE) is lease


def test_who_has_given_up_is_not_answered(lease):
    request = Request("a", lambda: None)
    refused = Refused()
    assert request.settle(refused) is refused
    assert request.given_up
    assert not request.answer(lease)


def test_who_is_gone_with_his_event_loop_has_given_up(lease):
    request = Request("a", lambda: False)
    assert not request.answer(lease)
    assert request.given_up
    assert request.settle(ALONE) is ALONE


def test_either_the_answer_or_the_end_of_patience_comes_first(holder):
    """Whatever the order, the lease is held by the caller, or given back: never both, never neither."""
    for number in range(200):
        desk, lease = Desk(), make(holder, token=str(number))
        request = desk.request("a", lambda: None, 1)
        start = threading.Barrier(2)
        granter = threading.Thread(target=lambda: (start.wait(5), desk.grant(request, lease)))  # noqa: B023
        granter.start()
        start.wait(5)
        taken = request.settle(ALONE)
        granter.join(5)
        assert (taken is lease) is not ((lease, Outcome.IGNORED) in holder.ended)


# -- The desk -------------------------------------------------------------------------------------------


def test_nothing_can_be_said_at_once_where_nothing_is_known(desk):
    assert desk.at_once(EPOCH) is None


def test_no_more_ask_at_once_than_probes_may_be_out(desk):
    assert desk.request("a", lambda: None, 2) is not None
    second = desk.request("b", lambda: None, 2)
    assert desk.request("c", lambda: None, 2) is None
    desk.done(second)
    assert desk.request("d", lambda: None, 2) is not None


def test_many_threads_never_ask_more_often_than_may_be():
    for _ in range(50):
        desk, requests, start = Desk(), [], threading.Barrier(4)

        def ask(desk=desk, requests=requests, start=start):
            start.wait(5)
            requests.append(desk.request("a", None, 1))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(5)
        assert len([request for request in requests if request is not None]) == 1


def test_requests_are_sent_in_turn(desk):
    requests = [desk.request(token, None, 9) for token in "abc"]
    assert [desk.next() for _ in range(4)] == [*requests, None]


def test_a_lease_for_nobody_in_particular_is_for_who_comes_next(desk, lease):
    desk.grant(desk.request("a", None, 1), lease)
    assert desk.at_once(EPOCH) is lease
    assert desk.at_once(EPOCH) is None


def test_a_lease_that_has_lain_too_long_is_nobodys(desk, holder):
    request = desk.request("a", None, 1)
    for old in (make(holder, ends_in=-0.1), make(holder, epoch=EPOCH - 1)):
        desk.grant(request, old)
    good = make(holder)
    desk.grant(request, good)
    assert desk.at_once(EPOCH) is good


def test_a_lease_that_nobody_waits_for_is_given_back(desk, holder, lease):
    request = desk.request("a", lambda: None, 1)
    request.settle(ALONE)
    desk.grant(request, lease)
    assert holder.ended == [(lease, Outcome.IGNORED)]


def test_a_refusal_is_remembered_as_long_as_it_holds(desk):
    request = desk.request("a", lambda: None, 1)
    desk.refuse(request, 30.0)
    assert not request.settle(ALONE).granted
    refused = desk.at_once(EPOCH)
    assert not refused.granted
    assert 29 < refused.retry_after <= 30
    desk.reopen()
    assert desk.at_once(EPOCH) is None


def test_who_gets_no_answer_at_all_decides_alone(desk):
    request = desk.request("a", lambda: None, 1)
    desk.done(request)
    assert request.settle(Refused()) is ALONE


def test_when_the_link_is_lost_all_who_wait_are_on_their_own(desk, lease):
    first, second = desk.request("a", lambda: None, 3), desk.request("b", lambda: None, 3)
    desk.grant(desk.request("c", None, 3), lease)
    desk.refuse(first, 30.0)
    desk.close()
    assert second.settle(Refused()) is ALONE
    assert desk.next() is None
    assert desk.at_once(EPOCH) is None
    assert desk.request("d", None, 1) is not None


# -- Leases that are held ---------------------------------------------------------------------------------


def test_a_lease_is_held_by_its_probe_until_that_ends(holder, lease):
    held, probe = Held(), Probe(1, 0)
    held.hold(lease, probe, 30.0)
    assert len(held) == 1
    assert held.of(probe) is lease
    held.let_go(probe)
    assert held.of(probe) is None
    assert not held


def test_all_can_be_let_go(holder):
    held = Held()
    leases = [make(holder), make(holder)]
    for number, lease in enumerate(leases):
        held.hold(lease, Probe(1, number), 30.0)
    assert held.let_all_go() == leases
    assert not held


def test_a_lease_is_due_at_a_third_of_its_time(holder):
    held, fresh, older = Held(), make(holder, ends_in=3.0), make(holder, ends_in=1.9)
    held.hold(fresh, Probe(1, 0), 30.0)
    held.hold(older, Probe(1, 1), 30.0)
    assert held.due(EPOCH, 3.0) == [older]
    assert held.next_renewal(EPOCH, 3.0) == older.ends - 2.0


def test_it_is_not_renewed_once_it_lasts_as_long_as_its_probe_may(holder):
    held, lease = Held(), make(holder, ends_in=1.0)
    held.hold(lease, Probe(1, 0), 0.9)
    assert held.due(EPOCH, 3.0) == []
    assert held.next_renewal(EPOCH, 3.0) == math.inf


def test_nor_once_its_epoch_is_over(holder, lease):
    held = Held()
    held.hold(lease, Probe(1, 0), 300.0)
    assert held.next_renewal(EPOCH, 60.0) < math.inf
    assert held.next_renewal(EPOCH + 1, 60.0) == math.inf
    assert held.due(EPOCH + 1, 600.0) == []


def test_where_nothing_is_held_nothing_is_due():
    assert Held().next_renewal(EPOCH, 3.0) == math.inf
