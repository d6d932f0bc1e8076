"""What docs/ quotes of the project's own files is what stands there."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def test_quoted_lines_stand_in_their_file_in_that_order(page: Any, root: Path) -> None:
    """A block titled with a path quotes that file; a line `...` stands for what is left out."""
    for block in page.blocks:
        if block.language != "py" or not block.title:
            continue
        lines = iter((root / block.title).read_text(encoding="utf-8").splitlines())
        for quoted in block.text.splitlines():
            if quoted.strip() not in ("", "..."):
                assert quoted in lines, f"{page.name}: {block.title} doesn't have, or not there: {quoted}"
