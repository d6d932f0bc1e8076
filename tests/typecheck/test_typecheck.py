"""The decorated API has the types it should: the files beside this one are checked, never run.

There, `assert_type` says what has to come out, and `type: ignore[...]` (for mypy) and
`pyright: ignore[...]` what has to be complained of: both tools refuse such a comment where nothing is
wrong.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import circuitry

HERE = Path(__file__).parent
FILES = sorted(path for path in HERE.glob("*.py") if not path.name.startswith("test_"))
ROOT = Path(circuitry.__file__).parents[1]

#: Three mistakes, to see that the tools look at all.
WRONG = """
from typing import assert_type
from circuitry import circuit

@circuit
def guarded(title: str) -> int:
    return len(title)

assert_type(guarded("x"), str)
guarded("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
circuit("x", failure_treshold=3)
"""
MISTAKES = [9, 10, 11]

PYRIGHT = {
    "typeCheckingMode": "strict",
    "enableTypeIgnoreComments": False,
    "reportPrivateUsage": False,
    "reportUnnecessaryTypeIgnoreComment": True,
    "extraPaths": [str(ROOT)],
}

Checker = Callable[[Path], str]


def run(tool: str, folder: Path, *options: str) -> str:
    # An installed package is found without help, and mypy refuses to be told of site-packages.
    told = {} if ROOT.name == "site-packages" else {"MYPYPATH": str(ROOT)}
    command = [sys.executable, "-m", tool, *options]
    done = subprocess.run(
        command, cwd=folder, env=os.environ | told, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def mypy(folder: Path) -> str:
    return run("mypy", folder, "--strict", "--config-file=", "--hide-error-context", "--cache-dir=cache", ".")


def pyright(folder: Path) -> str:
    (folder / "pyrightconfig.json").write_text(json.dumps(PYRIGHT), encoding="utf-8")
    return run("pyright", folder, "--pythonpath", sys.executable)


def installed(check: Checker) -> object:
    name = check.__name__
    missing = importlib.util.find_spec(name) is None
    return pytest.param(check, id=name, marks=pytest.mark.skipif(missing, reason=f"{name} is not installed"))


@pytest.mark.parametrize("check", [installed(mypy), installed(pyright)])
def test_the_types_are_what_they_should_be(check: Checker, tmp_path: Path) -> None:
    for path in FILES:
        shutil.copy(path, tmp_path)
    (tmp_path / "wrong.py").write_text(WRONG, encoding="utf-8")
    output = check(tmp_path)
    found = re.findall(r"(\w+\.py):(\d+)(?::\d+)?(?: -|:) error", output)
    assert sorted({(name, int(line)) for name, line in found}) == [("wrong.py", line) for line in MISTAKES], (
        output
    )


def test_there_is_something_to_check() -> None:
    assert [path.name for path in FILES] == ["callables.py", "faces.py", "settings.py"]
