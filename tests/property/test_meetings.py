"""Whatever is set, and whatever comes: no call meets anything unexpected, and all adds up.

One circuit, or a family that may panic, is given settings at random, other ones while calls are in flight,
operators' settings and orders, and a health check that is driven by hand. What is said of it afterwards has
to be what was seen of it.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from unittest import mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from circuitry import CircuitOpenError, CircuitRegistry, CircuitState, ConfigurationError
from circuitry.checking import OVER, Run
from circuitry.operator import SettingsFile
from circuitry.policies import Adaptive, ConsecutiveFailures, FailureRate, SlowCallRate, last, within
from circuitry.testing import ManualClock, forced

RULES = (
    None,
    Adaptive(k=1.0, window=last(4)),
    Adaptive(window=within(10)),
    FailureRate(0.5, last(4)),
    SlowCallRate(0.5, slower_than=1.0, window=last(3)),
    SlowCallRate(0.5, slower_than=1.0, window=within(9)) | ConsecutiveFailures(2),
)
#: What the moves of all runs have met, to show that they aren't idle.
met: set[str] = set()
#: What text can say, and so operators too.
NUMBERS = {
    "failure_threshold": st.integers(1, 3),
    "success_threshold": st.integers(1, 2),
    "timeout_duration": st.sampled_from([1.0, 5.0]),
    "half_open_max_calls": st.integers(1, 2),
    "ramp_up": st.sampled_from([3.0, 20.0]),
    "latency": st.booleans(),
    "call_timeout": st.just(50.0),
    "health_check_interval": st.sampled_from([1.0, 2.0]),
    "initial_state": st.sampled_from(["closed", "closed", "shadow"]),
}
ORDERS = st.sampled_from(["reset", "reset", "reset", "force_open", "disable", "shadow"])
OUTCOMES = st.sampled_from(["success", "failure", "failure", "release"])
KEYS = st.sampled_from("abc")


def items():
    yield from (1, 2)


def some(fields):
    return st.fixed_dictionaries({}, optional=fields)


class Meetings(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.clock, self.registry = ManualClock(1000.0), CircuitRegistry()
        self.held, self.streams, self.runs = [], [], []
        self.seen = {}  # what became of the calls of each breaker
        self.answer = True
        self.driven = mock.patch.object(Run, "start", lambda run: self.runs.append(run))
        self.driven.start()

    def teardown(self):
        self.driven.stop()

    def ask(self, key=None):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def given(self):
        mine = {
            "ramp_up": st.none(),
            "call_timeout": st.none(),
            "health_check": st.sampled_from([None, self.ask]),
        }
        return some({**NUMBERS, **mine, "trip": st.sampled_from(RULES)})

    @initialize(
        features=st.sets(st.sampled_from(["ramp_up", "health_check", "latency"])),
        sheds=st.sampled_from([False, False, True]),
        is_family=st.sampled_from([True, True, False]),
        share=st.sampled_from([0.3, 0.5, None]),
    )
    def begin(self, features, sheds, is_family, share):
        settings = {"success_threshold": 1, "timeout_duration": 1.0, "clock": self.clock}
        if sheds:
            settings["trip"] = RULES[1]
        else:
            values = {"ramp_up": 20.0, "health_check": self.ask, "latency": True}
            settings |= {name: values[name] for name in features} | {"failure_threshold": 1}
        self.family = None
        if is_family:
            bounds = {"max_keys": 2, "max_open_fraction": None if sheds else share}
            self.family = self.registry.get_or_create_family("netflix", **bounds, **settings)
        else:
            self.registry.get_or_create("netflix", **settings)

    def breaker(self, key):
        breaker = self.registry["netflix"] if self.family is None else self.family[key]
        if breaker not in self.seen:
            counts = self.seen[breaker] = Counter()
            breaker.on_rejection(lambda event: counts.update(["heard"]))
        return breaker

    # -- Calls ---------------------------------------------------------------------------------------------

    @rule(key=KEYS)
    def hold(self, key):
        breaker = self.breaker(key)
        before = breaker.metrics()
        panics = self.family is not None and self.family.is_panicking
        try:
            permit = breaker.acquire()
        except CircuitOpenError as error:
            self.seen[breaker]["rejected"] += 1
            is_right = {
                "open": not panics,
                "half_open": not panics,
                "closed": before.shed_share,
                "forced_open": 1,
            }
            assert is_right[error.state]  # noqa: PT017 - all of them are looked at
        else:
            self.held.append((breaker, permit))
            waits = before.state == "open" and (before.retry_after or breaker.config.health_check)
            assert panics or not waits
            assert before.state != "forced_open"

    @precondition(lambda self: self.held)
    @rule(number=st.integers(0, 9), outcome=OUTCOMES)
    def end(self, number, outcome):
        breaker, permit = self.held.pop(number % len(self.held))
        getattr(permit, outcome)()
        self.seen[breaker][outcome] += 1

    @rule(key=KEYS, outcome=OUTCOMES)
    def call(self, key, outcome):
        held = len(self.held)
        self.hold(key)
        if len(self.held) > held:
            self.end(held, outcome)

    @rule(outcome=OUTCOMES)
    def call_all(self, outcome):
        self.clock.advance(1.0)
        for key in "abc":
            self.call(key, outcome)

    @rule()
    def go_down_and_come_back(self):
        self.call_all("failure")
        self.clock.advance(1.0)
        self.check(True)
        self.call_all("success")

    @precondition(lambda self: self.held)
    @rule(number=st.integers(0, 9))
    def drop(self, number):
        breaker, permit = self.held.pop(number % len(self.held))
        del permit
        self.seen[breaker]["release"] += 1

    @rule(key=KEYS)
    def begin_stream(self, key):
        breaker = self.breaker(key)
        try:
            stream = breaker.call(items)
            next(stream)
        except TypeError:
            assert breaker.config.coded_call_timeout  # a stream can't have one
        except CircuitOpenError:
            self.seen[breaker]["rejected"] += 1
        else:
            self.streams.append((breaker, stream))

    @precondition(lambda self: self.streams)
    @rule(is_read=st.booleans())
    def end_stream(self, is_read):
        breaker, stream = self.streams.pop()
        if is_read:
            list(stream)
        del stream
        self.seen[breaker]["success"] += 1

    # -- What else happens -----------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.1, 1.0, 1.5, 5.0, 11.0]))
    def pass_time(self, seconds):
        self.clock.advance(seconds)

    @rule(answer=st.sampled_from([True, True, None, False, OSError("down")]))
    def check(self, answer):
        self.answer = answer
        for run in self.runs:
            if run._pause() is not None:
                run._next = OVER
                run._take_turn()
                met.add("a check")
            else:
                run._end()

    @rule(data=st.data())
    def reconfigure(self, data):
        with contextlib.suppress(ConfigurationError):
            self.registry.reconfigure("netflix", **data.draw(self.given()))

    @precondition(lambda self: self.family is not None)
    @rule(key=KEYS, data=st.data())
    def reconfigure_one(self, key, data):
        breaker = self.breaker(key)
        before = breaker.config
        try:
            breaker.reconfigure(**data.draw(self.given()))
        except ConfigurationError:
            assert breaker.config is before

    @rule(all_=some(NUMBERS), one=some(NUMBERS))
    def load(self, all_, one):
        file = SettingsFile({"netflix": all_, "netflix[a]": one})
        changes = [
            change
            for entry in self.registry._entries.values()
            for change in self.registry._changes(entry, file)
        ]
        self.registry._file = file
        for change in changes:
            change()

    @rule(key=KEYS, order=ORDERS)
    def order(self, key, order):
        getattr(self.breaker(key), order)()

    @rule(key=KEYS, state=st.sampled_from(CircuitState), outcome=OUTCOMES, data=st.data())
    def force(self, key, state, outcome, data):
        with forced(self.breaker(key), state):
            self.call(key, outcome)
            self.reconfigure(data)

    # -- What holds always -----------------------------------------------------------------------------------

    @invariant()
    def all_adds_up(self):
        for breaker, counts in self.seen.items():
            metrics = breaker.metrics()
            ended = (counts["success"], counts["failure"], counts["release"])
            assert (metrics.successes, metrics.failures, metrics.ignored) == ended
            assert metrics.calls == sum(ended)
            assert metrics.rejected == counts["rejected"] == counts["heard"]
            assert metrics.latency is None or metrics.latency.calls <= metrics.calls
            assert 0 <= metrics.shed_share < 1
            assert not metrics.shed_share or metrics.state in ("closed", "shadow")
            met.update([metrics.state.value, *["shed"] * (metrics.shed_share > 0)])
            met.update(["a ramp"] * (breaker._circuit.full_at > 0))

    @invariant()
    def calls_come_in_where_they_have_to(self):
        for breaker in self.seen:
            breaker.metrics()  # takes in what is due
            circuit, config = breaker._circuit, breaker.config
            if circuit.evidence is None or circuit.full_at:
                assert breaker.evidence is breaker.enter is None
            elif config.latency or config.call_timeout or circuit.evidence.entrance:
                assert breaker.evidence is None
                assert breaker.enter is not None
            else:
                assert breaker.evidence is circuit.evidence
                assert breaker.enter is None

    @invariant()
    def it_panics_when_too_many_are_not_closed(self):
        share = None if self.family is None else self.family.max_open_fraction
        if share is not None:
            states = [breaker.state for breaker in self.family]
            bad = sum(state in ("open", "half_open") for state in states)
            assert self.family.is_panicking == (bad >= 2 and bad / len(states) > share)
            met.update(["a panic"] * self.family.is_panicking)


def play(**given):
    met.clear()
    run_state_machine_as_test(Meetings, settings=settings(stateful_step_count=30, **given))
    assert met >= {"open", "half_open", "shadow", "a ramp", "shed", "a panic", "a check"}


@pytest.mark.core
def test_whatever_meets_all_adds_up():
    play(max_examples=60)


@pytest.mark.slow
def test_it_does_so_in_the_long_run():
    play(max_examples=1500)
