"""The reference is independent, and tells plain stories rightly."""

from __future__ import annotations

import ast
import enum
import importlib
import sys
from pathlib import Path

import pytest

from circuitry.states import CircuitState, Outcome, Reason

from . import reference
from .reference import Reference, Rejected, Rules

pytestmark = pytest.mark.core

RULES = Rules(
    failure_threshold=2,
    success_threshold=2,
    timeout_duration=10.0,
    half_open_max_calls=1,
    probe_timeout=4.0,
)
SUCCESS, FAILURE, IGNORED = Outcome.SUCCESS, Outcome.FAILURE, Outcome.IGNORED


def test_it_takes_nothing_from_circuitry_but_enums():
    tree = ast.parse(Path(reference.__file__).read_text(encoding="utf-8"))
    whole = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    parts = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    ours = [node for node in parts if node.module == "circuitry.states"]
    others = [str(node.module) for node in parts if node not in ours]
    assert {*whole, *others} <= sys.stdlib_module_names
    assert not any(node.level for node in parts)
    states = importlib.import_module("circuitry.states")
    names = [alias.name for node in ours for alias in node.names]
    assert names
    assert all(issubclass(getattr(states, name), enum.Enum) for name in names)


def failing(circuit, times):
    for _ in range(times):
        call, rejected = circuit.call()
        assert rejected is None
        circuit.end(call, FAILURE, "refused")


def opened(rules=RULES):
    circuit = Reference(rules)
    failing(circuit, rules.failure_threshold)
    return circuit


def test_a_success_between_two_failures_keeps_it_closed():
    circuit = Reference(RULES)
    for outcome in (FAILURE, SUCCESS, FAILURE):
        circuit.end(circuit.call()[0], outcome)
    assert circuit.facts()["state"] == "closed"
    assert circuit.facts()["failure_count"] == 1


def test_an_ignored_call_between_two_failures_does_not():
    circuit = Reference(RULES)
    for outcome in (FAILURE, IGNORED, FAILURE):
        circuit.end(circuit.call()[0], outcome)
    assert circuit.facts()["state"] == "open"


def test_an_open_circuit_rejects_until_its_deadline_and_then_lets_one_probe_through():
    circuit = opened()
    circuit.advance(9.0)
    assert circuit.call()[1] == Rejected(CircuitState.OPEN, 1.0, "refused")
    circuit.advance(1.0)
    assert circuit.facts()["state"] == "open"
    assert circuit.call()[1] is None
    assert circuit.call()[1] == Rejected(CircuitState.HALF_OPEN, 4.0, "refused")


def test_two_probes_one_after_the_other_close_it():
    circuit = opened()
    circuit.advance(10.0)
    circuit.end(circuit.call()[0], SUCCESS)
    assert circuit.facts()["success_count"] == 1
    circuit.end(circuit.call()[0], SUCCESS)
    assert circuit.facts()["state"] == "closed"
    assert circuit.facts()["failure_rate"] == 0.0
    assert [event[:3] for event in circuit.facts()["events"]] == [
        ("closed", "open", "tripped"),
        ("open", "half_open", "timed_out"),
        ("half_open", "closed", "recovered"),
    ]


def test_a_lost_probe_gives_up_its_slot_and_still_counts():
    circuit = opened()
    circuit.advance(10.0)
    lost, _ = circuit.call()
    circuit.advance(4.0)
    second, rejected = circuit.call()
    assert rejected is None
    circuit.end(lost, SUCCESS)
    assert circuit.facts()["half_open_calls"] == 1  # the second keeps its own
    circuit.end(second, SUCCESS)
    assert circuit.facts()["state"] == "closed"


def test_news_from_another_generation_is_no_news():
    circuit = Reference(RULES)
    late, _ = circuit.call()
    failing(circuit, 2)
    circuit.advance(10.0)
    circuit.call()
    before = circuit.facts()
    circuit.end(late, SUCCESS)
    changed = {name for name, value in circuit.facts().items() if value != before[name]}
    assert changed == {"calls", "successes", "failure_rate"}


def test_a_shadow_rejects_nothing_and_says_what_it_would_have_done():
    circuit = Reference(RULES, CircuitState.SHADOW)
    failing(circuit, 2)
    assert circuit.call()[1] is None
    facts = circuit.facts()
    assert (facts["state"], facts["shadow_state"], facts["shadow_rejected"]) == ("shadow", "open", 1)
    assert facts["events"] == [("closed", "open", "tripped", "shadow", "refused")]
    assert facts["opened"] == facts["rejected"] == 0


@pytest.mark.parametrize(
    ("reason", "rejected"),
    [
        (Reason.FORCED_OPEN, Rejected(CircuitState.FORCED_OPEN, 10.0, None)),
        (Reason.DISABLED, None),
        (Reason.RESET, None),
    ],
)
def test_an_operator_decides(reason, rejected):
    circuit = opened()
    circuit.administer(reason)
    assert circuit.call()[1] == rejected
