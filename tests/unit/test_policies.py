"""Rules: what they may be, how they combine, and how settings spell them out."""

from __future__ import annotations

import copy
import pickle
from datetime import timedelta

import pytest

import circuitry.policies
from circuitry import CircuitBreaker, CircuitBreakerConfig, ConfigurationError
from circuitry.policies import (
    AllOf,
    AnyOf,
    ConsecutiveFailures,
    Exponential,
    FailureRate,
    MinimumCalls,
    Rule,
    SlowCallRate,
    last,
    within,
)

pytestmark = pytest.mark.core

ROW = ConsecutiveFailures(5)
RATE = FailureRate(0.5, window=last(100), minimum_calls=20)
SLOW = SlowCallRate(0.3, slower_than=2.0, window=within(60.0), minimum_calls=20)


def refused(fn, *words):
    """`fn` is refused; the message has all these words."""
    with pytest.raises(ConfigurationError) as caught:
        fn()
    for word in words:
        assert word in str(caught.value)


def test_all_that_is_public_is_there():
    assert set(circuitry.policies.__all__) <= set(vars(circuitry.policies))


# -- Rules and windows -----------------------------------------------------------------------------------


def test_a_rule_is_a_value():
    assert FailureRate(0.5, window=last(100)) == FailureRate(0.5, window=last(100), minimum_calls=1)
    assert SlowCallRate(0.3, timedelta(seconds=2), within(timedelta(minutes=1)), 20) == SLOW
    for rule in (ROW, RATE, SLOW, ROW | RATE, MinimumCalls(3) & RATE):
        assert pickle.loads(pickle.dumps(rule)) == copy.deepcopy(rule) == rule
        assert hash(rule) == hash(copy.copy(rule))


def test_rules_read_as_they_are_written():
    assert repr(RATE) == "FailureRate(threshold=0.5, window=last(100), minimum_calls=20)"
    assert repr(ROW | RATE) == f"{ROW!r} | {RATE!r}"
    assert repr((ROW | RATE) & SLOW) == f"({ROW!r} | {RATE!r}) & {SLOW!r}"
    assert repr(within(60)) == "within(60.0)"


def test_windows_know_how_many_outcomes_fit():
    assert (last(7).size, within(7).size) == (7, None)


@pytest.mark.parametrize("share", [0, -0.1, 1.1, float("nan"), float("inf"), True, "0.5", None])
def test_a_share_is_above_0_and_at_most_1(share):
    refused(lambda: FailureRate(share, window=last(10)), "threshold=", "> 0 and <= 1")
    refused(lambda: SlowCallRate(share, 1.0, window=last(10)), "threshold=", "> 0 and <= 1")


@pytest.mark.parametrize("calls", [0, -1, 1.5, True, "10", None])
def test_a_window_of_calls_is_a_whole_number(calls):
    refused(lambda: last(calls), "window=", "whole number >= 1")


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), True, "10", None, timedelta(0)])
def test_a_window_of_time_is_above_0(seconds):
    refused(lambda: within(seconds), "window=", "> 0 and finite")
    refused(lambda: SlowCallRate(0.5, seconds, window=last(10)), "slower_than=", "> 0 and finite")


@pytest.mark.parametrize("window", [100, 60.0, "last(100)", None])
def test_a_rate_needs_a_window(window):
    refused(lambda: FailureRate(0.5, window=window), "window=", "last(calls) or within(seconds)")


@pytest.mark.parametrize("number", [0, -1, 2.0, False, "5"])
def test_numbers_of_calls_are_whole(number):
    refused(lambda: ConsecutiveFailures(number), "threshold=", "whole number >= 1")
    refused(lambda: MinimumCalls(number), "calls=", "whole number >= 1")
    refused(lambda: FailureRate(0.5, last(10), number), "minimum_calls=", "whole number >= 1")


def test_a_minimum_above_the_window_would_never_be_met():
    refused(lambda: FailureRate(0.5, last(10), 11), "minimum_calls=11", "window=last(10)", "disagree")
    refused(lambda: MinimumCalls(11) & FailureRate(0.5, last(10)), "minimum_calls=11", "last(10)", "disagree")
    assert FailureRate(0.5, within(10), 11).minimum_calls == 11


# -- Combining -------------------------------------------------------------------------------------------


def test_what_is_combined_alike_is_one_combination():
    assert ROW | RATE | SLOW == ROW | (RATE | SLOW) == AnyOf((ROW, RATE, SLOW))
    assert ROW & RATE & SLOW == ROW & (RATE & SLOW) == AllOf((ROW, RATE, SLOW))
    assert ROW & (RATE | SLOW) == AllOf((ROW, AnyOf((RATE, SLOW))))


@pytest.mark.parametrize("other", [5, "FailureRate", None, int])
def test_only_rules_combine(other):
    with pytest.raises(TypeError, match="is no rule"):
        ROW | other
    with pytest.raises(TypeError, match="is no rule"):
        RATE & other


BARE = FailureRate(0.5, window=last(100))


def test_a_minimum_counts_in_the_window_of_the_rate_beside_it():
    assert MinimumCalls(20) & BARE == BARE & MinimumCalls(20) == RATE
    assert MinimumCalls(10) & RATE == RATE  # the larger one holds
    assert MinimumCalls(30) & MinimumCalls(20) & BARE == FailureRate(0.5, last(100), 30)
    assert MinimumCalls(30) & SLOW == SlowCallRate(0.3, 2.0, within(60), 30)
    assert MinimumCalls(20) & (BARE | SLOW) == RATE | SLOW


def test_in_whatever_order_they_stand():
    for rule in (
        MinimumCalls(20) & ROW & BARE,
        ROW & MinimumCalls(20) & BARE,
        MinimumCalls(20) & (ROW & BARE),
        (MinimumCalls(20) & ROW) & BARE,
    ):
        assert rule == ROW & RATE


@pytest.mark.parametrize(
    "rule",
    [
        MinimumCalls(20),
        MinimumCalls(20) & MinimumCalls(30),
        MinimumCalls(20) | RATE,
        MinimumCalls(20) & ROW,
        MinimumCalls(20) & (ROW | RATE),  # with which minimum would the row be judged?
        ROW | (MinimumCalls(20) & ROW),
        RATE & (ROW | MinimumCalls(3)),
    ],
    ids=repr,
)
def test_a_minimum_without_a_rate_is_refused_where_it_would_be_used(rule):
    refused(
        lambda: CircuitBreakerConfig(trip=rule),
        "trip=",
        "MinimumCalls(calls=",
        "counts in the window of a rate",
    )


def test_a_row_beside_a_rate_needs_no_window():
    assert CircuitBreakerConfig(trip=MinimumCalls(20) & (ROW & BARE)).rule == ROW & RATE


# -- trip= -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trip", [5, "FailureRate", FailureRate, lambda: None])
def test_trip_is_a_rule(trip):
    refused(lambda: CircuitBreakerConfig(trip=trip), "trip=", "a rule of circuitry.policies")


def test_trip_takes_the_place_of_the_threshold():
    refused(
        lambda: CircuitBreakerConfig(trip=RATE, failure_threshold=5),
        "trip=",
        "failure_threshold=5",
        "disagree",
    )
    refused(lambda: CircuitBreaker("netflix", trip=RATE, failure_threshold=3), "trip=", "failure_threshold=3")


@pytest.mark.parametrize(
    "spelled",
    [
        {"failure_rate_threshold": 0.5},
        {"minimum_calls": 10},
        {"window": 10},
        {"slow_call_duration": 1.0},
        {"slow_call_rate_threshold": 0.5},
    ],
    ids=str,
)
def test_and_of_what_spells_it_out(spelled):
    refused(lambda: CircuitBreakerConfig(trip=RATE, **spelled), "trip=", *spelled, "disagree")


def test_a_row_alone_is_counted_for_nothing():
    config = CircuitBreakerConfig(trip=ConsecutiveFailures(7))
    assert config.limits.rule is None
    assert config.limits.failure_threshold == 7


# -- Spelled out -------------------------------------------------------------------------------------------


def rule(**settings):
    return CircuitBreakerConfig(**settings).rule


def test_nothing_spelled_out_is_no_rule():
    assert rule() is rule(failure_threshold=3) is None


def test_a_failure_rate_has_a_window_of_100_and_a_minimum_of_20_by_default():
    assert rule(failure_rate_threshold=0.5) == RATE
    assert rule(failure_rate_threshold=0.5, window=last(10)) == FailureRate(0.5, last(10), 10)
    assert rule(failure_rate_threshold=0.5, window=within(10)) == FailureRate(0.5, within(10), 20)


def test_a_window_may_be_a_number_of_calls():
    assert rule(failure_rate_threshold=0.5, window=50, minimum_calls=5) == FailureRate(0.5, last(50), 5)


def test_slow_calls_share_the_window_of_the_failures():
    spelled = {"slow_call_duration": 2.0, "slow_call_rate_threshold": 0.3, "window": within(60)}
    assert rule(**spelled) == SLOW
    both = rule(**spelled, failure_rate_threshold=0.5)
    assert both == FailureRate(0.5, within(60), 20) | SLOW


def test_a_threshold_given_too_is_another_way_to_open():
    assert rule(failure_rate_threshold=0.5, failure_threshold=5) == RATE | ROW


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"slow_call_duration": 2.0}, ["slow_call_duration=2.0", "slow_call_rate_threshold=None"]),
        ({"slow_call_rate_threshold": 0.5}, ["slow_call_duration=None", "slow_call_rate_threshold=0.5"]),
        ({"window": last(5)}, ["window=last(5)", "belong to a rate"]),
        ({"minimum_calls": 5}, ["minimum_calls=5", "belong to a rate"]),
        ({"failure_rate_threshold": 0.5, "minimum_calls": 101}, ["minimum_calls=101", "window=last(100)"]),
        ({"failure_rate_threshold": 1.5}, ["threshold=1.5", "<= 1"]),
        ({"failure_rate_threshold": 0.5, "window": 0}, ["window=0", ">= 1"]),
        ({"failure_rate_threshold": 0.5, "window": "last(5)"}, ["window='last(5)'"]),
        ({"slow_call_duration": 0, "slow_call_rate_threshold": 0.5}, ["slow_call_duration=0"]),
        (
            {"trip": SLOW, "call_timeout": 1.5},
            ["call_timeout=1.5", "SlowCallRate", "no call takes that long"],
        ),
        ({"trip": ROW | (RATE & SLOW), "call_timeout": 1}, ["call_timeout=1.0", "disagree"]),
    ],
    ids=str,
)
def test_settings_that_disagree_are_named(settings, words):
    refused(lambda: CircuitBreakerConfig(**settings), *words)


def test_a_call_may_be_slow_just_before_its_deadline():
    assert CircuitBreakerConfig(trip=SLOW, call_timeout=2.0).rule == SLOW
    assert CircuitBreakerConfig(trip=ROW | RATE, call_timeout=0.1).rule == ROW | RATE


# -- Layers ------------------------------------------------------------------------------------------------


def test_of_settings_that_say_when_to_trip_the_later_ones_hold():
    config = CircuitBreakerConfig(failure_threshold=3)
    assert config.replace(trip=RATE).rule == RATE
    assert config.replace(failure_rate_threshold=0.5).rule == RATE
    assert CircuitBreakerConfig.pubnub(failure_rate_threshold=0.5).rule == RATE
    assert config.replace(failure_rate_threshold=0.5, failure_threshold=5).rule == RATE | ROW
    rated = CircuitBreakerConfig(trip=RATE)
    assert rated.replace(failure_threshold=5).rule is None
    assert rated.replace(failure_rate_threshold=0.4).rule == FailureRate(0.4, last(100), 20)
    assert rated.replace(timeout_duration=5).rule == RATE
    spelled = CircuitBreakerConfig(failure_rate_threshold=0.5)
    assert spelled.replace(window=last(50)).rule == FailureRate(0.5, last(50), 20)
    assert spelled.replace(failure_threshold=5).rule == RATE | ROW
    assert (
        spelled.replace(failure_threshold=5).replace(minimum_calls=10).rule
        == FailureRate(0.5, last(100), 10) | ROW
    )
    assert spelled.replace(trip=SLOW).rule == SLOW


def test_a_configuration_with_a_rule_is_compared_by_it():
    assert CircuitBreakerConfig(trip=RATE) == CircuitBreakerConfig(trip=RATE)
    alone, beside = {"failure_rate_threshold": 0.5}, {"failure_rate_threshold": 0.5, "failure_threshold": 5}
    assert CircuitBreakerConfig(**alone) != CircuitBreakerConfig(**beside)
    assert pickle.loads(pickle.dumps(CircuitBreakerConfig(**beside))).replace(window=50).rule.rules[1] == ROW
    assert "trip=FailureRate" in repr(CircuitBreakerConfig(trip=RATE))


# -- A rule of one's own -----------------------------------------------------------------------------------


def test_a_rule_that_can_watch_nothing_says_so():
    with pytest.raises(NotImplementedError):
        Rule().watch(lambda: 0.0)


# -- Backoff, as a setting ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"factor": 0.9}, ["factor=0.9", ">= 1"]),
        ({"factor": float("inf")}, ["factor=inf", "finite"]),
        ({"factor": "2"}, ["factor='2'"]),
        ({"factor": True}, ["factor=True"]),
        ({"maximum": 0}, ["maximum=0", "> 0"]),
        ({"jitter": -0.1}, ["jitter=-0.1", ">= 0 and <= 1"]),
        ({"jitter": 1.5}, ["jitter=1.5", ">= 0 and <= 1"]),
    ],
    ids=str,
)
def test_what_an_exponential_backoff_may_be(settings, words):
    refused(lambda: Exponential(**settings), *words)


@pytest.mark.parametrize("name", ["backoff", "retry_after"])
def test_backoff_and_hints_are_plain_callables(name):
    async def later(*args):
        return 1.0

    refused(lambda: CircuitBreakerConfig(**{name: 2.0}), f"{name}=2.0", "a callable")
    refused(lambda: CircuitBreakerConfig(**{name: later}), name, "a plain function")
