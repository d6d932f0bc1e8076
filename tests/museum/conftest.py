"""Servers for the exhibits of the shared verdict."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..fleet.servers import KINDS, Server, binary, lacks, needed
from ..fleet.servers import MissingError as Missing


def _any_server(directory: Path) -> Server:
    needed("redis")
    for kind in KINDS:
        try:
            binary(kind)
        except Missing:
            continue
        return Server(kind, directory).start()
    lacks("there is no Redis server of any kind")


@pytest.fixture(scope="session")
def _lasting_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = _any_server(tmp_path_factory.mktemp("museum"))
    yield server
    server.stop()


@pytest.fixture
def redis_server(_lasting_server: Server) -> Server:
    """A server without any key."""
    client = needed("redis").Redis.from_url(_lasting_server.url())
    client.flushall()
    client.close()
    return _lasting_server


@pytest.fixture
def frail_server(tmp_path: Path) -> Iterator[Server]:
    """A server that may be frozen, killed and restarted."""
    server = _any_server(tmp_path)
    yield server
    server.stop()
