"""Settings that change while a circuit is at work: state, counts and permits in flight are kept."""

from __future__ import annotations

import threading

import pytest

from circuitry import (
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitFamily,
    CircuitOpenError,
    ConfigurationError,
    circuit,
    circuit_of,
    registry,
)
from circuitry.policies import ConsecutiveFailures, FailureRate, Rule, SlowCallRate, last, within

pytestmark = pytest.mark.core

HALF = FailureRate(0.5, window=last(4), minimum_calls=4)
SLOW = SlowCallRate(0.5, slower_than=2.0, window=last(4), minimum_calls=2)
ROW = ConsecutiveFailures(3)


@pytest.fixture
def made(clock):
    """Makes a breaker on the manual clock."""
    return lambda **settings: CircuitBreaker(
        "netflix", **{"timeout_duration": 10, "clock": clock, **settings}
    )


def make_calls(breaker, said):
    for letter in said:
        permit = breaker.acquire()
        permit.success() if letter == "+" else permit.failure(OSError("down"))
    return str(breaker.state)


def test_settings_that_arent_named_stay(made):
    breaker = made(failure_threshold=3, success_threshold=1)
    breaker.reconfigure(failure_threshold=7)
    assert (breaker.config.failure_threshold, breaker.config.success_threshold) == (7, 1)
    assert breaker.limits.failure_threshold == 7


def test_a_streak_goes_on(made):
    breaker = made(failure_threshold=3)
    make_calls(breaker, "--")
    breaker.reconfigure(failure_threshold=4)
    assert make_calls(breaker, "-") == "closed"
    assert make_calls(breaker, "-") == "open"


def test_a_rate_keeps_its_window(made):
    breaker = made(trip=HALF)
    make_calls(breaker, "++-")
    breaker.reconfigure(trip=FailureRate(0.25, window=last(4), minimum_calls=4))
    assert make_calls(breaker, "+") == "open"


def test_a_lower_threshold_is_judged_at_the_next_outcome(made):
    breaker = made(trip=HALF)
    make_calls(breaker, "+++-")
    breaker.reconfigure(trip=FailureRate(0.25, window=last(4)))
    assert breaker.state == "closed"
    assert make_calls(breaker, "+") == "open"


def test_calls_that_are_out_still_count(made):
    for before, after in [
        ({"trip": HALF}, {"trip": FailureRate(1.0, window=last(4), minimum_calls=2)}),
        ({"trip": HALF}, {"trip": FailureRate(1.0, window=last(9), minimum_calls=2)}),
        ({"trip": HALF}, {"failure_threshold": 2}),
        ({"trip": HALF}, {"trip": SLOW | ConsecutiveFailures(2)}),
        ({"failure_threshold": 9}, {"trip": FailureRate(1.0, window=last(4), minimum_calls=2)}),
        ({"failure_threshold": 9}, {"failure_threshold": 2}),
        ({"trip": SLOW}, {"failure_threshold": 2}),
        ({"trip": SLOW}, {"trip": FailureRate(1.0, window=last(4), minimum_calls=2)}),
        ({"trip": SLOW}, {"trip": SLOW | ConsecutiveFailures(2)}),
    ]:
        breaker = made(**before)
        out = [breaker.acquire(), breaker.acquire()]
        breaker.reconfigure(**after)
        assert breaker.state == "closed"
        for permit in out:
            permit.failure(OSError("down"))
        assert breaker.state == "open", (before, after)
        assert breaker.metrics().failures == 2


def test_a_success_of_a_call_that_was_out_counts_too(made):
    breaker = made(failure_threshold=9)
    out = breaker.acquire()
    breaker.reconfigure(trip=FailureRate(0.5, window=last(4), minimum_calls=2))
    make_calls(breaker, "-")
    out.success()
    assert breaker.state == "open"


def test_a_row_is_kept_from_rule_to_rule(made):
    breaker = made(failure_threshold=3)
    make_calls(breaker, "--")
    breaker.reconfigure(trip=ROW | HALF)
    assert breaker.failure_count == 2
    breaker.reconfigure(trip=ROW | SLOW)
    assert breaker.failure_count == 2
    breaker.reconfigure(failure_threshold=4)
    assert breaker.failure_count == 2
    assert make_calls(breaker, "-") == "closed"
    assert make_calls(breaker, "-") == "open"


def test_each_part_keeps_what_it_counted(made):
    other = FailureRate(0.9, window=within(60), minimum_calls=2)
    breaker = made(trip=HALF | other)
    make_calls(breaker, "+-")
    breaker.reconfigure(trip=FailureRate(0.5, window=within(60), minimum_calls=3) | ROW)
    assert make_calls(breaker, "-") == "open"


def test_another_window_begins_anew(made):
    breaker = made(trip=HALF)
    make_calls(breaker, "---")
    breaker.reconfigure(trip=FailureRate(0.5, window=last(5), minimum_calls=2))
    assert make_calls(breaker, "-") == "closed"
    assert make_calls(breaker, "-") == "open"


def test_another_limit_of_what_is_slow_begins_anew_but_watches_those_in_flight(made, clock):
    breaker = made(trip=SLOW)
    late = breaker.acquire()
    clock.advance(3)
    late.success()
    held = breaker.acquire()
    breaker.reconfigure(trip=SlowCallRate(0.5, slower_than=1.0, window=last(4)))
    breaker.acquire().release()
    clock.advance(1.5)
    with pytest.raises(CircuitOpenError):
        breaker.acquire()
    held.release()


def test_slow_calls_keep_their_window_and_their_flights(made, clock):
    breaker = made(trip=SLOW)
    held = [breaker.acquire(), breaker.acquire()]
    breaker.reconfigure(trip=SlowCallRate(0.9, 2.0, last(4), minimum_calls=2))
    clock.advance(2.5)
    with pytest.raises(CircuitOpenError):
        breaker.acquire()
    for permit in held:
        permit.release()


def test_where_time_is_no_longer_taken_a_call_that_is_given_up_says_nothing(made, clock):
    breaker = made(trip=SLOW)
    held = [breaker.acquire() for _ in range(4)]
    clock.advance(2.5)
    breaker.reconfigure(failure_threshold=1)
    for permit in held:
        permit.release()
    assert breaker.state == "closed"


def test_a_rule_of_ones_own_that_is_equal_goes_on(made):
    class Own(Rule):
        def watch(self, clock):
            return self

        def add(self, failed):
            self.seen = getattr(self, "seen", 0) + 1

        def holds(self):
            return self.seen > 2

    own = Own()
    breaker = made(trip=own)
    make_calls(breaker, "+")
    watch = breaker.evidence.leaves[0].watch
    breaker.reconfigure(trip=own | HALF)
    assert breaker.evidence.leaves[0].watch is watch


def test_an_open_circuit_stays_open_until_its_deadline(made, clock):
    breaker = made(failure_threshold=1)
    make_calls(breaker, "-")
    breaker.reconfigure(timeout_duration=100, trip=HALF)
    assert breaker.metrics().retry_after == 10
    clock.advance(10)
    make_calls(breaker, "+++")
    assert make_calls(breaker, "-") == "closed"
    assert make_calls(breaker, "---") == "open"
    assert breaker.metrics().retry_after == 100


def test_probes_keep_their_slots(made, clock):
    breaker = made(failure_threshold=1, half_open_max_calls=2, success_threshold=2)
    make_calls(breaker, "-")
    clock.advance(10)
    probe = breaker.acquire()
    breaker.reconfigure(half_open_max_calls=1, trip=HALF)
    with pytest.raises(CircuitOpenError):
        breaker.acquire()
    probe.success()
    assert breaker.success_count == 1
    assert make_calls(breaker, "+") == "closed"


@pytest.mark.parametrize("state", ["disabled", "forced_open"])
def test_an_operators_state_stays(made, state):
    breaker = made(initial_state=state)
    breaker.reconfigure(trip=HALF)
    assert breaker.state == state
    breaker.reset()
    assert make_calls(breaker, "----") == "open"


def test_what_is_disabled_judges_nothing_whatever_rule_it_is_given(made):
    breaker = made()
    breaker.disable()
    breaker.reconfigure(trip=HALF)
    make_calls(breaker, "--------")
    assert breaker.metrics().opened == 0
    assert breaker.failure_count == 0


def test_the_same_rule_again_changes_nothing(made):
    breaker = made(trip=HALF)
    evidence = breaker.evidence
    make_calls(breaker, "-")
    breaker.reconfigure(trip=FailureRate(0.5, last(4), 4), success_threshold=1)
    assert breaker.evidence is evidence
    assert breaker.failure_count == 1


def test_what_counts_as_a_failure_may_change(made):
    breaker = made(failure_threshold=1)
    guarded = breaker(lambda: 1 / 0)
    breaker.reconfigure(exclude=ZeroDivisionError)
    with pytest.raises(ZeroDivisionError):
        guarded()
    assert breaker.metrics().ignored == 1


def test_totals_and_listeners_stay(made):
    breaker, events = made(failure_threshold=3), []
    breaker.on_transition(events.append)
    make_calls(breaker, "+-")
    breaker.reconfigure(trip=ConsecutiveFailures(2))
    assert breaker.metrics().calls == 2
    make_calls(breaker, "-")
    assert len(events) == 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"failure_treshold": 3}, "unknown setting 'failure_treshold'"),
        ({"failure_threshold": 0}, "failure_threshold=0"),
        ({"trip": HALF, "failure_threshold": 3}, "disagree"),
        ({"failure_if": bool}, "failure_if can't be changed"),
        ({"preset": "pubnub"}, "unknown setting 'preset'"),
    ],
    ids=str,
)
@pytest.mark.usefixtures("fresh")
def test_a_mistake_is_refused_and_nothing_has_changed(made, settings, words):
    breaker, named = made(failure_threshold=3), registry.get_or_create("netflix", failure_threshold=3)
    for one, refuse in (
        (breaker, breaker.reconfigure),
        (named, lambda **s: registry.reconfigure("netflix", **s)),
    ):
        before = one.config
        with pytest.raises(ConfigurationError, match=words):
            refuse(**settings)
        assert one.config is before


def test_two_that_change_it_at_once_both_do(made, monkeypatch):
    breaker = made(failure_threshold=3)
    replace, first = CircuitBreakerConfig.replace, [True]

    def slow_replace(self, **settings):
        if first and first.pop():
            other = threading.Thread(target=lambda: breaker.reconfigure(success_threshold=9))
            other.start()
            other.join(10)
        return replace(self, **settings)

    monkeypatch.setattr(CircuitBreakerConfig, "replace", slow_replace)
    breaker.reconfigure(failure_threshold=7)
    assert (breaker.config.failure_threshold, breaker.config.success_threshold) == (7, 9)


# -- Registered ones ---------------------------------------------------------------------------------------


@pytest.fixture
def load(fresh, tmp_path):
    """Load a settings file with this text."""

    def load(text):
        path = tmp_path / "circuits.toml"
        path.write_text(text)
        registry.load(path)

    return load


@pytest.mark.usefixtures("fresh")
def test_a_registered_circuit_is_changed_by_its_name():
    @circuit("netflix", failure_threshold=9)
    def fetch(): ...

    make_calls(registry["netflix"], "--")
    registry.reconfigure("netflix", failure_threshold=3)
    assert make_calls(registry["netflix"], "-") == "open"
    registry.reconfigure("netflix", success_threshold=1)
    assert circuit_of(fetch).config.failure_threshold == 3  # changes add up


@pytest.mark.usefixtures("fresh")
def test_who_repeats_what_the_code_said_contradicts_no_change():
    def fetch(): ...

    circuit("netflix", failure_threshold=9)(fetch)
    registry.reconfigure("netflix", failure_threshold=3)
    circuit("netflix", failure_threshold=9)(fetch)
    assert registry["netflix"].config.failure_threshold == 3


@pytest.mark.usefixtures("fresh")
def test_settings_that_come_late_leave_a_change_as_it_is():
    with circuit("netflix"):
        pass
    registry.reconfigure("netflix", failure_threshold=3)
    registry.get_or_create("netflix", failure_threshold=9)
    assert registry["netflix"].config.failure_threshold == 3


def test_operators_go_before_it_and_it_outlives_their_next_file(load):
    registry.get_or_create("netflix", failure_threshold=9)
    load("[circuits.netflix]\ntimeout_duration = 5")
    registry.reconfigure("netflix", failure_threshold=3, timeout_duration=77)
    config = registry["netflix"].config
    assert (config.failure_threshold, config.timeout_duration) == (3, 5)
    load("")
    config = registry["netflix"].config
    assert (config.failure_threshold, config.timeout_duration) == (3, 77)


@pytest.mark.usefixtures("fresh")
def test_all_members_of_a_family_are_changed_and_those_to_come():
    @circuit("platform", key=lambda key: key)
    def fetch(key): ...

    fetch("hulu")
    registry.reconfigure("platform", failure_threshold=2)
    fetch("netflix")
    family = circuit_of(fetch, CircuitFamily)
    assert [breaker.config.failure_threshold for breaker in family] == [2, 2]
    assert family.config.failure_threshold == 2


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("name", ["nobody", "platform[hulu]"])
def test_a_name_without_a_circuit_is_a_key_error(name):
    with pytest.raises(KeyError):
        registry.reconfigure(name, failure_threshold=3)


# -- Files -------------------------------------------------------------------------------------------------


def test_a_reloaded_file_keeps_the_counts(load):
    breaker = registry.get_or_create("netflix")
    load("[circuits.netflix]\nfailure_rate_threshold = 0.5\nwindow = 4\nminimum_calls = 4")
    make_calls(breaker, "++-")
    load('[circuits.netflix]\nfailure_rate_threshold = 0.25\nwindow = "last(4)"\nminimum_calls = 4')
    assert make_calls(breaker, "+") == "open"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("failure_rate_threshold = 0.5", FailureRate(0.5, last(100), 20)),
        ("failure_rate_threshold = 0.5\nwindow = 50", FailureRate(0.5, last(50), 20)),
        ("failure_rate_threshold = 1\nwindow = 'within(9)'\nminimum_calls = 9", FailureRate(1, within(9), 9)),
        ("failure_rate_threshold = 1\nfailure_threshold = 3", FailureRate(1, last(100), 20) | ROW),
        ("slow_call_rate_threshold = 0.5\nslow_call_duration = 2", SlowCallRate(0.5, 2.0, last(100), 20)),
        ("preset = 'pubnub'\nfailure_rate_threshold = 0.5", FailureRate(0.5, last(100), 20)),
    ],
    ids=str,
)  # fmt: skip
def test_a_file_may_spell_out_a_rule(load, text, rule):
    load(f"[circuits.netflix]\n{text}")
    assert registry.get_or_create("netflix").config.rule == rule


def test_one_key_of_a_rule_changes_the_codes(load):
    load("[circuits.netflix]\nminimum_calls = 150")
    breaker = registry.get_or_create("netflix", failure_rate_threshold=0.5, window=last(200))
    assert breaker.config.rule == FailureRate(0.5, last(200), 150)


def test_the_environment_may_spell_it_out_too(load, monkeypatch):
    monkeypatch.setenv("CIRCUITRY_NETFLIX__FAILURE_RATE_THRESHOLD", "0.5")
    monkeypatch.setenv("CIRCUITRY_NETFLIX__WINDOW", "within(30)")
    assert registry.get_or_create("netflix").config.rule == FailureRate(0.5, within(30), 20)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("failure_rate_threshold = 1.5", "[circuits.netflix] failure_rate_threshold: "),
        ("window = 0", "[circuits.netflix] window: window=0"),
        ("window = 'for ever'", "[circuits.netflix] window: window='for ever'"),
        ("window = 'within(0)'", "[circuits.netflix] window: window=0.0"),
        ("minimum_calls = 0", "[circuits.netflix] minimum_calls: minimum_calls=0"),
        (
            "window = 10\nminimum_calls = 11",
            "[circuits.netflix]: minimum_calls=11 and window=last(10) disagree",
        ),
        ("slow_call_duration = 0", "[circuits.netflix] slow_call_duration: "),
        ("call_timeout = 1\nslow_call_duration = 2", "[circuits.netflix]: call_timeout=1.0 and trip="),
        ("call_timeout = 0", "[circuits.netflix] call_timeout: call_timeout=0"),
        ("trip = 'x'", "[circuits.netflix] trip: unknown setting 'trip'"),
    ],
    ids=str,
)
def test_a_mistake_in_it_is_named_with_its_place(load, text, words):
    with pytest.raises(ConfigurationError) as caught:
        load(f"[circuits.netflix]\n{text}")
    assert words in str(caught.value)


def test_settings_of_the_environment_that_disagree_are_named(load, monkeypatch):
    monkeypatch.setenv("CIRCUITRY_NETFLIX__WINDOW", "10")
    monkeypatch.setenv("CIRCUITRY_NETFLIX__MINIMUM_CALLS", "11")
    with pytest.raises(ConfigurationError, match=r"CIRCUITRY_NETFLIX__\*: minimum_calls=11 and window"):
        registry.get_or_create("netflix")


def test_what_was_late_by_an_earlier_limit_may_end_in_time_by_the_next(made, clock):
    breaker = made(trip=SlowCallRate(1.0, slower_than=1.0, window=last(2), minimum_calls=2))
    held = breaker.acquire()
    clock.advance(1.5)
    breaker.acquire().release()  # finds it late
    breaker.reconfigure(trip=SlowCallRate(1.0, slower_than=9.0, window=last(2), minimum_calls=2))
    for _ in range(2):
        breaker.acquire().success()
    held.success()
    assert breaker.state == "closed"
    assert breaker.metrics().successes == 3
