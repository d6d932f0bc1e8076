"""The machine and the breaker do what the reference does, whatever happens to them."""

from __future__ import annotations

import functools

import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from circuitry.machine import TRANSITIONS

from . import comparison
from .async_driver import AsyncDriver
from .comparison import Comparison, RuledComparison
from .drivers import BreakerDriver, MachineDriver
from .twins import AlwaysTold, Twins

#: What random moves always come by, or they would prove little; and, if there are many, this too.
MET = {f"{state} {reason}" for state, reason in TRANSITIONS} | {"waived", "late success"}
MET_IN_TIME = MET | {"late failure", "late ignored", "lapsed success", "lapsed failure", "lapsed ignored"}


def compare(make, met=MET, kind=Comparison, **given):
    """Play with what `make` makes, and with the reference."""
    comparison.met.clear()
    given = settings(stateful_step_count=50, **given)
    run_state_machine_as_test(lambda: kind(make), settings=given)
    assert comparison.met >= met


@pytest.mark.core
@pytest.mark.parametrize("make", [MachineDriver, BreakerDriver])
def test_it_does_what_the_reference_does(make):
    compare(make, max_examples=120)


@pytest.mark.core
def test_the_breaker_does_what_the_reference_does_in_an_event_loop(anyio_backend):
    with start_blocking_portal(anyio_backend) as portal:
        compare(functools.partial(AsyncDriver, portal=portal))


RULED = {"closed tripped", "open timed_out", "slow", "waived"}


@pytest.mark.core
@pytest.mark.parametrize("make", [MachineDriver, BreakerDriver])
def test_by_a_rule_it_does_what_the_reference_does(make):
    compare(make, RULED, RuledComparison, max_examples=120)


@pytest.mark.core
def test_by_a_rule_it_does_so_in_an_event_loop(anyio_backend):
    with start_blocking_portal(anyio_backend) as portal:
        compare(functools.partial(AsyncDriver, portal=portal), RULED, RuledComparison)


@pytest.mark.core
def test_with_and_without_the_fast_path_it_is_the_same():
    """Of a closed circuit without a failure streak, the machine needn't hear of a success."""
    AlwaysTold.heard = 0
    compare(Twins)
    assert AlwaysTold.heard > 50


@pytest.mark.slow
@pytest.mark.parametrize("make", [MachineDriver, Twins])
def test_it_does_what_the_reference_does_in_the_long_run(make):
    compare(make, MET_IN_TIME, max_examples=1000)


@pytest.mark.slow
@pytest.mark.parametrize("make", [MachineDriver, BreakerDriver])
def test_by_a_rule_it_does_so_in_the_long_run(make):
    compare(make, RULED, RuledComparison, max_examples=1000)


@pytest.mark.slow
def test_the_breaker_does_so_in_an_event_loop_in_the_long_run(anyio_backend):
    with start_blocking_portal(anyio_backend) as portal:
        compare(functools.partial(AsyncDriver, portal=portal), MET_IN_TIME, max_examples=1000)
