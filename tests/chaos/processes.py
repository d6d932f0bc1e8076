"""The processes of a run: started, killed, replaced, and what they complain of."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from ..fleet.servers import Server
from .board import Board
from .schedule import CHECK_PERIOD, SETTINGS

ROOT = Path(__file__).parents[2]


class Fleet:
    """The processes of a run, and what each of them records."""

    def __init__(self, server: Server, directory: Path, seed: int, fault: str | None) -> None:
        self._server, self._directory, self._seed, self._fault = server, directory, seed, fault
        self._started = 0
        self.board = Board(directory / "board", list(SETTINGS))
        self.processes: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, place: int) -> None:
        self._started += 1
        record = self._directory / f"process-{self._started}-at-{place}.records"
        orders = {
            "url": self._server.url(),
            "board": str(self.board.path),
            "record": str(record),
            "place": place,
            "seed": self._seed * 1000 + self._started,
            "settings": SETTINGS,
            "check_period": CHECK_PERIOD,
        }
        faults = [self._fault] if self._fault else []
        environment = dict(os.environ)
        if faults:  # no coverage of a text that isn't the file's
            environment = {key: value for key, value in environment.items() if "COVERAGE" not in key}
        with record.with_suffix(".complaints").open("wb") as complaints:
            self.processes[place] = subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "tests.chaos.process", json.dumps(orders), *faults],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stderr=complaints,
            )

    def wait_until_it_works(self) -> None:
        deadline = time.monotonic() + 30
        while len(list(self._speaking())) < len(self.processes):
            assert time.monotonic() < deadline, self.complaints()
            time.sleep(0.02)

    def _speaking(self) -> Iterator[Path]:
        for record in self._directory.glob("process-*.records"):
            if b'"Kept"' in record.read_bytes():
                yield record

    def place_of(self, member: str) -> int | None:
        """Where the process runs whose name in the fleet this is."""
        for record in self._directory.glob("process-*.records"):
            with record.open("rb") as lines:
                if member.encode() in lines.readline():
                    return int(record.stem.rpartition("-")[2])
        return None

    def kill(self, place: int) -> None:
        self.processes[place].kill()
        self.processes[place].wait()

    def end(self) -> None:
        for process in self.processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def complaints(self) -> str:
        """What processes had to say; nothing, if all went well."""
        texts = [path.read_text() for path in self._directory.glob("*.complaints")]
        codes = [process.returncode for process in self.processes.values() if process.returncode]
        return "\n".join(filter(None, [*texts, f"ended by {codes}" if codes else ""]))
