"""A circuit's gate by itself, with a link that does nothing: what can come between two of its steps."""

from __future__ import annotations

import threading
import types

import pytest

from circuitry import CircuitBreaker
from circuitry.gate import ALONE
from circuitry.policies import FailureRate, last
from circuitry.redis import shared
from circuitry.redis.keys import Naming
from circuitry.redis.script import Script
from circuitry.redis.shared import SharedGate
from circuitry.redis.views import Verdict, View
from circuitry.states import CircuitState, Outcome, Reason
from circuitry.testing import ManualClock

from .fleet_scenes import NUMBERS

pytestmark = pytest.mark.core

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN


class StillLink:
    """Takes note, and sends nothing."""

    def __init__(self):
        self.naming = Naming("test:")
        self.script = Script(self.naming, "me")
        self.member, self.patience, self.check_period, self.is_up = "me", 0.0, 10.0, True
        self.reports = []
        self.poked = lambda gate: None

    def join(self, gate):
        pass

    def poke(self, gate):
        self.poked(gate)

    def announce(self, breaker):
        breaker._announce()

    def report(self, *report):
        self.reports.append(report)


class Server:
    """Gives what it was told to give, and writes down what it was asked."""

    def __init__(self, *replies):
        self.replies, self.asked = list(replies), []

    def ask(self, command):
        self.asked.append(command.argv[0])
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def server_time(self, at):
        return None


def view(version, state=CLOSED, *, epoch=None, verdict="view", reason="tripped", peers=0, rules="", **given):
    full = View(
        Verdict(verdict), state, None, epoch or version, version, 0, 0, 0, 0, None, reason, "", 0, peers,
        rules, 0, 0, 0, None,
    )  # fmt: skip
    return full._replace(**given)


@pytest.fixture
def link():
    return StillLink()


@pytest.fixture
def clock():
    return ManualClock(1000.0)


@pytest.fixture
def breaker(link, clock):
    store = types.SimpleNamespace(quorum_of=lambda breaker: 1)
    store.gate = lambda breaker: SharedGate(store, link, breaker)
    return CircuitBreaker("netflix", store=store, clock=clock, **NUMBERS)


@pytest.fixture
def gate(breaker):
    return breaker._gate


def half_open(gate):
    gate.receive(view(5, HALF_OPEN))
    assert gate.governs


# -- Asking ---------------------------------------------------------------------------------------------


def test_no_more_sync_callers_ask_than_probes_may_be_out(gate):
    half_open(gate)
    assert not gate.ask().granted
    request = gate.desk.next()
    assert not gate.ask().granted
    assert gate.desk.next() is None
    assert request.given_up


def test_a_question_that_nobody_waits_for_any_more_isnt_asked(gate):
    half_open(gate)
    gate.ask()
    server = Server()
    gate.send(server)
    assert server.asked == []
    assert gate.desk.request("next", None, 1) is not None


def test_ctrl_c_while_the_lease_is_asked_for_gives_it_back(gate, monkeypatch):
    half_open(gate)

    class Interrupted(threading.Event):
        def wait(self, timeout=None):
            gate.send(Server(view(6, HALF_OPEN, epoch=5, verdict="probe")))
            raise KeyboardInterrupt

    monkeypatch.setattr(shared.threading, "Event", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        gate.ask()
    ended = gate.outbox.take_ended()
    assert ended.outcome is Outcome.IGNORED


def test_a_fleet_that_has_closed_meanwhile_needs_no_lease(gate, monkeypatch):
    half_open(gate)

    class Answered(threading.Event):
        def wait(self, timeout=None):
            gate.send(Server(view(7, CLOSED, verdict="closed")))

    monkeypatch.setattr(shared.threading, "Event", Answered)
    assert gate.ask() is ALONE
    assert not gate.governs


def test_when_the_server_takes_nothing_nobody_waits_for_what_comes_after(gate, breaker):
    """A question behind something that is refused would otherwise stand in the way for ever."""
    half_open(gate)
    request = gate.desk.request("one", lambda: None, 1)
    gate.outbox.order(Reason.RESET)
    with pytest.raises(OSError):
        gate.send(Server(OSError("refused")))
    assert request.settle(None) is ALONE
    assert gate.outbox.ordered is not None


# -- What comes between -----------------------------------------------------------------------------------


def test_an_order_that_comes_between_a_view_and_the_step_goes_before_it(breaker, gate, clock):
    gate.receive(view(5, CLOSED))
    reset = iter([breaker.reset])

    class Between(ManualClock):
        def __call__(self):
            next(reset, lambda: None)()
            return super().__call__()

    breaker._clock = Between(1000.0)
    gate._verdict = gate._verdict._replace(state=OPEN, deadline=2000.0)
    gate._follow(breaker)
    assert breaker.state == "closed"
    assert gate.verdict is None


def test_an_order_is_taken_note_of_in_one_step_with_what_it_does_here(breaker, gate, link):
    """Or a later word of somebody else could come first, and be undone here for ever."""
    held = []
    link.poked = lambda gate: held.append(breaker._is_stepping())
    breaker.force_open()
    assert held == [True]


def test_evidence_is_tagged_under_the_lock(breaker, gate, monkeypatch):
    """Or evidence that is made meanwhile could keep the epoch before."""
    held = []
    monkeypatch.setattr(gate, "tag", lambda evidence: held.append(breaker._is_stepping()))
    gate.receive(view(5, CLOSED))
    assert held == [True]


def test_calls_are_counted_in_the_epoch_that_is_known(breaker, gate):
    evidence = breaker._circuit.evidence
    assert evidence.epoch == gate.outbox.unknown == 0
    gate.receive(view(5, CLOSED))
    assert evidence.epoch == 5
    gate.receive(view(7, CLOSED, reason="healed"))
    assert breaker._circuit.evidence is evidence
    assert evidence.epoch == 7
    breaker.reset()
    assert breaker._circuit.evidence.epoch == gate.outbox.unknown == -1
    gate.receive(view(8, CLOSED, reason="healed"))
    assert breaker._circuit.evidence.epoch == -1
    gate.send(Server(view(9, CLOSED, verdict="reset", reason="reset")))
    assert breaker._circuit.evidence.epoch == 9


def test_a_streak_of_the_others_makes_the_next_success_news(breaker, gate):
    gate.receive(view(5, CLOSED))
    assert not breaker._circuit.evidence.run
    gate.receive(view(6, CLOSED, epoch=5, failures=2))
    breaker.acquire().success()
    gate.send(Server(view(6, CLOSED, epoch=5, failures=2, verdict="stale")))
    assert breaker._circuit.evidence.run, "it takes the success for told"


def test_a_view_that_is_no_news_changes_nothing(breaker, gate):
    gate.receive(view(5, OPEN, remaining_ms=10_000))
    breaker.reset(local=True)
    assert breaker.state == "open"
    generation = breaker._circuit.generation
    gate.receive(view(4, CLOSED))
    gate.receive(view(5, OPEN, remaining_ms=10_000))
    assert breaker._circuit.generation == generation


def test_a_fleet_that_cannot_be_read_is_not_asked(gate):
    half_open(gate)
    gate.receive(view(0, verdict="error", cause="WRONGTYPE"))
    gate.mind()
    assert not gate.governs
    gate.receive(view(6, HALF_OPEN, epoch=5))
    assert gate.governs


def test_an_order_waits_while_nothing_can_be_read(breaker, gate, link):
    breaker.force_open()
    gate.send(Server(view(0, verdict="newer", cause="protocol 9")))
    assert gate.outbox.ordered is not None
    assert link.reports == [("newer_protocol", "netflix", "protocol 9")]
    gate.send(Server(view(6, OPEN, verdict="forced", mode=CircuitState.FORCED_OPEN)))
    assert gate.outbox.ordered is None


def test_a_lease_ends_counted_from_when_it_was_asked_for(gate, monkeypatch):
    """The server has counted from before the answer: here it may only seem to end earlier."""
    half_open(gate)
    now = ManualClock(5000.0)
    monkeypatch.setattr(shared.time, "monotonic", now)
    gate._request(None)

    class Slow(Server):
        def ask(self, command):
            now.advance(0.3)
            return super().ask(command)

    gate.send(Slow(view(6, HALF_OPEN, epoch=5, verdict="probe")))
    assert gate.desk._ready[0].ends == 5000.0 + NUMBERS["probe_timeout"]


def test_who_has_seen_others_knows_that_he_isnt_the_last_one(gate):
    gate.receive(view(5, CLOSED, peers=2))
    assert gate._company.is_settled(gate.terms.rules)
    gate.lost()
    assert not gate._company.is_settled(gate.terms.rules)
    gate.receive(view(5, CLOSED, peers=1))
    assert not gate._company.is_settled(gate.terms.rules)


def test_in_a_forked_child_nothing_of_the_parents_is_left(breaker, gate):
    half_open(gate)
    breaker.force_open()
    gate.rearm()
    assert (gate.asleep, gate.governs, gate.poked, len(gate.outbox)) == (True, False, False, 0)


def test_a_child_begins_with_empty_windows(breaker):
    """What is in them its parent tells."""
    breaker.reconfigure(trip=FailureRate(0.5, window=last(9), minimum_calls=9))
    breaker.acquire().failure()
    assert breaker.failure_count == 1
    breaker._rearm()
    assert breaker.failure_count == 0
