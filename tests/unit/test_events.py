"""Listeners: told outside every lock, one event at a time, in order, and harmless."""

from __future__ import annotations

import functools
import threading
import time

import pytest

from circuitry import CircuitOpenError, FailureEvent, FallbackEvent, RejectionEvent, TransitionEvent

pytestmark = pytest.mark.core


def changes(events):
    return [(str(event.old_state), str(event.new_state), str(event.reason)) for event in events]


def trip_and_recover(breaker, clock, fail):
    fail(breaker, 3)
    clock.advance(10)
    fail(breaker, 1)
    clock.advance(10)
    for _ in range(2):
        breaker.acquire().success()


class TestTransitions:
    def test_each_change_is_told_once_and_in_order(self, breaker, clock, fail):
        heard = []
        breaker.on_transition(heard.append)
        trip_and_recover(breaker, clock, fail)
        assert changes(heard) == [
            ("closed", "open", "tripped"),
            ("open", "half_open", "timed_out"),
            ("half_open", "open", "probe_failed"),
            ("open", "half_open", "timed_out"),
            ("half_open", "closed", "recovered"),
        ]
        assert {event.source for event in heard} == {"local"}

    def test_what_an_event_tells(self, breaker, fail):
        heard = []
        breaker.on_transition(heard.append)
        before = time.time()
        fail(breaker, 3)
        (event,) = heard
        assert isinstance(event, TransitionEvent)
        assert (event.name, event.last_failure) == ("netflix", "OSError: down")
        assert before <= event.at <= time.time()
        with pytest.raises(AttributeError):
            event.name = "another"

    def test_administrative_calls_are_told_if_the_state_changes(self, breaker):
        heard = []
        breaker.on_transition(heard.append)
        for administer in (breaker.reset, breaker.force_open, breaker.force_open, breaker.disable):
            administer()
        breaker.shadow()
        breaker.reset()
        assert changes(heard) == [
            ("closed", "forced_open", "forced_open"),
            ("forced_open", "disabled", "disabled"),
            ("disabled", "shadow", "shadowed"),
            ("shadow", "closed", "reset"),
        ]
        assert {event.source for event in heard} == {"admin"}

    def test_the_judgement_of_a_shadow_is_told_as_such(self, breaker, clock, fail):
        breaker.shadow()
        heard = []
        breaker.on_transition(heard.append)
        fail(breaker, 3)
        clock.advance(10)
        for _ in range(2):
            breaker.acquire().success()
        assert changes(heard) == [
            ("closed", "open", "tripped"),
            ("open", "half_open", "timed_out"),
            ("half_open", "closed", "recovered"),
        ]
        assert {event.source for event in heard} == {"shadow"}
        metrics = breaker.metrics()
        assert (metrics.opened, metrics.recovery_attempts) == (0, 0)

    def test_what_a_dropped_stream_brought_about_is_told_by_who_finds_it(self, make_breaker, clock, fail):
        breaker = make_breaker(success_threshold=1)
        heard = []

        @breaker
        def items():
            yield 1
            yield 2

        fail(breaker, 3)
        clock.advance(10)
        stream = items()
        next(stream)
        breaker.on_transition(heard.append)
        stream.close()
        assert heard == []
        assert breaker.metrics().state == "closed"
        assert changes(heard) == [("half_open", "closed", "recovered")]


class TestOtherEvents:
    def test_rejections(self, colour, breaker, clock, fail):
        heard = []
        breaker.on_rejection(heard.append)
        fail(breaker, 3)
        clock.advance(4)
        with pytest.raises(CircuitOpenError):
            colour.acquire(breaker)
        clock.advance(6)
        probes = [breaker.acquire(), breaker.acquire()]
        with pytest.raises(CircuitOpenError):
            colour.acquire(breaker)
        assert heard == [
            RejectionEvent("netflix", "open", 6.0),
            RejectionEvent("netflix", "half_open", 10.0),
        ]
        del probes

    def test_failures(self, colour, make_breaker):
        breaker = make_breaker(exclude=LookupError, failure_if=lambda value: value == "bad")
        heard, error = [], OSError("down")
        breaker.on_failure(heard.append)

        def call(outcome):
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        guarded = breaker(colour.function(call))
        with pytest.raises(OSError):
            colour.run(guarded, error)
        with pytest.raises(LookupError):
            colour.run(guarded, LookupError())
        colour.run(guarded, "bad")
        colour.run(guarded, "good")
        assert heard == [FailureEvent("netflix", error), FailureEvent("netflix", None)]

    def test_fallbacks(self, colour, make_breaker):
        breaker = make_breaker(fallback_value="cached", fallback_on=ZeroDivisionError)
        heard = []
        breaker.on_fallback(heard.append)
        guarded = breaker(colour.function(lambda: 1 / 0))
        colour.run(guarded)
        breaker.force_open()
        colour.run(guarded)
        assert [type(event) for event in heard] == [FallbackEvent, FallbackEvent]
        assert [type(event.error) for event in heard] == [ZeroDivisionError, CircuitOpenError]

    def test_a_transition_is_told_before_the_failure_that_brought_it_about(self, make_breaker):
        breaker = make_breaker(failure_threshold=1)
        heard = []
        breaker.on_failure(heard.append)
        breaker.on_transition(heard.append)
        breaker.acquire().failure()
        assert [type(event) for event in heard] == [TransitionEvent, FailureEvent]


def all_four(breaker):
    """Bring about an event of each kind, and two transitions."""
    breaker.force_open()
    breaker.call_with_fallback(str.upper, str.lower, "x")
    breaker.reset()
    breaker.acquire().failure()


#: The kinds, and how many events of each `all_four` brings about.
KINDS = {"on_transition": 2, "on_rejection": 1, "on_failure": 1, "on_fallback": 1}


@pytest.mark.parametrize("kind", KINDS)
class TestEveryKind:
    def test_listeners_are_called_in_the_order_they_came(self, breaker, kind):
        heard = []
        for number in range(3):
            getattr(breaker, kind)(lambda _, number=number: heard.append(number))
        all_four(breaker)
        assert heard == [0, 1, 2] * KINDS[kind]

    def test_one_that_raises_is_logged_and_harms_nothing(self, breaker, kind, caplog):
        heard = []

        def raises(_):
            raise ValueError("a listener's own fault")

        getattr(breaker, kind)(raises)
        getattr(breaker, kind)(heard.append)
        all_four(breaker)
        assert len(heard) == KINDS[kind]
        errors = [record for record in caplog.records if record.levelname == "ERROR"]
        assert len(errors) == len(heard)
        assert "a listener's own fault" in str(errors[0].exc_info[1])
        assert "raised on" in errors[0].getMessage()

    def test_unsubscribing(self, breaker, kind):
        heard = []
        unsubscribe = getattr(breaker, kind)(heard.append)
        kept = getattr(breaker, kind)(lambda event: heard.append("kept"))
        unsubscribe()
        unsubscribe()
        all_four(breaker)
        assert heard == ["kept"] * KINDS[kind]
        kept()

    def test_the_same_listener_twice_is_two_subscriptions(self, breaker, kind):
        heard = []
        first = getattr(breaker, kind)(heard.append)
        getattr(breaker, kind)(heard.append)
        first()
        all_four(breaker)
        assert len(heard) == KINDS[kind]

    def test_an_async_listener_is_refused(self, breaker, kind):
        async def listener(_):
            """Nobody would await it."""

        class Listener:
            async def __call__(self, _):
                """Nobody would await it."""

        for refused in (listener, Listener(), functools.partial(listener)):
            with pytest.raises(
                TypeError, match=r"is async and would never be awaited: use breaker.events\(\)"
            ):
                getattr(breaker, kind)(refused)

    def test_what_is_not_callable_is_refused(self, breaker, kind):
        with pytest.raises(TypeError, match="a listener must be callable, not 42"):
            getattr(breaker, kind)(42)

    def test_it_may_use_the_breaker(self, breaker, kind, in_time):
        heard = []

        def listener(_):
            heard.append(breaker.metrics().calls)
            unsubscribe()

        unsubscribe = getattr(breaker, kind)(listener)
        in_time(lambda: all_four(breaker) or True)
        assert len(heard) == 1

    def test_a_keyboard_interrupt_in_it_comes_out_and_leaves_the_rest_to_the_next(self, breaker, kind):
        heard = []

        def interrupted(event):
            heard.append(event)
            if len(heard) == 1:
                raise KeyboardInterrupt

        getattr(breaker, kind)(interrupted)
        with pytest.raises(KeyboardInterrupt):
            all_four(breaker)
        all_four(breaker)
        assert len(heard) > 1


class TestReentrance:
    def test_what_a_listener_changes_is_told_after_what_it_was_told_of(self, breaker, fail, in_time):
        heard = []

        def reopen(event):
            heard.append(("first", str(event.new_state)))
            if event.new_state == "open":
                breaker.force_open()
                heard.append(("back in", "first"))

        breaker.on_transition(reopen)
        breaker.on_transition(lambda event: heard.append(("second", str(event.new_state))))
        in_time(lambda: fail(breaker, 3) or True)
        assert heard == [
            ("first", "open"),
            ("back in", "first"),
            ("second", "open"),
            ("first", "forced_open"),
            ("second", "forced_open"),
        ]

    def test_a_slow_listener_holds_up_no_other_thread(self, breaker, fail):
        told, go_on = threading.Event(), threading.Event()
        heard = []

        def slow(event):
            heard.append(str(event.new_state))
            if len(heard) == 1:
                told.set()
                go_on.wait(10)

        breaker.on_transition(slow)
        speaker = threading.Thread(target=fail, args=(breaker, 3))
        speaker.start()
        assert told.wait(10)
        breaker.reset()
        breaker.force_open()
        assert (breaker.state, heard) == ("forced_open", ["open"])
        go_on.set()
        speaker.join()
        assert heard == ["open", "closed", "forced_open"]

    def test_who_subscribes_while_being_told_hears_the_next(self, breaker):
        heard = []

        def subscribe(_):
            unsubscribe()
            breaker.on_transition(heard.append)

        unsubscribe = breaker.on_transition(subscribe)
        breaker.force_open()
        assert heard == []
        breaker.reset()
        assert len(heard) == 1
