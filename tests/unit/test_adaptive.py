"""A circuit that sheds a share of its calls instead of opening: `trip=Adaptive(...)`."""

from __future__ import annotations

import copy
import gc
import pickle
import random
from datetime import timedelta

import pytest

from circuitry import (
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitOpenError,
    ConfigurationError,
    TooManyCallsError,
    circuit,
    circuit_of,
    registry,
)
from circuitry.policies import (
    Adaptive,
    AllOf,
    AnyOf,
    ConsecutiveFailures,
    Exponential,
    FailureRate,
    MinimumCalls,
    SlowCallRate,
    last,
    within,
)

pytestmark = pytest.mark.core

RATE = FailureRate(0.5, window=last(10), minimum_calls=5)


@pytest.fixture
def make(clock, draws):
    """Makes a breaker on the manual clock that sheds calls."""
    window = within(30.0)
    return lambda k=2.0, window=window, **settings: CircuitBreaker(
        "netflix", trip=Adaptive(k, window), clock=clock, **settings
    )


def make_calls(breaker, said):
    """A call for each letter: "+" succeeds, "-" fails, "." is ignored; how many were shed."""
    shed = 0
    for letter in said:
        try:
            permit = breaker.acquire()
        except CircuitOpenError:
            shed += 1
            continue
        {"+": permit.success, "-": permit.failure, ".": permit.release}[letter]()
    return shed


def letters():
    yield from "ab"


def share_of(breaker):
    return breaker.metrics().shed_share


# -- The rule ------------------------------------------------------------------------------------------


def test_it_is_a_value_that_reads_as_it_is_written():
    assert Adaptive() == Adaptive(k=2.0, window=within(30.0)) == Adaptive(2, within(timedelta(seconds=30)))
    assert repr(Adaptive()) == "Adaptive(k=2.0, window=within(30.0))"
    assert pickle.loads(pickle.dumps(Adaptive(1.5))) == copy.deepcopy(Adaptive(1.5)) != Adaptive()
    assert hash(Adaptive()) == hash(Adaptive())


@pytest.mark.parametrize("k", [0, 0.99, -1, float("nan"), float("inf"), 10**400, True, "2", None])
def test_k_is_at_least_1(k):
    with pytest.raises(ConfigurationError, match=r"k=.* must be a number >= 1 and finite"):
        Adaptive(k)


@pytest.mark.parametrize("window", [30, 30.0, "within(30)", None])
def test_it_needs_a_window(window):
    with pytest.raises(ConfigurationError, match=r"window=.* must be last\(calls\) or within\(seconds\)"):
        Adaptive(window=window)


@pytest.mark.parametrize(
    "combine",
    [
        lambda: Adaptive() | RATE,
        lambda: RATE & Adaptive(),
        lambda: Adaptive() | Adaptive(),
        lambda: MinimumCalls(20) & Adaptive(),
        lambda: (RATE | ConsecutiveFailures(5)) | Adaptive(),
        lambda: AnyOf((RATE, Adaptive())),
        lambda: AllOf((Adaptive(), RATE)),
    ],
)
def test_it_stands_alone(combine):
    with pytest.raises(ConfigurationError, match=r"Adaptive\(.*can't be combined.*give it alone, as trip="):
        combine()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("failure_threshold", 5),
        ("failure_rate_threshold", 0.5),
        ("window", 10),
        ("minimum_calls", 10),
        ("backoff", Exponential()),
        ("retry_after", lambda error: None),
    ],
)
def test_settings_that_speak_of_opening_contradict_it(name, value):
    with pytest.raises(ConfigurationError, match=rf"trip=Adaptive\(.* and {name}=.* disagree"):
        CircuitBreakerConfig(trip=Adaptive(), **{name: value})


def test_a_preset_does_not():
    config = CircuitBreakerConfig.pubnub(trip=Adaptive())
    assert config.trip == config.rule == Adaptive()


def test_the_formula_says_where_it_is_from():
    assert "Handling Overload" in Adaptive.__doc__
    assert "max(0, (requests - k * accepts) / (requests + 1))" in Adaptive.__doc__


# -- The share -----------------------------------------------------------------------------------------


def test_while_all_is_accepted_nothing_is_shed_and_nothing_drawn(make, draws):
    breaker = make()
    assert make_calls(breaker, "+" * 50) == 0
    assert draws.asked == 0


def test_as_many_may_fail_as_k_allows_for(make, draws):
    breaker = make(k=2.0)
    assert make_calls(breaker, "+-" * 20) == 0
    assert (share_of(breaker), draws.asked) == (0.0, 0)
    make_calls(breaker, "-")
    assert share_of(breaker) == (41 - 2 * 20) / 42


def test_with_k_1_what_fails_is_shed_as_it_comes(make):
    breaker = make(k=1)
    make_calls(breaker, "+++-")
    assert share_of(breaker) == 1 / 5


def test_what_is_shed_counts_at_once_as_a_request_that_was_not_accepted(make):
    breaker = make()
    make_calls(breaker, "---")
    assert share_of(breaker) == 3 / 4
    assert make_calls(breaker, "+") == 1
    assert share_of(breaker) == 4 / 5
    assert breaker.failure_count == breaker.metrics().failure_count == 4


def test_the_draw_decides_and_below_the_share_is_shed(make, draws):
    breaker = make()
    make_calls(breaker, "---")  # three quarters
    for draw, shed in ((0.7499, 1), (0.75, 0), (0.9999, 0)):
        breaker.reset()
        draws.next = 0.9999
        make_calls(breaker, "---")
        draws.next = draw
        assert make_calls(breaker, "-") == shed


def test_one_call_takes_one_draw(make, draws):
    breaker = make()
    make_calls(breaker, "-")
    for draws.next in (0.0, 0.9999):
        before = draws.asked
        make_calls(breaker, "-")
        assert draws.asked == before + 1


def test_with_a_seed_it_sheds_the_same_calls_again(clock):
    def run():
        random.seed(4)
        breaker = CircuitBreaker("netflix", trip=Adaptive(), clock=clock)
        return [make_calls(breaker, letter) for letter in "-+--+" * 20]

    first = run()
    assert first == run()
    assert {0, 1} == set(first)


def test_calls_in_flight_count_nothing(make):
    breaker = make()
    waiting = [breaker.acquire() for _ in range(100)]
    assert share_of(breaker) == 0.0
    waiting[0].failure()
    assert share_of(breaker) == 1 / 2
    for permit in waiting[1:]:
        permit.success()
    assert share_of(breaker) == 0.0


def test_ignored_calls_count_nothing(make, draws):
    breaker = make(exclude=KeyError)
    draws.next = 0.9999
    make_calls(breaker, "-" + "." * 10)
    with pytest.raises(KeyError), breaker:
        raise KeyError
    assert share_of(breaker) == 1 / 2


def test_it_never_opens(make, draws):
    breaker, events = make(), []
    breaker.on_transition(events.append)
    draws.next = 0.9999
    make_calls(breaker, "-" * 500)
    assert (breaker.state, events, breaker.metrics().opened) == ("closed", [], 0)
    assert 0.99 < share_of(breaker) < 1


def test_a_time_window_forgets_and_then_nothing_is_shed(make, clock):
    breaker = make()
    make_calls(breaker, "-----")
    clock.advance(31)
    assert share_of(breaker) == 0.0
    assert make_calls(breaker, "++") == 0


def test_accepts_that_have_gone_are_not_counted_on(make, clock):
    """Those that failed are younger: nobody but the next call can find out what is left."""
    breaker = make()
    make_calls(breaker, "++++")
    clock.advance(25)
    make_calls(breaker, "--")
    clock.advance(10)
    assert make_calls(breaker, "+") == 1


def test_in_a_window_of_calls_it_goes_by_the_last_ones(make, draws):
    breaker = make(window=last(4))
    draws.next = 0.9999
    make_calls(breaker, "++++----")
    assert share_of(breaker) == 4 / 5
    make_calls(breaker, "++")
    assert share_of(breaker) == 0.0


def test_once_a_window_of_calls_is_full_of_good_ones_a_success_is_as_cheap_as_without(make, draws):
    breaker = make(window=last(3))
    make_calls(breaker, "+++")
    evidence = breaker._circuit.evidence
    assert evidence.run is False
    draws.next = 0.9999
    make_calls(breaker, "-")
    assert evidence.run is True
    make_calls(breaker, "+++")
    assert share_of(breaker) == 0.0
    assert evidence.run is False


def test_a_call_that_is_shed_leaves_its_mark_too(make, draws):
    breaker = make(k=1, window=last(2))
    make_calls(breaker, "+-")
    assert make_calls(breaker, "+") == 1
    assert share_of(breaker) == 2 / 3


def test_it_has_nothing_that_a_fleet_could_judge(make):
    breaker = make()
    make_calls(breaker, "---")
    evidence = breaker._circuit.evidence
    assert (evidence.windows, evidence.is_bad) == ([], False)
    assert breaker.limits.rule.together(evidence) is None


# -- A call that is shed -------------------------------------------------------------------------------


def test_it_is_told_so(make):
    breaker, heard = make(), []
    breaker.on_rejection(heard.append)
    make_calls(breaker, "-")
    with pytest.raises(CircuitOpenError) as caught:
        breaker.acquire()
    error = caught.value
    assert not isinstance(error, TooManyCallsError)
    assert (error.state, error.retry_after, error.last_failure) == ("closed", 0.0, None)
    assert str(error) == "circuit 'netflix' is closed and sheds a share of its calls: this was one"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert [(event.state, event.retry_after) for event in heard] == [("closed", 0.0)]
    assert breaker.metrics().rejected == 1


def test_in_every_colour(make, colour):
    breaker = make()
    fetch = breaker(colour.function(lambda: "disney"))
    assert colour.run(fetch) == "disney"
    assert make_calls(breaker, "---") == 1
    for shed in (
        lambda: colour.run(fetch),
        lambda: colour.run(breaker.call, colour.function(lambda: "disney")),
        lambda: colour.collect(breaker(colour.stream(letters))),
        lambda: colour.block(breaker),
        lambda: colour.acquire(breaker),
    ):
        with pytest.raises(CircuitOpenError):
            shed()
    assert breaker.metrics().rejected == 6


def test_in_every_colour_what_comes_through_counts(make, colour, draws):
    breaker = make()
    make_calls(breaker, "-")
    draws.next = 0.9999
    assert colour.run(breaker(colour.function(lambda: "disney"))) == "disney"
    assert colour.collect(breaker(colour.stream(letters))) == ["a", "b"]
    colour.block(breaker)
    colour.acquire(breaker).success()
    assert breaker.metrics().successes == 4
    assert share_of(breaker) == 0.0


def test_a_fallback_serves_it(clock, draws):
    @circuit("feed", trip=Adaptive(), clock=clock, fallback=lambda title: f"cached {title}")
    def fetch(title):
        return title

    breaker = circuit_of(fetch)
    assert fetch("Alien") == "Alien"
    make_calls(breaker, "----")
    assert fetch("Alien") == "cached Alien"
    assert breaker.metrics().fallbacks == 1
    registry.clear()


def test_a_stream_that_is_left_counts_as_accepted(make):
    breaker = make()

    @breaker
    def numbers():
        yield from (1, 2, 3)

    next(numbers())
    gc.collect()
    make_calls(breaker, "-")
    assert share_of(breaker) == 0.0


def test_with_a_deadline_for_the_call_too(clock, draws, colour):
    if not colour.is_async:
        return
    breaker = CircuitBreaker("netflix", trip=Adaptive(), call_timeout=5, clock=clock)
    fetch = breaker(colour.function(lambda: "disney"))
    assert colour.run(fetch) == "disney"
    make_calls(breaker, "----")
    with pytest.raises(CircuitOpenError):
        colour.run(fetch)


# -- Operators, families, settings ---------------------------------------------------------------------


def test_in_shadow_it_sheds_nothing_and_shows_what_it_would(make):
    breaker = make(initial_state="shadow")
    assert make_calls(breaker, "---+") == 0
    metrics = breaker.metrics()
    assert (metrics.state, metrics.shadow_state, metrics.shadow_rejected) == ("shadow", "closed", 3)
    assert metrics.shed_share == 4 / 5
    assert (metrics.successes, metrics.failures) == (1, 3)  # what it waives runs, and counts in the totals


def test_disabled_or_forced_open_it_sheds_nothing(make):
    breaker = make(initial_state="disabled")
    assert make_calls(breaker, "-----") == 0
    assert share_of(breaker) == 0.0
    breaker.force_open()
    assert share_of(breaker) == 0.0
    assert make_calls(breaker, "+") == 1


def test_reset_forgets(make):
    breaker = make()
    late = breaker.acquire()
    make_calls(breaker, "-----")
    breaker.reset()
    late.failure()
    assert share_of(breaker) == 0.0


def test_each_member_of_a_family_sheds_for_itself(clock, draws):
    @circuit("platform", key=lambda platform: platform, trip=Adaptive(), clock=clock)
    def fetch(platform):
        return platform

    for platform in ("hulu", "netflix"):
        fetch(platform)
    family = circuit_of(fetch)
    make_calls(family.get("hulu"), "----")
    with pytest.raises(CircuitOpenError):
        fetch("hulu")
    assert fetch("netflix") == "netflix"
    registry.clear()


def test_reconfigure_keeps_the_counts_where_only_k_changes(make):
    breaker = make()
    out = breaker.acquire()
    make_calls(breaker, "++---")
    assert share_of(breaker) == 1 / 6
    breaker.reconfigure(trip=Adaptive(1.0))
    assert share_of(breaker) == 3 / 6
    out.failure()
    assert share_of(breaker) == 4 / 7


@pytest.mark.parametrize(
    "settings",
    [
        {"trip": Adaptive(window=within(60))},
        {"trip": Adaptive(window=last(10))},
        {"failure_threshold": 5},
        {"trip": RATE},
        {"trip": SlowCallRate(0.5, 1.0, last(10), 5) | RATE},
    ],
)
def test_reconfigure_to_what_counts_otherwise_begins_anew_and_back(make, settings):
    breaker = make()
    out = [breaker.acquire(), breaker.acquire()]
    make_calls(breaker, "---")
    breaker.reconfigure(**settings)
    assert breaker.failure_count == 0
    out[0].failure()
    assert breaker.failure_count == 1
    breaker.reconfigure(trip=Adaptive())
    assert breaker.failure_count == 0
    out[1].failure()
    assert share_of(breaker) == 1 / 2


def test_a_thread_that_asks_what_another_has_just_replaced_is_not_shed(make, draws):
    breaker = make()
    make_calls(breaker, "---")
    before = breaker._circuit.evidence
    breaker.reconfigure(failure_threshold=5)
    assert before.enter() is before
    before.failure()
    assert breaker.failure_count == 1


def test_what_another_rule_is_told_of_it_goes_before_it(make, tmp_path, fresh):
    path = tmp_path / "circuits.toml"
    path.write_text("[circuits.feed]\nfailure_rate_threshold = 0.5\nwindow = 4\nminimum_calls = 4\n")
    fresh.load(path)
    breaker = fresh.get_or_create("feed", CircuitBreakerConfig(trip=Adaptive()))
    make_calls(breaker, "----")
    assert breaker.state == "open"
