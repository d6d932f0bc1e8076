"""A breaker of one's own: its states, its administration, and what it can be given."""

from __future__ import annotations

import threading
import time
from collections import deque
from datetime import timedelta

import pytest

from circuitry import (
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitOpenError,
    CircuitState,
    ConfigurationError,
    registry,
)
from circuitry.testing import disabled

pytestmark = pytest.mark.core

ADMINISTRATION = {
    "reset": "closed",
    "force_open": "forced_open",
    "disable": "disabled",
    "shadow": "shadow",
}


class TestMaking:
    def test_it_is_not_registered(self, fresh):
        CircuitBreaker("netflix")
        assert "netflix" not in fresh
        assert registry is fresh

    def test_two_of_one_name_have_nothing_to_do_with_each_other(self, make_breaker, fail):
        first, second = make_breaker("twin"), make_breaker("twin")
        fail(first, 3)
        assert (first.state, second.state) == ("open", "closed")

    def test_without_settings_it_is_a_platform_api(self):
        assert CircuitBreaker("netflix").config == CircuitBreakerConfig.platform_api()

    @pytest.mark.parametrize(
        "settings",
        [
            {"config": CircuitBreakerConfig(failure_threshold=9, timeout_duration=10)},
            {"config": CircuitBreakerConfig.pubnub(), "failure_threshold": 9},
            {"preset": "pubnub", "failure_threshold": 9},
            {"failure_threshold": 9, "timeout_duration": timedelta(seconds=10)},
        ],
    )
    def test_it_goes_by_its_config_or_preset_and_the_settings_beside(self, settings):
        config = CircuitBreaker("netflix", **settings).config
        assert (config.failure_threshold, config.timeout_duration) == (9, 10)

    @pytest.mark.parametrize(
        ("settings", "complaint"),
        [
            ({"config": CircuitBreakerConfig(), "preset": "pubnub"}, "contradict each other"),
            ({"clock": 5}, "clock=5 is not allowed"),
            ({"patience": 1}, "unknown setting 'patience': allowed are"),
            ({"key": id}, "unknown setting 'key'"),
            (
                {"fallback": 1},
                "fallback=1 is not allowed: it must be callable; for a value",
            ),
        ],
    )
    def test_what_it_cannot_use_is_refused(self, settings, complaint):
        with pytest.raises(ConfigurationError, match=complaint):
            CircuitBreaker("netflix", **settings)

    @pytest.mark.parametrize("name", ["", "a\nb", "\x7f", "\x85", None, 5])
    def test_its_name_is_text_without_control_characters(self, name):
        with pytest.raises(ConfigurationError, match="name="):
            CircuitBreaker(name)

    def test_one_that_could_not_be_made_is_nowhere(self):
        """Also while a traceback holds what there is of it."""
        with pytest.raises(ConfigurationError) as caught:
            CircuitBreaker("")
        with disabled():
            assert caught.tb is not None

    def test_its_name_may_be_any_other_text(self):
        assert CircuitBreaker("netflix/日本 🎬").name == "netflix/日本 🎬"

    def test_it_shows_its_name_and_state(self, breaker):
        assert repr(breaker) == "<CircuitBreaker 'netflix': closed>"

    def test_its_clock_is_the_monotonic_one_unless_given(self):
        breaker = CircuitBreaker("netflix", failure_threshold=1, timeout_duration=3600)
        before = time.monotonic()
        breaker.acquire().failure()
        left = breaker.metrics().retry_after
        assert 3600 - (time.monotonic() - before) <= left <= 3600

    @pytest.mark.parametrize("state", ["closed", "shadow", "disabled", "forced_open"])
    def test_it_may_begin_in_an_administrative_state(self, make_breaker, state):
        breaker = make_breaker(initial_state=state)
        assert breaker.state == state
        assert breaker.metrics().entered == {}


class TestTheTable:
    def test_closed_to_open_at_the_threshold(self, breaker, fail):
        for failures, state in enumerate(["closed", "closed", "open"], 1):
            fail(breaker)
            assert breaker.state == state
            assert breaker.failure_count == (failures if state == "closed" else 0)

    def test_a_threshold_of_one(self, make_breaker, fail):
        breaker = make_breaker(failure_threshold=1)
        fail(breaker)
        assert breaker.state == "open"

    def test_open_to_half_open_by_the_first_call_at_the_deadline(self, breaker, clock, fail):
        fail(breaker, 3)
        clock.advance(9.999)
        with pytest.raises(CircuitOpenError):
            breaker.acquire()
        clock.advance(0.001)
        assert (breaker.state, breaker.metrics().half_open_calls) == ("open", 0)
        probe = breaker.acquire()
        assert (breaker.state, breaker.metrics().half_open_calls) == ("half_open", 1)
        probe.release()

    def test_half_open_to_closed_after_enough_successes(self, breaker, clock, fail):
        fail(breaker, 3)
        clock.advance(10)
        breaker.acquire().success()
        assert (breaker.state, breaker.success_count) == ("half_open", 1)
        breaker.acquire().success()
        assert (breaker.state, breaker.success_count, breaker.failure_count) == ("closed", 0, 0)

    def test_half_open_to_open_at_one_failure_and_the_timer_restarts(self, breaker, clock, fail):
        fail(breaker, 3)
        clock.advance(25)
        breaker.acquire().success()
        fail(breaker)
        assert (breaker.state, breaker.success_count) == ("open", 0)
        assert breaker.metrics().retry_after == 10.0

    def test_more_successes_may_be_asked_for_than_probes_at_once(self, make_breaker, clock, fail):
        breaker = make_breaker(success_threshold=5, half_open_max_calls=1)
        fail(breaker, 3)
        clock.advance(10)
        for _ in range(5):
            assert breaker.state != "closed"
            breaker.acquire().success()
        assert breaker.state == "closed"

    def test_states_are_strings(self, breaker):
        assert breaker.state is CircuitState.CLOSED
        assert f"{breaker.state}" == "closed"


class TestAdministration:
    @pytest.mark.parametrize("call", ADMINISTRATION)
    @pytest.mark.parametrize("before", ["closed", "open", "half_open", *ADMINISTRATION])
    def test_each_call_works_in_each_state(self, breaker, clock, fail, before, call):
        if before in ADMINISTRATION:
            getattr(breaker, before)()
        elif before != "closed":
            fail(breaker, 3)
        if before == "half_open":
            clock.advance(10)
            breaker.acquire().release()
        getattr(breaker, call)()
        metrics = breaker.metrics()
        assert (metrics.state, metrics.failure_count, metrics.success_count) == (ADMINISTRATION[call], 0, 0)

    @pytest.mark.parametrize("call", ADMINISTRATION)
    def test_only_another_call_leaves_its_state(self, breaker, clock, fail, call):
        getattr(breaker, call)()
        if call == "force_open":
            clock.advance(1000)
            with pytest.raises(CircuitOpenError):
                breaker.acquire()
        if call == "disable":
            fail(breaker, 10)
        if call == "shadow":
            fail(breaker, 3)
            clock.advance(1000)
            fail(breaker)
        assert breaker.state == ADMINISTRATION[call]
        breaker.reset()
        assert breaker.state == "closed"

    def test_reset_forgets_and_keeps_the_totals(self, breaker, clock, fail):
        fail(breaker, 3)
        clock.advance(10)
        lost = breaker.acquire()
        breaker.reset()
        metrics = breaker.metrics()
        assert (metrics.half_open_calls, metrics.failures, metrics.opened) == (0, 3, 1)
        lost.release()

    def test_reset_begins_a_new_streak(self, breaker, fail):
        fail(breaker, 2)
        breaker.reset()
        fail(breaker, 2)
        assert breaker.state == "closed"

    def test_a_shadow_judges_as_usual(self, breaker, clock, fail):
        breaker.shadow()
        seen = []

        def step():
            seen.append((str(breaker.metrics().shadow_state), breaker.metrics().shadow_rejected))

        fail(breaker, 3)
        step()
        unjudged = [breaker.acquire(), breaker.acquire()]
        step()
        clock.advance(10)
        probes = [breaker.acquire(), breaker.acquire(), breaker.acquire()]
        step()
        unjudged[0].failure()
        probes.pop().failure()
        step()
        for probe in probes:
            probe.success()
        step()
        unjudged[1].success()
        assert seen == [("open", 0), ("open", 2), ("half_open", 3), ("half_open", 3), ("closed", 3)]
        assert breaker.metrics().rejected == 0

    def test_a_shadow_has_no_shadow_once_it_is_over(self, breaker):
        assert breaker.metrics().shadow_state is None
        breaker.shadow()
        assert breaker.metrics().shadow_state == "closed"
        breaker.reset()
        assert breaker.metrics().shadow_state is None


class TestTheLock:
    """No lock spans the user's code."""

    def test_the_function_may_use_its_own_breaker(self, colour, breaker, in_time):
        def curious():
            breaker.reset()
            return breaker.metrics().state

        assert in_time(colour.run, breaker(colour.function(curious))) == "closed"

    def test_functions_run_side_by_side(self, breaker, in_time):
        both = threading.Barrier(2, timeout=10)
        waits = breaker(both.wait)

        def run():
            threads = [threading.Thread(target=waits) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return breaker.metrics().successes

        assert in_time(run) == 2

    def test_predicates_may_use_the_breaker(self, make_breaker, in_time):
        def curious(_):
            return made[0].metrics().state == "open"

        made = [make_breaker(failure_if=curious, exclude=curious, failure_threshold=1)]
        assert in_time(made[0].call, lambda: "done") == "done"
        with pytest.raises(OSError):
            made[0](fails)()
        assert made[0].state == "open"

    def test_a_permit_may_be_dropped_in_the_thread_that_holds_the_lock(self, breaker, clock, fail, in_time):
        """The garbage collector may run at any allocation, so a finalizer never waits for the lock."""
        fail(breaker, 3)
        clock.advance(10)
        permits = [breaker.acquire()]

        def drop():
            with breaker._lock:
                permits.clear()
            return True

        assert in_time(drop)
        assert breaker.metrics().half_open_calls == 0

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    def test_a_stream_whose_clean_up_fails_may_be_dropped_in_the_thread_that_holds_the_lock(
        self, breaker, clock, fail, in_time
    ):
        """Its failure decides the circuit, and is taken in by the next who takes a step."""

        @breaker
        def stream():
            try:
                yield 1
            finally:
                raise OSError("clean-up failed")

        fail(breaker, 3)
        clock.advance(10)
        streams = [stream()]
        next(streams[0])

        def drop():
            with breaker._lock:
                streams.clear()

        in_time(drop)
        assert breaker.metrics().failures == 4
        assert breaker.state == "open"

    def test_a_step_that_was_put_off_is_taken_by_one_thread_of_several_that_come_by(self, breaker):
        """The others find that it is gone, and their calls go on."""

        class Gone(deque):
            def __bool__(self):  # what a thread saw before another one took it
                return True

        breaker._due = Gone()
        assert breaker.state == "closed"
        breaker.evidence = None
        breaker.acquire().success()

    def test_reading_the_state_takes_in_what_was_dropped(self, breaker, clock, fail):
        stream = breaker(iter_forever)
        fail(breaker, 3)
        clock.advance(10)
        for _ in range(2):
            items = stream()
            next(items)
            items.close()
        assert breaker.state == "closed"

    def test_counting_takes_in_what_was_dropped(self, breaker, clock, fail):
        fail(breaker, 3)
        clock.advance(10)
        items = breaker(iter_forever)()
        next(items)
        items.close()
        assert breaker.success_count == 1


def fails():
    raise OSError("down")


def iter_forever():
    while True:
        yield 1
