"""README.md and CHANGELOG.md are what a newcomer needs, and no more."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import circuitry


def test_readme_has_at_most_120_lines(root: Path) -> None:
    assert len((root / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


def test_readme_shows_the_decorator_the_block_and_the_registry(pages: Any) -> None:
    code = "".join(block.text for block in pages["README.md"].blocks if block.runs)
    for face in ("@circuit(", "with circuit(", "registry["):
        assert face in code


def test_readme_names_the_two_commands_and_the_package(pages: Any) -> None:
    text = pages["README.md"].text
    for needed in ("make demo", "make test", "circuitry-breaker"):
        assert needed in text


def test_the_changelog_has_an_entry_for_this_version(root: Path) -> None:
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## \[([^]]+)\]", text, re.MULTILINE)
    assert circuitry.__version__ in versions


def test_the_sections_of_the_changelog_are_those_of_keep_a_changelog(root: Path) -> None:
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    allowed = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
    for entry in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        sections = re.findall(r"^### (.+)$", entry, re.MULTILINE)
        assert sections == sorted(sections, key=allowed.index)
