"""docs/policies.md has the figures that `python -m benchmarks.policies --markdown --svg docs` makes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

pytest.importorskip("benchmarks.policies", reason="benchmarks/ isn't here: `python -m pytest` finds it")

from benchmarks.policies.__main__ import DRAWN
from benchmarks.policies.bars import BARS
from benchmarks.policies.contenders import NOTHING, POLICIES
from benchmarks.policies.report import Run, assumptions, told
from benchmarks.policies.scenarios import SCENARIOS
from benchmarks.policies.world import NOISE


@pytest.fixture
def text(pages: dict[str, Any]) -> str:
    return pages["docs/policies.md"].text


@pytest.fixture
def rows(text: str) -> list[list[str]]:
    """All rows of all tables."""
    found = re.findall(r"^\| (.*) \|$", text, re.MULTILINE)
    return [row.split(" | ") for row in found]


def test_the_assumptions_are_those_of_the_program(text: str) -> None:
    run = Run("", (1, 2, 3), NOISE, SCENARIOS, POLICIES)
    for line in assumptions(run)[1:]:
        assert f"- {line}" in text


def test_the_settings_are_those_of_the_program(rows: list[list[str]]) -> None:
    for policy in POLICIES:
        assert [policy.name, told(policy, "`")] in rows


def test_every_scenario_has_a_row_for_every_policy(text: str) -> None:
    for scenario in SCENARIOS:
        table = text.partition(f"### {scenario.name}: {scenario.title}\n")[2].partition("\n### ")[0]
        assert re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE)[2:] == [policy.name for policy in POLICIES]


def test_every_bar_is_judged_for_every_policy(rows: list[list[str]]) -> None:
    bars = [bar.name for bar in BARS]
    start = rows.index(["policy", *bars]) + 2
    for policy, row in zip(POLICIES, rows[start:], strict=False):
        assert row[0] == policy.name
        for bar, cell in zip(BARS, row[1:], strict=True):
            assert re.match(r"(met|MISSED): " if bar.is_asked(policy) else r"\((met|missed): ", cell), cell


def test_what_is_missed_has_its_reason(text: str, rows: list[list[str]]) -> None:
    missed = {row[0] for row in rows for cell in row if cell.startswith("MISSED")}
    assert missed
    for name in missed:
        assert f"- {name}, " in text
    assert "no reason is written down" not in text


@pytest.mark.parametrize("name", ["shards", *DRAWN])
def test_each_plot_is_shown_and_well_formed(name: str, text: str, root: Path) -> None:
    assert f"](policies-{name}.svg)" in text
    drawing = ElementTree.parse(root / "docs" / f"policies-{name}.svg")
    assert any(node.text == NOTHING.name for node in drawing.iter("{http://www.w3.org/2000/svg}text"))
