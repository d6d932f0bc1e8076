"""A family that may panic, and its members counted anew at each step."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from circuitry import CircuitBreaker, CircuitOpenError
from circuitry.config import CircuitBreakerConfig
from circuitry.family import CircuitFamily
from circuitry.gate import LocalGate
from circuitry.states import CircuitState, FleetVerdict
from circuitry.testing import ManualClock

TIMEOUT = 10.0
CUT_OFF = ("open", "half_open")

#: What the moves of all runs have met, to show that they aren't idle.
met: set[str] = set()
keys = st.sampled_from("abcdef")


class Store(LocalGate):
    def gate(self, breaker):
        return self


class Panicking(RuleBasedStateMachine):
    """One failure opens a member, one success closes it again."""

    @initialize(
        share=st.sampled_from([0.5, 0.34, 0.25, 0.9, 0.01]),
        most=st.integers(2, 5),
        shared=st.booleans(),
        first=st.lists(keys, unique=True),
        down=st.lists(keys, unique=True),
    )
    def begin(self, share, most, shared, first, down):
        self.clock, self.share = ManualClock(1000.0), share
        self.store = Store() if shared else None
        numbers = {"failure_threshold": 1, "success_threshold": 1, "timeout_duration": TIMEOUT}
        config = CircuitBreakerConfig(**numbers, half_open_max_calls=1)

        def make(name, *_):
            return CircuitBreaker(name, config, clock=self.clock, store=self.store)

        self.family = CircuitFamily("shard", config, make, most, share)
        self.events, self.pending, self.admitted = [], [], {}
        self.family.on_panic(self.events.append)
        for key in first:
            self.a_key_comes(key)
        for key in down:
            self.a_call(key, "failure")

    # -- Naively ---------------------------------------------------------------------------------

    def should_panic(self):
        """Every member is asked for its state."""
        states = [str(breaker.state) for breaker in self.family]
        not_closed = sum(state in CUT_OFF for state in states)
        return not_closed >= 2 and not_closed / len(states) > self.share

    def is_rejected(self, breaker):
        """Whether the circuit by itself would reject a call."""
        state, metrics = str(breaker.state), breaker.metrics()
        if state == "half_open":
            return metrics.half_open_calls == 1
        return state == "forced_open" or (state == "open" and metrics.retry_after > 0)

    # -- Moves -----------------------------------------------------------------------------------

    @rule(key=keys)
    def a_key_comes(self, key):
        self.family[key]

    @rule(key=keys, outcome=st.sampled_from(["success", "failure", "release", "later"]))
    def a_call(self, key, outcome):
        breaker = self.family[key]
        rejected, panics = self.is_rejected(breaker), self.should_panic()
        forced, rejections = breaker.state == "forced_open", breaker.metrics().rejected
        try:
            permit = breaker.acquire()
        except CircuitOpenError:
            assert rejected
            assert forced or not panics
            assert breaker.metrics().rejected == rejections + 1
            met.add("rejected")
            return
        assert not rejected or (panics and not forced)
        if rejected:
            self.admitted[breaker] = self.admitted.get(breaker, 0) + 1
            met.add("let through")
        if outcome == "later":
            self.pending.append(permit)
            return
        before = breaker.state
        getattr(permit, outcome)()
        if rejected:
            assert breaker.state is before  # it wasn't judged

    @rule(number=st.integers(0, 9), outcome=st.sampled_from(["success", "failure", "release"]))
    def a_late_end(self, number, outcome):
        if self.pending:
            getattr(self.pending.pop(number % len(self.pending)), outcome)()

    @rule(key=keys, order=st.sampled_from(["reset", "reset", "force_open", "disable", "shadow"]))
    def an_order(self, key, order):
        getattr(self.family[key], order)()
        met.add(order)

    @rule(key=keys, state=st.sampled_from(["open", "half_open", "closed"]), wait=st.sampled_from([0.0, 5.0]))
    def a_fleet_decides(self, key, state, wait):
        if self.store is not None:
            breaker = self.family[key]
            verdict = FleetVerdict(CircuitState(state), None, "tripped", self.clock() + wait, None)
            breaker._follow(verdict)
            breaker._announce()
            met.add("followed")

    @rule(seconds=st.sampled_from([1.0, TIMEOUT]))
    def time_passes(self, seconds):
        self.clock.advance(seconds)

    # -- What must hold -----------------------------------------------------------------------------

    @invariant()
    def it_panics_if_too_many_are_not_closed(self):
        if hasattr(self, "family"):
            assert self.family.is_panicking is self.should_panic()

    @invariant()
    def each_beginning_and_end_was_told_once_and_in_order(self):
        if hasattr(self, "family"):
            told = [event.panicking for event in self.events]
            assert told == [turn % 2 == 0 for turn in range(len(told))]
            assert (told[-1:] == [True]) is self.family.is_panicking
            met.update(f"told {panicking}" for panicking in told)
            for event in self.events:
                share = event.not_closed / event.members
                assert event.panicking is (event.not_closed >= 2 and share > self.share)

    @invariant()
    def each_call_that_was_let_through_is_counted(self):
        if hasattr(self, "family"):
            for breaker in self.family:
                assert breaker.metrics().panic_admitted == self.admitted.get(breaker, 0)


def play(**given):
    met.clear()
    run_state_machine_as_test(Panicking, settings=settings(stateful_step_count=30, **given))
    assert met >= {"rejected", "let through", "told True", "told False", "followed", "force_open"}


@pytest.mark.core
def test_it_panics_just_when_its_members_counted_anew_say_so():
    play(max_examples=60)


@pytest.mark.slow
def test_it_does_so_in_the_long_run():
    play(max_examples=1500)
