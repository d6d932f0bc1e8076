"""`import circuitry` is light: nothing is loaded that isn't needed, nothing runs, nothing is set up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.core

#: What no plain user has asked for: extras, frameworks, and our own rooms that need them.
UNASKED = (
    "anyio",
    "asyncio",
    "circuitry.cli",
    "circuitry.integrations",
    "circuitry.redis",
    "circuitry.telemetry",
    "circuitry.testing",
    "httpx",
    "opentelemetry",
    "prometheus_client",
    "pytest",
    "redis",
    "rich",
    "sqlite3",
    "ssl",
    "trio",
)

PROBE = """
import json, logging, os, sys, threading
import wrapt  # which loads asyncio, whoever asks for it

started = []
start = threading.Thread.start
threading.Thread.start = lambda self: (started.append(self.name), start(self))
present = set(sys.modules)
told = []
on = [True]
WATCHED = ("socket.", "subprocess.", "os.system", "os.fork", "os.putenv")
sys.addaudithook(lambda event, args: on[0] and event.startswith(WATCHED) and told.append(event))

{body}

on[0] = False
logger = logging.getLogger("circuitry")
print(json.dumps({{
    "loaded": sorted(set(sys.modules) - present),
    "started": started,
    "told": told,
    "root_handlers": len(logging.root.handlers),
    "handlers": [type(handler).__name__ for handler in logger.handlers],
    "level": logger.level,
    "propagate": logger.propagate,
}}))
"""

USE = """
import circuitry

@circuitry.circuit("netflix", failure_threshold=1, fallback=lambda: "spare")
def fetch():
    raise OSError("down")

@circuitry.circuit
async def afetch():
    return 42

for _ in range(2):
    try:
        fetch()
    except OSError:
        pass
with circuitry.circuit("block"):
    pass
circuitry.registry.metrics()
"""


def probe(body: str, *options: str) -> dict[str, Any]:
    """What a fresh interpreter looks like after `body`."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    command = [sys.executable, "-W", "error", *options, "-c", PROBE.format(body=body)]
    environment = {**os.environ, "PYTHONPATH": path}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    found: dict[str, Any] = json.loads(run.stdout)
    return found


@pytest.fixture(scope="module")
def imported() -> dict[str, Any]:
    return probe("import circuitry")


@pytest.fixture(scope="module")
def used() -> dict[str, Any]:
    return probe(USE)


def test_import_loads_nothing_that_was_not_asked_for(imported: dict[str, Any]) -> None:
    assert [name for name in imported["loaded"] if name.startswith(UNASKED)] == []


def test_use_without_async_code_loads_nothing_either(used: dict[str, Any]) -> None:
    assert [name for name in used["loaded"] if name.startswith(UNASKED)] == []


@pytest.mark.parametrize("what", ["imported", "used"])
def test_no_thread_is_started_and_no_socket_or_process_made(
    what: str, request: pytest.FixtureRequest
) -> None:
    """Neither by the import nor by decorating and calling."""
    found = request.getfixturevalue(what)
    assert found["started"] == []
    assert found["told"] == []


def test_logging_is_left_as_it_was_but_for_a_null_handler(used: dict[str, Any]) -> None:
    assert used["handlers"] == ["NullHandler"]
    assert (used["root_handlers"], used["level"], used["propagate"]) == (0, 0, True)


def test_it_works_without_docstrings_and_asserts() -> None:
    assert probe(USE, "-OO")["started"] == []


def test_the_types_are_shipped() -> None:
    import circuitry

    assert (Path(circuitry.__file__).parent / "py.typed").exists()
