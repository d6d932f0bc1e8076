"""The gate: who else is asked before a probe, and who hears of outcomes."""

from __future__ import annotations

import anyio
import pytest

from circuitry import CircuitOpenError
from circuitry.gate import LOCAL, Leave
from circuitry.machine import Outcome

pytestmark = pytest.mark.core


class Fleet:
    """A store and its gate, which answers what it is told to, and writes down what it hears."""

    def __init__(self):
        self.governs = True
        self.leave = Leave.GRANTED
        self.asked = []
        self.heard = []

    def gate(self, breaker):
        self.name = breaker.name
        return self

    def ask(self):
        self.asked.append("sync")
        return self.leave

    async def ask_async(self):
        await anyio.lowlevel.checkpoint()
        self.asked.append("async")
        return self.leave

    def tell(self, admission, outcome, cause):
        self.heard.append((outcome, cause))


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


@pytest.mark.parametrize("leave", [Leave.GRANTED, Leave.LOCAL])
def test_a_probe_goes_out_with_leave(colour, shared, fleet, clock, fail, leave):
    fleet.leave = leave
    fail(shared, 3)
    clock.advance(10)
    probe = colour.acquire(shared)
    assert fleet.asked == ["async" if colour.is_async else "sync"]
    assert shared.metrics().half_open_calls == 1
    probe.success()


def test_a_probe_without_leave_is_rejected(colour, shared, fleet, clock, fail):
    fleet.leave = Leave.REFUSED
    fail(shared, 3)
    clock.advance(10)
    with pytest.raises(CircuitOpenError) as caught:
        colour.acquire(shared)
    assert (caught.value.state, caught.value.retry_after, shared.state) == ("open", 0.0, "open")
    assert shared.metrics().rejected == 1


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
    assert colour.run(ask) is Leave.LOCAL
    assert LOCAL.tell(object(), Outcome.SUCCESS, None) is None
    assert not LOCAL.governs
