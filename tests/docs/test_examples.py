"""The examples of README.md and docs/ are run, each page from top to bottom."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import tomllib
import types
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from circuitry.testing import fresh_registry

pytestmark = pytest.mark.core


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and an environment that says nothing of circuits."""
    for name in [name for name in os.environ if name.startswith("CIRCUITRY_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_python_blocks_of_a_page_run_and_print_what_it_says(
    page: Any, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, redis_url: str | None
) -> None:
    lay_out_files(page, elsewhere)
    module = types.ModuleType("__main__")  # so that names read as in the reader's own script
    monkeypatch.setitem(sys.modules, "__main__", module)
    printed: str | None = ""  # None: the block before was left out
    with fresh_registry():
        for block in page.blocks:
            where = f"{page.name}:{block.line}"
            if block.printed:
                assert printed is None or printed.splitlines() == block.text.splitlines(), where
                printed = ""
            elif block.runs:
                assert not printed, f"{where}: the block before prints what the page doesn't show"
                printed = run(page, block, module, redis_url)
    assert not printed, "the last block prints what the page doesn't show"
    if redis_url is None and any(block.needs_server for block in page.blocks):
        pytest.skip("there is no Redis server for some of the examples")


def test_the_test_files_of_a_page_pass(page: Any, elsewhere: Path, root: Path) -> None:
    tests = [name for name in lay_out_files(page, elsewhere) if name.startswith("test_")]
    if not tests:
        return
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", *plugin(root)]
    done = subprocess.run([*command, *tests], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def plugin(root: Path) -> list[str]:
    """What loads the pytest plugin where circuitry isn't installed, but only on the path."""
    if entry_points(group="pytest11", name="circuitry"):
        return []
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return ["-p", project["entry-points"]["pytest11"]["circuitry"]]


def lay_out_files(page: Any, folder: Path) -> list[str]:
    """Write the blocks that are files; blocks of one title make one file."""
    files: dict[str, str] = {}
    for block in page.blocks:
        if block.title and block.title != "prints" and block.language not in ("py", "text", "console"):
            files[block.title] = files.get(block.title, "") + block.text
    for name, text in files.items():
        folder.joinpath(name).write_text(text, encoding="utf-8")
    return list(files)


def run(page: Any, block: Any, module: types.ModuleType, redis_url: str | None) -> str | None:
    """Run one block in the page's namespace; give what it prints, or None if it lacks a server."""
    text = block.text
    if block.needs_server:
        if redis_url is None:
            return None
        text = text.replace("redis://localhost:6379", redis_url)
    code = compile("\n" * block.line + text, str(page.path), "exec")
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(code, module.__dict__)
    return out.getvalue()
