"""The gate: who else is asked before a probe, and who hears of outcomes."""

from __future__ import annotations

import anyio
import pytest

from circuitry import CircuitOpenError
from circuitry.gate import ALONE, LOCAL, Leave, LocalGate, Refused
from circuitry.states import Outcome, Probe, Reason

pytestmark = pytest.mark.core


class Granted(Leave):
    """Leave that remembers what became of it."""

    def __init__(self):
        self.fate = None

    def used_by(self, probe):
        self.fate = probe

    def give_back(self):
        self.fate = "given back"


class Fleet(LocalGate):
    """A store and its gate, which answers what it is told to, and writes down what it hears."""

    def __init__(self):
        self.asleep = False
        self.governs = True
        self.leave = Granted()
        self.asked = []
        self.heard = []
        self.ordered = []
        self.nudges = 0

    def gate(self, breaker):
        self.name = breaker.name
        return self

    def wake(self):
        self.asleep = False

    def ask(self):
        self.asked.append("sync")
        return self.leave

    async def ask_async(self):
        await anyio.lowlevel.checkpoint()
        self.asked.append("async")
        return self.leave

    def tell(self, admission, outcome, cause):
        self.heard.append((outcome, cause))

    def order(self, reason):
        self.ordered.append(reason)

    def nudge(self):
        self.nudges += 1


@pytest.fixture
def fleet():
    return Fleet()


@pytest.fixture
def shared(make_breaker, fleet):
    """A breaker whose verdict is shared."""
    return make_breaker(store=fleet)


def test_a_store_gives_the_gate_of_a_breaker(shared, fleet):
    assert fleet.name == shared.name


def test_nobody_is_asked_while_closed(colour, shared, fleet):
    colour.run(shared(colour.function(lambda: 0)))
    colour.acquire(shared).success()
    assert (fleet.asked, fleet.heard) == ([], [])


def test_nobody_is_asked_for_a_rejection(colour, shared, fleet, fail):
    fail(shared, 3)
    with pytest.raises(CircuitOpenError):
        colour.acquire(shared)
    shared.force_open()
    with pytest.raises(CircuitOpenError):
        colour.acquire(shared)
    assert fleet.asked == []


@pytest.mark.parametrize("leave", [Granted(), ALONE])
def test_a_probe_goes_out_with_leave(colour, shared, fleet, clock, fail, leave):
    fleet.leave = leave
    fail(shared, 3)
    clock.advance(10)
    probe = colour.acquire(shared)
    assert fleet.asked == ["async" if colour.is_async else "sync"]
    assert shared.metrics().half_open_calls == 1
    probe.success()


def test_a_probe_without_leave_is_rejected(colour, shared, fleet, clock, fail):
    fleet.leave = Refused(2.5)
    fail(shared, 3)
    clock.advance(10)
    with pytest.raises(CircuitOpenError) as caught:
        colour.acquire(shared)
    assert (caught.value.state, caught.value.retry_after, shared.state) == ("open", 2.5, "open")
    assert shared.metrics().rejected == 1


def test_leave_is_used_by_the_probe_that_goes_out(colour, shared, fleet, clock, fail):
    fail(shared, 3)
    clock.advance(10)
    probe = colour.acquire(shared)
    assert isinstance(fleet.leave.fate, Probe)
    probe.success()


def test_leave_is_given_back_when_no_probe_goes_out_after_all(colour, shared, fleet, clock, fail):
    """Between the question and the answer somebody has closed the circuit."""
    fail(shared, 3)
    clock.advance(10)

    class Late(Granted):
        @property
        def granted(self):
            shared.reset()
            return True

    fleet.leave = Late()
    colour.acquire(shared).success()
    assert fleet.leave.fate == "given back"


def test_a_shadow_lets_a_call_go_that_has_no_leave(colour, shared, fleet, clock, fail):
    shared.shadow()
    fail(shared, 3)
    clock.advance(10)
    fleet.leave = Refused()
    colour.acquire(shared).success()
    assert shared.metrics().shadow_rejected == 1


def test_a_gate_wakes_with_the_first_use(colour, make_breaker, fleet):
    """Until then calls don't go by the fast path, and from then on they do."""
    breaker = make_breaker()
    fleet.asleep = True
    breaker._share(fleet)
    assert breaker.evidence is None
    colour.acquire(breaker).success()
    assert not fleet.asleep
    assert breaker.evidence is not None


@pytest.mark.parametrize("read", [lambda b: b.state, lambda b: b.metrics(), lambda b: b.disable()])
def test_to_read_or_to_order_is_use_too(make_breaker, fleet, read):
    breaker = make_breaker()
    fleet.asleep = True
    breaker._share(fleet)
    read(breaker)
    assert not fleet.asleep


def test_an_operator_speaks_to_the_fleet_unless_he_says_otherwise(shared, fleet):
    shared.force_open()
    shared.disable(local=True)
    shared.shadow()
    shared.reset()
    assert fleet.ordered == ["forced_open", "shadowed", "reset"]


def test_it_is_nudged_for_a_probe_that_is_dropped_and_hears_of_it_in_time(shared, fleet, clock, fail):
    """A finalizer takes no lock and tells nothing: it only asks for attention."""
    fail(shared, 3)
    clock.advance(10)
    fleet.heard.clear()
    shared.acquire().release()
    assert (fleet.nudges, fleet.heard) == (1, [])
    shared.metrics()
    assert fleet.heard == [(Outcome.IGNORED, None)]


def test_it_is_not_asked_while_it_does_not_govern(colour, shared, fleet, clock, fail):
    fleet.governs = False
    fail(shared, 3)
    clock.advance(10)
    colour.acquire(shared).success()
    assert fleet.asked == []


def test_it_hears_of_failures_and_of_what_ends_a_streak(colour, shared, fleet):
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            colour.run(shared(colour.function(lambda: 1 / 0)))
    colour.run(shared(colour.function(lambda: 0)))
    colour.run(shared(colour.function(lambda: 0)))
    failure = (Outcome.FAILURE, "ZeroDivisionError: division by zero")
    assert fleet.heard == [failure, failure, (Outcome.SUCCESS, None)]


def test_it_hears_of_the_opening_and_of_probes(colour, shared, fleet, clock):
    for _ in range(3):
        colour.acquire(shared).failure(OSError("down"))
    clock.advance(10)
    colour.acquire(shared).success()
    colour.acquire(shared).failure(OSError("again"))
    down, again = (Outcome.FAILURE, "OSError: down"), (Outcome.FAILURE, "OSError: again")
    assert fleet.heard == [down, down, down, (Outcome.SUCCESS, None), again]


def test_the_gate_of_a_circuit_on_its_own_has_nobody_to_ask_or_tell(colour):
    ask = LOCAL.ask_async if colour.is_async else LOCAL.ask
    assert colour.run(ask) is ALONE
    assert LOCAL.tell(object(), Outcome.SUCCESS, None) is None
    assert LOCAL.order(Reason.RESET) is None
    assert not LOCAL.governs
