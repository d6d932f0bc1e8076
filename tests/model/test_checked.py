"""A circuit with a health check, against the reference: users' calls are no probes, the check's are.

When the check is asked is part of the script: no run of it begins by itself.
"""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from circuitry.checking import UNFINISHED, Run, tell
from circuitry.states import CircuitState, Outcome, Probe

from .comparison import TICK, Comparison, initial_states, met, numbers, outcomes, rules
from .drivers import START, BreakerDriver
from .reference import FAILURE, SUCCESS, Reference, Rules
from .test_model import ALONE_OR_SHARED, MET, compare


class CheckedDriver(BreakerDriver):
    """A breaker whose check is asked by hand, by the steps of a run."""

    def begin_check(self) -> Probe | None:
        check: Any = self.breaker.config.health_check
        verdict = Run(self.breaker, check)._ask()
        return verdict if isinstance(verdict, Probe) else None

    def end_check(self, probe: Probe, outcome: Outcome) -> None:
        said: dict[Outcome, BaseException | None] = {SUCCESS: None, FAILURE: OSError("down")}
        tell(self.breaker, probe, said.get(outcome, UNFINISHED))


class CheckedComparison(Comparison):
    """The same moves, and those of the check."""

    driver: CheckedDriver

    @initialize(
        rules=rules,
        interval=st.sampled_from([TICK, 1.0]),
        initial=initial_states,
        way=numbers,
        opens=st.booleans(),
    )
    def begin_anew(self, rules: Rules, interval: float, initial: CircuitState, way: int, opens: bool) -> None:
        rules = rules._replace(check_interval=interval)
        self.reference = Reference(rules, initial, START)
        self.driver = self.make(rules, initial)
        self.probes: list[tuple[int, Probe]] = []
        if opens:
            self.an_outage(way)

    @rule()
    def a_check_begins(self) -> None:
        probe, number = self.driver.begin_check(), self.reference.check()
        assert (probe is None) == (number is None)
        if probe is None or number is None:
            met.add("no probe to be had")
        else:
            met.add("a probe")
            self.probes.append((number, probe))

    @precondition(lambda self: self.probes)
    @rule(which=numbers, outcome=outcomes)
    def a_check_ends(self, which: int, outcome: Outcome) -> None:
        number, probe = self.probes.pop(which % len(self.probes))
        self.driver.end_check(probe, outcome)
        self.reference.end(number, outcome, "down")

    @precondition(lambda self: self.reference.story().here.judged is not CircuitState.CLOSED)
    @rule(outcome=st.sampled_from([SUCCESS, SUCCESS, FAILURE]))
    def checks_find_out(self, outcome: Outcome) -> None:
        if self.reference.story().here.judged is CircuitState.OPEN:
            self._advance(self._wait())
        for _ in range(self.reference.rules.success_threshold):
            self.a_check_begins()
            if self.probes:
                self.a_check_ends(-1, outcome)


def compare_checked(shared: bool, **given: Any) -> None:
    with mock.patch.object(Run, "start"):
        compare(CheckedDriver, MET, shared, kind=CheckedComparison, **given)
    assert met >= {"a probe", "no probe to be had"}


@ALONE_OR_SHARED
def test_with_a_health_check_it_does_what_the_reference_does(shared: bool) -> None:
    compare_checked(shared, max_examples=60)


@pytest.mark.slow
@ALONE_OR_SHARED
def test_with_a_health_check_it_does_so_in_the_long_run(shared: bool) -> None:
    compare_checked(shared, max_examples=1000)
