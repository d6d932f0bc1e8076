"""docs/architecture.md shows the house as it stands."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any


def floors(root: Path) -> list[tuple[str, set[str]]]:
    """The floors that tests/test_architecture.py holds the modules to: number and rooms."""
    tree = ast.parse((root / "tests" / "test_architecture.py").read_text(encoding="utf-8"))
    [value] = [
        node.value
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "FLOORS"
    ]
    return [(str(floor), set(rooms)) for floor, rooms in enumerate(ast.literal_eval(value))]


def test_the_table_of_floors_is_the_one_that_is_tested(pages: Any, root: Path) -> None:
    shown: dict[str, set[str]] = {}
    for floor, cell in re.findall(r"^\| (\d+) \| (.+?) \|", pages["docs/architecture.md"].text, re.MULTILINE):
        shown.setdefault(floor, set()).update(re.findall(r"`(\w+)`", cell))
    assert list(shown.items()) == floors(root)
