"""What a circuit has to tell its fleet: how outcomes merge, when they are void, and of which epoch."""

from __future__ import annotations

import pytest

from circuitry.redis import outbox as module
from circuitry.redis.outbox import LONGEST, OUTCOME_AGE, Outbox
from circuitry.states import Outcome, Reason
from circuitry.testing import ManualClock

pytestmark = pytest.mark.core

SUCCESS, FAILURE, IGNORED = Outcome
EPOCH = 7


@pytest.fixture
def time(monkeypatch):
    """A clock that stands."""
    clock = ManualClock(1000.0)
    monkeypatch.setattr(module.time, "monotonic", clock)
    return clock


@pytest.fixture
def outbox(time):
    """It knows that the epoch is 7."""
    outbox = Outbox()
    outbox.learn(EPOCH)
    return outbox


def count(outbox, *outcomes, epoch=EPOCH):
    for outcome in outcomes:
        outbox.count(epoch, outcome, "down" if outcome is FAILURE else None)


def runs(outbox):
    taken = outbox.take_runs()
    return None if taken is None else (taken.epoch, taken.runs)


# -- Outcomes ------------------------------------------------------------------------------------------


def test_outcomes_merge_into_runs(outbox):
    count(outbox, FAILURE, FAILURE, SUCCESS, SUCCESS, FAILURE)
    assert len(outbox) == 1
    taken = outbox.take_runs()
    assert (taken.epoch, taken.runs, taken.cause, taken.since) == (EPOCH, [2, 0, 1], "down", 1000.0)
    assert outbox.take_runs() is None
    assert len(outbox) == 0


def test_a_cause_may_be_missing(outbox):
    outbox.count(EPOCH, FAILURE, None)
    assert outbox.take_runs().cause == ""


def test_a_success_alone_is_one_number(outbox):
    count(outbox, SUCCESS, SUCCESS)
    assert runs(outbox) == (EPOCH, [0])


def test_many_runs_are_made_short_with_the_same_effect(outbox):
    count(outbox, *[FAILURE, FAILURE, SUCCESS] * (2 * LONGEST), FAILURE)
    _, taken = runs(outbox)
    assert len(taken) <= LONGEST
    assert (taken[0], taken[-1]) == (2, 1)


def test_what_is_too_old_is_not_sent(outbox, time):
    count(outbox, FAILURE)
    time.advance(OUTCOME_AGE + 0.1)
    assert outbox.take_runs() is None
    count(outbox, FAILURE)
    time.advance(OUTCOME_AGE)
    assert runs(outbox) == (EPOCH, [1])


def test_what_is_too_old_goes_when_something_new_comes(outbox, time):
    count(outbox, FAILURE, FAILURE)
    time.advance(OUTCOME_AGE + 0.1)
    count(outbox, FAILURE)
    assert runs(outbox) == (EPOCH, [1])


def test_outcomes_of_an_epoch_that_is_over_are_void(outbox):
    count(outbox, FAILURE, FAILURE)
    count(outbox, FAILURE, epoch=EPOCH + 1)
    count(outbox, FAILURE)
    assert runs(outbox) == (EPOCH + 1, [1])


# -- Epochs that aren't known yet ------------------------------------------------------------------------


def test_outcomes_wait_for_their_epoch_to_be_known(time):
    outbox = Outbox()
    count(outbox, FAILURE, epoch=outbox.unknown)
    outbox.learn(EPOCH)
    outbox.learn(EPOCH + 1)
    assert runs(outbox) == (EPOCH, [1])


def test_a_late_outcome_of_the_time_before_belongs_to_what_was_learned_first(time):
    """Its call was admitted before anything was known, and it ends epochs later: so it is stale."""
    outbox = Outbox()
    outbox.learn(EPOCH)
    outbox.learn(EPOCH + 1)
    count(outbox, FAILURE, epoch=0)
    assert runs(outbox) == (EPOCH, [1])
    count(outbox, FAILURE, epoch=EPOCH + 1)
    count(outbox, FAILURE, epoch=0)
    assert runs(outbox) == (EPOCH + 1, [1])


def test_nothing_is_learned_while_an_order_is_on_its_way(outbox):
    """What the fleet says until then is from before the order, and what comes after it isn't of that."""
    outbox.order(Reason.RESET)
    count(outbox, FAILURE, epoch=outbox.unknown)
    outbox.learn(EPOCH)
    assert outbox.carried_out(outbox.ordered, EPOCH + 1)
    assert runs(outbox) == (EPOCH + 1, [1])


# -- Orders ----------------------------------------------------------------------------------------------


def test_an_order_voids_what_was_counted_before(outbox):
    count(outbox, FAILURE, FAILURE)
    outbox.order(Reason.RESET)
    assert outbox.take_runs() is None
    assert outbox.ordered.reason is Reason.RESET
    assert len(outbox) == 1


def test_what_ends_after_an_order_but_began_before_is_void(outbox):
    before = outbox.unknown
    outbox.order(Reason.RESET)
    count(outbox, FAILURE, epoch=EPOCH)
    count(outbox, FAILURE, epoch=before)
    count(outbox, FAILURE, epoch=outbox.unknown)
    count(outbox, FAILURE, epoch=EPOCH)
    outbox.carried_out(outbox.ordered, EPOCH + 1)
    assert runs(outbox) == (EPOCH + 1, [1])


def test_what_began_between_two_orders_is_void_too(outbox):
    outbox.order(Reason.RESET)
    between = outbox.unknown
    outbox.order(Reason.RESET)
    count(outbox, FAILURE, epoch=between)
    assert outbox.take_runs() is None


def test_an_order_waits_until_the_fleet_has_it(outbox):
    outbox.order(Reason.FORCED_OPEN)
    order = outbox.ordered
    assert outbox.ordered is order
    assert outbox.carried_out(order, EPOCH + 1)
    assert outbox.ordered is None


def test_a_later_order_takes_the_place_of_one_that_is_under_way(outbox):
    outbox.order(Reason.FORCED_OPEN)
    first = outbox.ordered
    outbox.order(Reason.RESET)
    count(outbox, FAILURE, epoch=outbox.unknown)
    assert not outbox.carried_out(first, EPOCH + 1)
    assert outbox.ordered.reason is Reason.RESET
    assert outbox.carried_out(outbox.ordered, EPOCH + 2)
    assert runs(outbox) == (EPOCH + 2, [1])


# -- Probes ----------------------------------------------------------------------------------------------


def test_ends_of_probes_are_taken_in_turn(outbox):
    outbox.end("one", SUCCESS, None)
    outbox.end("other", FAILURE, "down")
    assert len(outbox) == 2
    first, second = outbox.take_ended(), outbox.take_ended()
    assert (first.lease, first.outcome, first.cause) == ("one", SUCCESS, "")
    assert (second.lease, second.outcome, second.cause) == ("other", FAILURE, "down")
    assert outbox.take_ended() is None


def test_an_end_that_is_too_old_is_not_sent(outbox, time):
    outbox.end("one", SUCCESS, None)
    time.advance(OUTCOME_AGE + 0.1)
    outbox.end("other", SUCCESS, None)
    assert outbox.take_ended().lease == "other"
