"""The site that MkDocs makes of docs/."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a warning stops the build."""
    pytest.importorskip("mkdocs", reason="`make docs` installs MkDocs")
    pytest.importorskip("material", reason="`make docs` installs its theme")
    root = Path(__file__).parents[2]
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=root,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_site_builds_without_a_warning(site: Path) -> None:
    assert (site / "index.html").exists()


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    """It can be read without a network, and tells nobody who reads it."""
    loads = re.compile(
        r"<(?:script|img|iframe)[^>]*\ssrc=[\"']?(?:https?:)?//|<link[^>]*rel=[\"']?stylesheet[^>]*//"
    )
    for path in site.rglob("*.html"):
        assert not loads.search(path.read_text(encoding="utf-8")), path.name


def test_every_page_is_in_the_navigation(site: Path) -> None:
    root = Path(__file__).parents[2]
    navigation = (root / "mkdocs.yml").read_text(encoding="utf-8")
    for page in (root / "docs").rglob("*.md"):
        assert f" {page.relative_to(root / 'docs').as_posix()}\n" in navigation + "\n"
