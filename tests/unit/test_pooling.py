"""A circuit's windows in its fleet: when they are told, and what comes of the answer."""

from __future__ import annotations

import types

import pytest

from circuitry.policies import (
    Adaptive,
    AllOf,
    AnyOf,
    ConsecutiveFailures,
    FailureRate,
    SlowCallRate,
    last,
    within,
)
from circuitry.redis import pooling as module
from circuitry.redis.pooling import BEATS, NEVER, PACE, SLOWEST, Pooling, Trip
from circuitry.redis.views import Pooled
from circuitry.testing import ManualClock
from circuitry.tripping import Policy
from circuitry.windows import Streak, Unjudged

pytestmark = pytest.mark.core

EPOCH = 7
PRESENCE = 30_000
FAILURES = FailureRate(0.5, window=last(100), minimum_calls=4)
SLOW = SlowCallRate(0.5, slower_than=2.0, window=within(10.0), minimum_calls=4)


@pytest.fixture
def time(monkeypatch):
    clock = ManualClock(1000.0)
    monkeypatch.setattr(module.time, "monotonic", clock)
    return clock


class Circuit:
    """The evidence of a circuit with this rule, and its pooling."""

    def __init__(self, rule=FAILURES, nudge=lambda: None):
        self.policy = Policy(rule, "the rule")
        self.clock = ManualClock()
        self.evidence = self.policy.evidence(self.clock)
        self.pooling = Pooling(nudge)
        self.pooling.count_in(self.evidence, EPOCH)

    def fail(self, *, cause="down", wait=None):
        self.evidence.failure()
        return self.pooling.touch(self.evidence, Trip(cause, wait))

    def succeed(self):
        self.evidence.success()

    def due(self, *, epoch=EPOCH, failing=True):
        return self.pooling.due(self.policy, epoch, failing, PRESENCE)

    def answered(self, *counts, failing=1, needed=1):
        view = types.SimpleNamespace(pooled=Pooled(failing, counts) if counts else None)
        return self.pooling.answered(view, needed)

    def beat(self, time, *counts):
        """Tell and be answered, once."""
        time.advance(PACE)
        assert self.due() is not None
        return self.answered(*counts)


@pytest.fixture
def circuit(time):
    return Circuit()


# -- When ------------------------------------------------------------------------------------------------


def test_while_nothing_is_bad_there_is_nothing_to_look_at(circuit):
    circuit.succeed()
    assert circuit.pooling.look_at == NEVER
    assert circuit.due() is None


def test_the_first_failure_is_told_at_once(circuit):
    assert circuit.fail()
    assert circuit.due(failing=False).counts == ((1, 1),)


def test_the_next_are_told_50_ms_later_all_at_once(circuit, time):
    circuit.fail()
    circuit.due()
    circuit.answered((1, 1))
    assert not circuit.fail()
    circuit.succeed()
    time.advance(PACE - 0.001)
    assert circuit.due() is None
    time.advance(0.001)
    assert circuit.due().counts == ((3, 2),)


def test_what_others_have_met_makes_this_one_tell_too(circuit):
    circuit.succeed()
    assert circuit.pooling.mind(True)
    assert not circuit.pooling.mind(True)
    assert circuit.due().counts == ((1, 0),)


def test_who_counts_nothing_has_nothing_to_tell(circuit, time):
    pooling = Pooling()
    circuit.evidence.failure()
    assert not pooling.touch(circuit.evidence, Trip("down"))
    assert not pooling.mind(True)
    assert pooling.due(None, EPOCH, True, PRESENCE) is None
    assert pooling.look_at == NEVER


def test_what_has_not_changed_is_told_three_times_and_then_seldom(circuit, time):
    circuit.fail()
    for _ in range(BEATS):
        circuit.beat(time, (1, 1))
    looks = []
    for _ in range(8):
        time.advance(max(0.0, circuit.pooling.look_at - time()))
        looks.append(time())
        assert circuit.due() is None
    assert looks[-1] - looks[-2] == SLOWEST
    time.advance(PRESENCE / 3000)
    assert circuit.due() is not None


def test_a_failure_after_a_quiet_time_is_told_at_once(circuit, time):
    circuit.fail()
    for _ in range(BEATS):
        circuit.beat(time, (1, 1))
    for _ in range(4):
        time.advance(SLOWEST)
        circuit.due()
    assert circuit.fail()
    assert circuit.due().counts == ((2, 2),)


def test_what_the_server_refuses_is_tried_again_a_second_later(circuit, time):
    circuit.fail()
    circuit.due()
    time.advance(SLOWEST - 0.01)
    circuit.succeed()
    assert circuit.due() is None
    time.advance(0.01)
    assert circuit.due() is not None


def test_once_all_is_well_again_that_is_told_and_no_more(time):
    circuit = Circuit(FailureRate(0.5, window=last(2), minimum_calls=2))
    circuit.fail()
    circuit.due()
    circuit.answered((1, 1))
    circuit.succeed(), circuit.succeed()
    time.advance(PACE)
    assert circuit.due(failing=False).counts == ((2, 0),)
    circuit.answered((2, 0), failing=0)
    time.advance(PACE)
    assert circuit.due(failing=False) is None
    assert circuit.pooling.look_at == NEVER


def test_what_was_counted_in_another_epoch_is_not_told(circuit):
    circuit.fail()
    assert circuit.due(epoch=EPOCH + 1) is None
    assert circuit.pooling.look_at == NEVER


@pytest.mark.parametrize("other", [Streak(3), Unjudged()])
def test_other_evidence_is_not_told_of(circuit, other):
    circuit.fail()
    assert not circuit.pooling.count_in(other, EPOCH)
    assert circuit.due() is None


def test_what_a_circuit_opened_by_is_told_on(circuit):
    circuit.evidence.failure()
    assert circuit.pooling.count_in(None, EPOCH)
    assert not circuit.pooling.count_in(None, EPOCH)  # that is no news
    assert circuit.due().counts == ((1, 1),)


def test_an_opening_without_anything_bad_is_not_told(circuit):
    assert not circuit.pooling.count_in(None, EPOCH)
    assert not Pooling().count_in(None, EPOCH)


def test_when_the_server_is_lost_there_is_nobody_to_tell(circuit):
    circuit.fail()
    circuit.pooling.lost()
    assert circuit.due() is None


def test_what_is_bad_when_the_server_is_back_is_told(circuit):
    circuit.fail()
    circuit.pooling.lost()
    assert circuit.pooling.count_in(circuit.evidence, EPOCH)
    assert circuit.due() is not None
    assert not circuit.pooling.count_in(circuit.evidence, EPOCH)


def test_in_a_new_epoch_all_is_told_anew_and_the_others_have_their_time(circuit, time):
    circuit.fail()
    for _ in range(BEATS):
        circuit.beat(time, (9, 9))
    assert circuit.pooling.count_in(circuit.evidence, EPOCH + 1)
    assert circuit.due(epoch=EPOCH + 1) is not None
    assert circuit.answered((9, 9)) is None


def test_a_failure_that_comes_while_the_link_goes_to_rest_is_told(time, monkeypatch):
    circuit = Circuit()
    circuit.pooling.mind(True)
    sleep = circuit.pooling._sleep
    monkeypatch.setattr(circuit.pooling, "_sleep", lambda: (circuit.fail(), sleep()))
    assert circuit.due(failing=False) is None
    assert circuit.due(failing=False).counts == ((1, 1),)


def test_a_call_that_hangs_is_told_once_it_is_found_late(time):
    nudged = []
    circuit = Circuit(SLOW, nudge=lambda: lambda: nudged.append(True))
    flight = circuit.evidence.enter()
    circuit.clock.advance(3)
    circuit.evidence.enter()
    assert circuit.due(failing=False).counts == ((1, 1),)
    flight.given_up()
    assert nudged == [True]


def test_a_call_that_is_slow_is_told_when_it_ends(time):
    circuit = Circuit(SLOW)
    flight = circuit.evidence.enter()
    circuit.clock.advance(3)
    flight.success()
    assert circuit.due(failing=False).counts == ((1, 1),)


# -- What ------------------------------------------------------------------------------------------------


def test_each_rate_has_its_numbers(time):
    circuit = Circuit(FAILURES | SLOW)
    circuit.evidence.enter().failure()
    flight = circuit.evidence.enter()
    circuit.clock.advance(3)
    flight.success()
    circuit.pooling.touch(circuit.evidence, None)
    assert circuit.due().counts == ((2, 1), (2, 1))


@pytest.mark.parametrize(
    ("rule", "keep"),
    [(FAILURES, 30_000), (SLOW, 10_000), (FAILURES | SLOW, 30_000), (FailureRate(0.5, within(90)), 30_000)],
)
def test_it_counts_for_as_long_as_it_would_here_or_until_it_would_be_gone(time, rule, keep):
    circuit = Circuit(rule)
    circuit.pooling.mind(True)
    assert circuit.due().keep_ms == keep


def sign(rule):
    circuit = Circuit(rule)
    circuit.pooling.mind(True)
    return circuit.due().sign


def test_rules_with_the_same_windows_have_the_same_sign(time):
    same = FailureRate(0.9, window=last(100), minimum_calls=50)
    assert sign(FAILURES) == sign(same) == sign(same | ConsecutiveFailures(3))
    others = [
        SLOW,
        FAILURES | SLOW,
        SLOW | FAILURES,
        FailureRate(0.5, last(99)),
        FailureRate(0.5, within(100)),
    ]
    slower = SlowCallRate(0.5, slower_than=2.5, window=within(10.0))
    signs = {sign(rule) for rule in (FAILURES, *others, slower)}
    assert len(signs) == 7
    assert all(text.isalnum() for text in signs)


def test_a_rule_that_is_changed_is_judged_anew(circuit, time):
    circuit.fail()
    circuit.beat(time, (1, 1))
    circuit.policy = Policy(FailureRate(0.1, window=last(100), minimum_calls=1), "the new rule")
    circuit.policy.evidence(circuit.clock, circuit.evidence)
    for _ in range(BEATS - 1):
        trip = circuit.beat(time, (9, 1))
    assert trip == Trip("down")


def test_a_rule_that_is_changed_while_the_link_looks_is_judged_by(circuit, time):
    old, new = circuit.policy, Policy(FailureRate(0.1, window=last(100), minimum_calls=1), "the new rule")
    new.evidence(circuit.clock, circuit.evidence)
    circuit.fail()
    circuit.policy = old  # what the link has read a moment before
    circuit.beat(time, (9, 1))
    circuit.policy = new
    for _ in range(BEATS - 1):
        trip = circuit.beat(time, (9, 1))
    assert trip == Trip("down")


# -- What comes of it ------------------------------------------------------------------------------------


def test_the_others_have_three_beats_to_tell_of_theirs(circuit, time):
    circuit.fail(cause="no route", wait=12.0)
    trips = [circuit.beat(time, (9, 9)) for _ in range(BEATS)]
    assert trips == [None] * (BEATS - 1) + [Trip("no route", 12.0)]


def test_it_trips_only_where_the_rule_holds_of_all_together(circuit, time):
    circuit.fail()
    for _ in range(BEATS):
        circuit.beat(time, (9, 4))
    assert circuit.answered((3, 3)) is None
    assert circuit.answered((4, 2)) is not None


def test_it_trips_only_where_enough_members_fail(circuit, time):
    circuit.fail()
    for _ in range(BEATS):
        circuit.beat(time, (9, 0))
    assert circuit.answered((9, 9), needed=2) is None
    assert circuit.answered((9, 9), failing=2, needed=2) is not None


def test_an_answer_without_sums_or_with_others_says_nothing(circuit, time):
    circuit.fail()
    for _ in range(BEATS):
        circuit.beat(time, (9, 0))
    assert circuit.answered((9, 9)) is not None
    assert circuit.answered() is None
    assert circuit.answered((9, 9), (9, 9)) is None
    assert Pooling().answered(types.SimpleNamespace(pooled=Pooled(1, ())), 1) is None


def test_where_nothing_has_failed_the_rule_is_the_reason(time):
    circuit = Circuit(SLOW)
    flight = circuit.evidence.enter()
    circuit.clock.advance(3)
    flight.success()
    circuit.pooling.touch(circuit.evidence, None)
    for _ in range(BEATS):
        trip = circuit.beat(time, (4, 4))
    assert trip == Trip("the rule")


def test_who_has_met_nothing_bad_leaves_it_to_the_others(circuit, time):
    circuit.pooling.mind(True)
    for _ in range(BEATS):
        circuit.beat(time, (9, 9))
    assert circuit.answered((9, 9)) is None


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        (FAILURES | ConsecutiveFailures(1), False),
        (FAILURES & ConsecutiveFailures(1), False),
        (AllOf((FAILURES, ConsecutiveFailures(9))), False),
        (AnyOf((ConsecutiveFailures(1) & ConsecutiveFailures(1), FAILURES)), False),
    ],
)
def test_below_its_rate_it_never_trips_for_all(time, rule, holds):
    circuit = Circuit(rule)
    circuit.fail()
    for _ in range(BEATS):
        trip = circuit.beat(time, (9, 1))
    assert (trip is not None) is holds


@pytest.mark.parametrize(("streak", "trips"), [(1, True), (2, False)])
def test_what_is_no_rate_has_to_hold_here_where_it_stands_beside_one_by_and(time, streak, trips):
    circuit = Circuit(FAILURES & ConsecutiveFailures(streak))
    circuit.fail()
    for _ in range(BEATS):
        trip = circuit.beat(time, (9, 9))
    assert (trip is not None) is trips


def test_a_share_that_is_shed_is_each_process_s_own(time):
    circuit = Circuit(Adaptive())
    assert not circuit.fail()
    assert circuit.pooling.look_at == NEVER
    circuit.pooling.mind(True)
    assert circuit.due() is None


def test_a_rule_without_a_rate_is_each_process_s_own(time):
    circuit = Circuit(ConsecutiveFailures(2) & ConsecutiveFailures(3))
    assert not circuit.fail()
    assert not circuit.pooling.look_at == 0.0
    circuit.pooling.mind(True)
    assert circuit.due() is None
