"""A fleet in which each failure counts does what a circuit on its own does, whatever happens to it."""

from __future__ import annotations

import functools

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from circuitry.machine import TRANSITIONS

from ..model import comparison
from .model_driver import FleetDriver
from .servers import HERE

#: What the random moves have to have met, or they would prove little.
MEETS = {f"{state} {reason}" for state, reason in TRANSITIONS} | {
    "waived",
    "late success",
    "late failure",
    "late ignored",
    "lapsed failure",
}


def compare(make_fleet, examples):
    make = functools.partial(FleetDriver, make_fleet=make_fleet)
    given = settings(max_examples=examples, stateful_step_count=40)
    comparison.met.clear()
    run_state_machine_as_test(lambda: comparison.Comparison(make), settings=given)


def test_the_script_does_what_the_reference_does(make_fleet, server):
    """At some length on one kind of server, and on the others as far as a difference would show."""
    compare(make_fleet, 30 if server.kind == HERE[-1] else 6)


@pytest.mark.slow
def test_the_script_does_what_the_reference_does_at_length(make_fleet):
    compare(make_fleet, max(300, settings().max_examples))
    assert comparison.met >= MEETS
