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
from .comparison import Comparison, RuledComparison, SheddingComparison
from .drivers import BreakerDriver, MachineDriver
from .twins import AlwaysTold, Twins

#: What random moves always come by, or they would prove little; and, if there are many, this too.
MET = {f"{state} {reason}" for state, reason in TRANSITIONS} | {"waived", "late success"}
#: What a fleet's word does to a circuit in a state.
MET_IN_A_FLEET = {"follows open", "follows half_open", "follows closed", "follows shadow", "stays closed"}
MET_IN_A_FLEET_IN_TIME = MET_IN_A_FLEET | {
    *(f"{state} follows open" for state in ("closed", "open", "half_open", "shadow")),
    *(f"{state} follows disabled" for state in ("closed", "open", "half_open", "shadow")),
    *("open stays closed", "forced_open stays open", "forced_open follows closed"),
    "disabled stays half_open",
}
MET_IN_TIME = MET | {"late failure", "late ignored", "lapsed success", "lapsed failure", "lapsed ignored"}


def compare(make, met=MET, shared=False, kind=Comparison, **given):
    """Play with what `make` makes, and with the reference."""
    if shared:
        met = met | (MET_IN_A_FLEET if met is MET else MET_IN_A_FLEET_IN_TIME)
        if make is not MachineDriver:
            make = functools.partial(make, shared=True)
    comparison.met.clear()
    given = settings(stateful_step_count=50, **given)
    run_state_machine_as_test(lambda: kind(make, shared), settings=given)
    assert comparison.met >= met


ALONE_OR_SHARED = pytest.mark.parametrize("shared", [False, True], ids=["alone", "shared"])


@pytest.mark.core
@ALONE_OR_SHARED
@pytest.mark.parametrize("make", [MachineDriver, BreakerDriver])
def test_it_does_what_the_reference_does(make, shared):
    compare(make, shared=shared, max_examples=100 if shared else 60)


@ALONE_OR_SHARED
def test_the_breaker_does_what_the_reference_does_in_an_event_loop(anyio_backend, shared):
    with start_blocking_portal(anyio_backend) as portal:
        compare(functools.partial(AsyncDriver, portal=portal), shared=shared, max_examples=60)


RULED = {"closed tripped", "open timed_out", "slow", "waived"}


@pytest.mark.parametrize("make", [MachineDriver, BreakerDriver])
def test_by_a_rule_it_does_what_the_reference_does(make):
    compare(make, RULED, kind=RuledComparison, max_examples=120)


def test_by_a_rule_it_does_so_in_an_event_loop(anyio_backend):
    with start_blocking_portal(anyio_backend) as portal:
        compare(functools.partial(AsyncDriver, portal=portal), RULED, kind=RuledComparison)


SHEDDING = {"shed", "waived", "ramps", "throttles", "half_open recovered"}


@pytest.mark.core
@ALONE_OR_SHARED
@pytest.mark.parametrize("make", [MachineDriver, BreakerDriver])
def test_where_it_sheds_calls_it_does_what_the_reference_does(make, shared):
    if shared and make is not MachineDriver:
        make = functools.partial(make, shared=True)
    compare_shedding(make, shared, 40)


def test_where_it_sheds_calls_it_does_so_in_an_event_loop(anyio_backend):
    with start_blocking_portal(anyio_backend) as portal:
        compare_shedding(functools.partial(AsyncDriver, portal=portal), False, 25)


def compare_shedding(make, shared, max_examples):
    comparison.met.clear()
    given = settings(stateful_step_count=20, max_examples=max_examples)
    run_state_machine_as_test(lambda: SheddingComparison(make, shared), settings=given)
    assert comparison.met >= SHEDDING


@ALONE_OR_SHARED
def test_with_and_without_the_fast_path_it_is_the_same(shared):
    """Of a closed circuit without a failure streak, the machine needn't hear of a success."""
    AlwaysTold.heard = 0
    compare(Twins, shared=shared)
    assert AlwaysTold.heard > 50


@pytest.mark.slow
@ALONE_OR_SHARED
@pytest.mark.parametrize("make", [MachineDriver, Twins])
def test_it_does_what_the_reference_does_in_the_long_run(make, shared):
    compare(make, MET_IN_TIME, shared, max_examples=1000)


@pytest.mark.slow
@pytest.mark.parametrize("make", [MachineDriver, BreakerDriver])
def test_by_a_rule_it_does_so_in_the_long_run(make):
    compare(make, RULED, kind=RuledComparison, max_examples=1000)


@pytest.mark.slow
@ALONE_OR_SHARED
@pytest.mark.parametrize("make", [MachineDriver, Twins])
def test_where_it_sheds_calls_it_does_so_in_the_long_run(make, shared):
    if shared and make is not MachineDriver:
        make = functools.partial(make, shared=True)
    compare_shedding(make, shared, 1000)


@pytest.mark.slow
@ALONE_OR_SHARED
def test_the_breaker_does_so_in_an_event_loop_in_the_long_run(anyio_backend, shared):
    with start_blocking_portal(anyio_backend) as portal:
        make = functools.partial(AsyncDriver, portal=portal)
        compare(make, MET_IN_TIME, shared, max_examples=1000)
