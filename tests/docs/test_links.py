"""Links between pages lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

LINK = re.compile(r"\]\(([^)\s]+)\)|<img [^>]*src=\"([^\"]+)\"")


def targets(text: str) -> list[str]:
    found = [first or second for first, second in LINK.findall(text)]
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def test_links_within_the_project_lead_to_a_file_and_a_heading(page: Any, pages: Any, root: Path) -> None:
    by_path = {other.path: other for other in pages.values()}
    for target in targets(page.prose):
        name, _, anchor = target.partition("#")
        path = (page.path.parent / name).resolve() if name else page.path
        assert path.exists(), f"{page.name}: {target}"
        assert path.is_relative_to(root), f"{page.name}: {target}"
        assert not anchor or anchor in by_path[path].anchors, f"{page.name}: {target}"


def test_pages_of_the_site_link_only_to_the_site(page: Any, root: Path) -> None:
    """A link out of docs/ works in the repository and breaks in the built site."""
    if page.name == "README.md":
        return
    for target in targets(page.prose):
        path = (page.path.parent / target.partition("#")[0]).resolve()
        assert path.is_relative_to(root / "docs"), f"{page.name}: {target}"
