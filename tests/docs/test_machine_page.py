"""The diagram and the tables of docs/machine.md are those of the machine."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

from circuitry.machine import ADMINISTRATIVE, TRANSITIONS
from circuitry.states import CircuitState, Reason


@pytest.fixture
def diagram(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("diagram", root / "tools" / "diagram.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_diagram_and_the_tables_are_up_to_date(diagram: ModuleType) -> None:
    stale = [path.name for path in diagram.outdated()]
    assert not stale, "run `python tools/diagram.py`"


def test_a_changed_table_is_noticed(diagram: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        diagram.TRANSITIONS, (CircuitState.HALF_OPEN, Reason.PROBE_FAILED), CircuitState.CLOSED
    )
    assert [path.name for path in diagram.outdated()] == ["machine.svg", "machine.md"]


def test_a_step_without_words_is_an_error(diagram: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(diagram.WHEN, Reason.TRIPPED)
    with pytest.raises(SystemExit, match="tripped"):
        diagram.outdated()


def test_the_drawing_is_well_formed_and_names_every_step(root: Path) -> None:
    drawing = ElementTree.parse(root / "docs" / "machine.svg")
    texts = [node.text for node in drawing.iter("{http://www.w3.org/2000/svg}text")]
    for reason in {reason for _, reason in TRANSITIONS}:
        assert reason.value in texts
    for state in (*TRANSITIONS.values(), *ADMINISTRATIVE.values()):
        assert state.value in texts
