"""A breaker that goes by a rule."""

from __future__ import annotations

import gc
import logging
from dataclasses import dataclass

import pytest

from circuitry import CircuitBreaker, CircuitOpenError, machine
from circuitry.policies import ConsecutiveFailures, FailureRate, Rule, SlowCallRate, last, within
from circuitry.states import CircuitState, Limits, Rejection
from circuitry.tripping import Policy
from circuitry.windows import Streak, Unjudged

pytestmark = pytest.mark.core

HALF = FailureRate(0.5, window=last(4), minimum_calls=4)


@pytest.fixture
def ruled(clock):
    """Makes a breaker that goes by a rule, on the manual clock."""

    def make(trip=HALF, **settings):
        return CircuitBreaker("netflix", trip=trip, timeout_duration=10, clock=clock, **settings)

    return make


def make_calls(breaker, said):
    """A call for each letter: "+" succeeds, "-" fails; the states after each."""
    states = []
    for letter in said:
        permit = breaker.acquire()
        permit.success() if letter == "+" else permit.failure(OSError("down"))
        states.append(str(breaker.state))
    return states


def test_a_failure_that_reaches_the_rate_opens(ruled):
    assert make_calls(ruled(), "++--") == ["closed"] * 3 + ["open"]


def test_a_success_that_completes_the_minimum_opens_too_and_says_by_which_rule(ruled):
    breaker = ruled()
    events = []
    breaker.on_transition(events.append)
    assert make_calls(breaker, "+--+") == ["closed"] * 3 + ["open"]
    assert [event.last_failure for event in events] == [repr(HALF)]


def test_a_success_resets_no_rate(ruled):
    assert make_calls(ruled(), "-+-+")[-1] == "open"


def test_a_rate_below_the_threshold_never_opens(ruled):
    assert set(make_calls(ruled(), "-+++" * 20)) == {"closed"}


def test_what_it_holds_against_the_circuit_is_shown(ruled):
    breaker = ruled(HALF | ConsecutiveFailures(9))
    make_calls(breaker, "-+")
    assert breaker.failure_count == breaker.metrics().failure_count == 1
    make_calls(breaker, "-")
    assert breaker.failure_count == 2


def test_each_recovery_begins_with_an_empty_window(ruled, clock):
    breaker = ruled(success_threshold=1)
    make_calls(breaker, "----")
    clock.advance(10)
    assert make_calls(breaker, "+---") == ["closed"] * 4
    breaker.reset()
    assert make_calls(breaker, "---") == ["closed"] * 3


def test_a_time_window_forgets(ruled, clock):
    breaker = ruled(FailureRate(0.5, window=within(30), minimum_calls=3))
    make_calls(breaker, "--")
    clock.advance(31)
    assert make_calls(breaker, "--+") == ["closed", "closed", "open"]


def test_either_of_two_rules_opens(ruled):
    rule = ConsecutiveFailures(2) | HALF
    assert make_calls(ruled(rule), "--")[-1] == "open"
    assert make_calls(ruled(rule), "-+-+")[-1] == "open"


def test_both_of_two_rules_have_to_hold_at_once(ruled):
    rule = ConsecutiveFailures(2) & HALF
    assert make_calls(ruled(rule), "-+-+") == ["closed"] * 4
    assert make_calls(ruled(rule), "-+--")[-1] == "open"


def test_results_of_an_earlier_generation_are_no_news(ruled):
    breaker = ruled()
    late = [breaker.acquire() for _ in range(4)]
    breaker.reset()
    for permit in late:
        permit.failure()
    assert breaker.state == "closed"
    assert breaker.failure_count == 0


def test_ignored_calls_count_in_no_window(ruled):
    breaker = ruled(exclude=KeyError)
    for _ in range(10):
        with pytest.raises(KeyError), breaker:
            raise KeyError
    assert make_calls(breaker, "---") == ["closed"] * 3


def test_in_shadow_it_judges_and_rejects_nothing(ruled):
    breaker = ruled(initial_state="shadow")
    make_calls(breaker, "-----")
    metrics = breaker.metrics()
    assert (metrics.state, metrics.shadow_state, metrics.shadow_rejected) == ("shadow", "open", 1)


def test_disabled_it_counts_nothing(ruled):
    breaker = ruled(initial_state="disabled")
    assert set(make_calls(breaker, "-----")) == {"disabled"}


def test_once_the_window_is_clean_a_success_is_as_cheap_as_without_a_rule(ruled):
    breaker = ruled()
    make_calls(breaker, "++++")
    assert breaker.evidence.run is False
    make_calls(breaker, "-")
    assert breaker.evidence.run is True
    make_calls(breaker, "++++")
    assert breaker.evidence.run is False
    assert make_calls(breaker, "--")[-1] == "open"


def test_a_failure_that_comes_while_the_window_is_called_clean_leaves_its_mark(ruled, monkeypatch):
    breaker = ruled()
    make_calls(breaker, "+++")
    evidence = breaker.evidence
    add = evidence._add

    def slow_add(failed):
        answer = add(failed)
        if not failed:
            evidence.failure()  # another thread's, between the answer and what is made of it
        return answer

    evidence._add = slow_add
    evidence.success()
    assert evidence.run is True


# -- Streams that are left, where no lock may be taken -----------------------------------------------------


def test_a_stream_left_early_may_complete_the_minimum(ruled):
    breaker = ruled()
    events = []
    breaker.on_transition(events.append)

    @breaker
    def numbers():
        yield from (1, 2, 3)

    make_calls(breaker, "+--")
    stream = numbers()
    next(stream)
    stream.close()
    assert [str(event.new_state) for event in events] == []  # nothing is told from a finalizer
    assert breaker.evidence is None  # the next call has to come by
    assert breaker.state == "open"
    assert breaker.metrics().successes == 2
    assert len(events) == 1


@pytest.mark.parametrize("look", ["acquire", "metrics"])
def test_and_whoever_comes_next_opens_the_circuit(ruled, look):
    breaker = ruled()

    @breaker
    def numbers():
        yield 1
        yield 2

    make_calls(breaker, "+--")
    next(numbers())
    gc.collect()
    if look == "acquire":
        with pytest.raises(CircuitOpenError):
            breaker.acquire()
    else:
        assert breaker.metrics().state == "open"


def test_if_the_circuit_went_on_meanwhile_nothing_opens_and_calls_are_cheap_again(ruled):
    breaker = ruled()

    @breaker
    def numbers():
        yield 1
        yield 2

    make_calls(breaker, "+--")
    stream = numbers()
    next(stream)
    breaker.reset()
    stream.close()  # says that it is time to trip what is over
    assert breaker.evidence is None
    assert breaker.state == "closed"
    assert breaker.evidence is not None
    make_calls(breaker, "+")


# -- A rule of one's own -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class EveryNthFailure(Rule):
    n: int

    def watch(self, clock):
        return EveryNth(self.n)


class EveryNth:
    def __init__(self, n):
        self.left = n

    def add(self, failed):
        self.left -= failed

    def holds(self):
        return self.left <= 0


def test_a_rule_of_ones_own_is_a_small_class(ruled):
    assert make_calls(ruled(EveryNthFailure(3)), "-+-+-") == ["closed"] * 4 + ["open"]


def test_it_combines_with_others(ruled):
    rule = EveryNthFailure(3) & ConsecutiveFailures(2)
    assert make_calls(ruled(rule), "-+-+--")[-2:] == ["closed", "open"]
    assert make_calls(ruled(EveryNthFailure(3) | ConsecutiveFailures(2)), "--")[-1] == "open"


def test_it_is_made_anew_for_each_generation_with_the_breakers_clock(ruled, clock):
    clocks = []

    class Noting(Rule):
        def watch(self, clock):
            clocks.append(clock)
            return EveryNth(1)

    breaker = ruled(Noting(), success_threshold=1)
    make_calls(breaker, "-")
    clock.advance(10)
    make_calls(breaker, "+-")
    assert clocks == [clock, clock]


def test_what_it_holds_against_the_circuit_is_a_row(ruled):
    breaker = ruled(EveryNthFailure(9))
    make_calls(breaker, "-+--")
    assert breaker.failure_count == 2


class Broken(Rule):
    """Raises where it is told to."""

    def __init__(self, where):
        self.where = where

    def watch(self, clock):
        self.fails("watch")
        return self

    def add(self, failed):
        self.fails("add")

    def holds(self):
        self.fails("holds")
        return True

    def fails(self, where):
        if self.where == where:
            raise ZeroDivisionError(where)


@pytest.mark.parametrize("where", ["watch", "add", "holds"])
def test_one_that_raises_is_logged_and_opens_nothing(ruled, caplog, where):
    breaker = ruled(Broken(where))
    with caplog.at_level(logging.ERROR, logger="circuitry"):
        assert make_calls(breaker, "-+") == ["closed", "closed"]
    assert len(caplog.records) == 2
    assert "taken as not holding" in caplog.text
    assert f"ZeroDivisionError: {where}" in caplog.text


def test_beside_one_that_raises_the_others_hold(ruled, caplog):
    assert make_calls(ruled(Broken("add") | ConsecutiveFailures(2)), "--")[-1] == "open"


def test_its_code_runs_under_no_lock(ruled, clock):
    breaker = None

    class Asking(Rule):
        def __repr__(self):
            assert breaker is None or breaker.metrics()
            return "Asking()"

        def watch(self, clock):
            breaker.metrics()
            return self

        def add(self, failed):
            breaker.metrics()

        def holds(self):
            return breaker.metrics().failures > 1

    breaker = ruled(Asking() & SlowCallRate(0.5, 1.0, window=last(1)) | Asking(), success_threshold=1)
    make_calls(breaker, "--")
    clock.advance(10)
    make_calls(breaker, "+")
    breaker.reset()
    assert breaker.state == "closed"


# -- The machine -------------------------------------------------------------------------------------------


def test_evidence_may_refuse_a_call_without_opening_the_circuit():
    class Strict(Streak):
        def enter(self):
            return None

    circuit = machine.new(Limits())._replace(evidence=Strict(1))
    after, verdict = machine.admit(circuit, Limits(), 100.0)
    assert after is circuit
    assert verdict == Rejection(CircuitState.CLOSED, 0.0, None)


def test_limits_that_no_breaker_has_taken_on_stand_still():
    assert Limits().clock() == 0.0


def test_only_where_time_is_taken_a_call_that_comes_may_be_what_trips(ruled):
    assert ruled().evidence.is_due() is False
    unjudged = ruled(initial_state="disabled").evidence
    assert unjudged.is_due() is False
    assert unjudged.owner is unjudged


def test_of_a_rule_of_ones_own_what_it_last_said_holds_when_a_call_comes(ruled, clock):
    breaker = ruled(EveryNthFailure(1) & SlowCallRate(0.5, 2.0, window=last(2)))
    held = breaker.acquire()
    assert make_calls(breaker, "-") == ["closed"]
    clock.advance(2.5)
    with pytest.raises(CircuitOpenError):
        breaker.acquire()
    held.release()


def test_windows_can_be_emptied_and_a_streak_beside_them_stays(clock):
    policy = Policy(ConsecutiveFailures(9) | FailureRate(0.5, window=last(4)), "")
    evidence = policy.evidence(clock)
    evidence.failure(), evidence.failure()
    policy.empty(evidence, clock)
    assert [(window.calls, window.bad) for window in evidence.windows] == [(0, 0)]
    assert evidence.row == 2
    policy.empty(None, clock)
    policy.empty(Unjudged(), clock)
