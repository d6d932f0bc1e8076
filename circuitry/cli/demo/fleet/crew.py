"""The fleet's workers as the demo sees them: how they are started and killed, and what they have told."""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass, field
from subprocess import PIPE
from typing import IO, TYPE_CHECKING, Any

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream

from circuitry import CircuitState
from circuitry.cli.demo.platforms import PLATFORMS

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import Process

    from circuitry.cli.demo.fleet.worker import Sample, Settings
    from circuitry.cli.demo.traffic import Visitors

PATIENCE = 10.0  # seconds for a worker to start
LAST_WORDS = 3.0  # seconds for a worker to end
COMMAND = (sys.executable, "-m", "circuitry.cli.demo.fleet.worker")
_LONGEST_LINE = 1_000_000
_GONE = (anyio.EndOfStream, anyio.IncompleteRead, anyio.ClosedResourceError, anyio.BrokenResourceError)


class WorkerError(Exception):
    """A worker didn't start."""


@dataclass(slots=True)
class Turn:
    """A circuit's transition in one worker."""

    moment: float
    platform_id: str
    old_state: str
    new_state: str
    source: str
    cause: str | None


@dataclass(slots=True)
class Member:
    """One worker, and what it has told so far. Moments are of the monotonic clock, which all here share."""

    name: str
    process: Process
    errors: IO[bytes]
    visitors: Visitors | None = None
    port: int = 0
    loaded: anyio.Event = field(default_factory=anyio.Event)  # it waits to be needed, or is gone
    settled: anyio.Event = field(default_factory=anyio.Event)  # it serves, or is gone
    is_alive: bool = True
    link: str = "idle"
    states: dict[str, tuple[str, str]] = field(
        default_factory=lambda: {platform.id: (str(CircuitState.CLOSED), "local") for platform in PLATFORMS}
    )
    turns: list[Turn] = field(default_factory=list[Turn])
    calls: list[Sample] = field(default_factory=list["Sample"])
    knew: str | None = None  # of the sick platform, when it started
    started_at: float = 0.0
    ended_at: float | None = None

    async def hear(self, told: Callable[[Member, str, Any], None]) -> None:
        """Take in what it says, until it is gone; `told` is called with each thing."""
        assert self.process.stdout is not None
        lines = BufferedByteReceiveStream(self.process.stdout)
        try:
            while True:
                line = json.loads(await lines.receive_until(b"\n", _LONGEST_LINE))
                for what, value in line.items():
                    self._take_in(what, value)
                    told(self, what, value)
        except _GONE:
            self.is_alive = False
            self.loaded.set()
            self.settled.set()

    def _take_in(self, what: str, value: Any) -> None:
        if what == "loaded":
            self.loaded.set()
        elif what == "ready":
            self.port = value
            self.settled.set()
        elif what == "status":
            self.states = {name: (state, verdict) for name, (state, verdict) in value["states"].items()}
            self.link = value["link"]
            self.calls += [(began, added, may_probe) for began, added, may_probe in value["calls"]]
        elif what == "turned":
            platform_id, old, new, source, cause, moment = value
            self.turns.append(Turn(moment, platform_id, old, new, source, cause))
            self.states[platform_id] = (new, "fleet" if source == "fleet" else "local")

    async def begin(self, settings: Settings) -> None:
        """Let it begin: until now it has only loaded its code."""
        assert self.process.stdin is not None
        try:
            await self.process.stdin.send(settings.dump().encode() + b"\n")
        except _GONE:
            pass  # `until_ready` tells of it

    def kill(self) -> None:
        """End it as a crash would: it can say and give back nothing."""
        self.is_alive = False
        self.process.kill()

    async def end(self) -> None:
        """Let it end by itself if it does so soon; it is gone in any case then."""
        if self.process.returncode is None:
            with anyio.move_on_after(LAST_WORDS):
                assert self.process.stdin is not None
                await self.process.stdin.aclose()
                await self.process.wait()
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self.process.aclose()
        self.errors.close()

    def last_error(self) -> str:
        """What it wrote to stderr last."""
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


async def start_member(name: str) -> Member:
    """Start a worker, which waits to be needed.

    It is in a session of its own: Ctrl-C reaches the demo alone, which then sees to its children.
    """
    errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed by `end`)
    process = await anyio.open_process(
        COMMAND, stdin=PIPE, stdout=PIPE, stderr=errors, start_new_session=True
    )
    return Member(name, process, errors)


async def until_ready(members: list[Member]) -> None:
    """Wait until all serve.

    Raises:
        WorkerError: one doesn't; the text is the last that it wrote.
    """
    with anyio.move_on_after(PATIENCE):
        for member in members:
            await member.settled.wait()
    for member in members:
        if not member.port:
            raise WorkerError(f"{member.name} doesn't start: {member.last_error()}")
