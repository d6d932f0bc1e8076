"""The collection is complete: a number has its exhibit, or a reason why it is shown elsewhere."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

pytestmark = pytest.mark.core

HERE = Path(__file__).parent
NUMBERS = range(1, 76)
DEFERRED: dict[int, str] = {}
NEED_A_SERVER = [str(number) for number in range(50, 69)]
EXHIBITS = {path.name: ast.parse(path.read_text()) for path in sorted(HERE.glob("test_[0-9]*.py"))}


def test_each_number_has_one_exhibit_or_a_reason() -> None:
    shown = [int(name.split("_")[1]) for name in EXHIBITS]
    assert sorted([*shown, *DEFERRED]) == list(NUMBERS)


@pytest.mark.parametrize("name", list(EXHIBITS))
def test_each_exhibit_is_named_says_who_had_it_and_catches_its_double(name: str) -> None:
    functions = [node for node in EXHIBITS[name].body if isinstance(node, ast.FunctionDef)]
    tests = [node for node in functions if node.name.startswith("test_")]
    about_doubles = [test for test in tests if "double" in test.name]
    facts = [test for test in tests if test not in about_doubles]
    assert facts, "no test of circuitry"
    assert all(ast.get_docstring(test) for test in facts), "a docstring says who had it"
    assert "test_the_faulty_double_is_caught" in [test.name for test in about_doubles]
    assert any(node.name.startswith("exhibit") for node in functions)


def test_each_exhibit_belongs_to_the_core_unless_it_needs_a_server() -> None:
    for name, tree in EXHIBITS.items():
        if name.split("_")[1] in NEED_A_SERVER:
            continue
        marks = [node for node in tree.body if isinstance(node, ast.Assign) and is_pytestmark(node)]
        assert marks, name
        assert "pytest.mark.core" in ast.unparse(marks[0].value), name


def is_pytestmark(node: ast.Assign) -> bool:
    return isinstance(node.targets[0], ast.Name) and node.targets[0].id == "pytestmark"
