"""Servers for the tests of the shared verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from .fleet_scenes import Join
from .model_fleet import Fleet
from .servers import GIVEN, HERE, Server, lacks, needed

MakeFleet = Callable[..., Fleet]


class Given:
    """A server that is there already."""

    kind = "given"

    def __init__(self, url: str) -> None:
        self._url = url

    def url(self, db: int | None = None) -> str:
        return self._url if db is None else urlsplit(self._url)._replace(path=f"/{db}").geturl()


@pytest.fixture(scope="session", params=HERE)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server | Given]:
    """A server of each kind that this machine has, or the one in CIRCUITRY_TEST_REDIS_URL."""
    if GIVEN:
        yield Given(GIVEN)
        return
    server = Server(request.param, tmp_path_factory.mktemp(request.param))
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
def our_server(server: Server | Given) -> Server:
    """A server that may be set up otherwise, for the time of a test that sets it right again."""
    if isinstance(server, Given):
        pytest.skip("the server in CIRCUITRY_TEST_REDIS_URL isn't ours to change")
    return server


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start one more server, which is this test's own: `start_server(kind, *options)`."""
    started: list[Server] = []

    def start(kind: str, *options: str) -> Server:
        directory = tmp_path / f"server-{len(started)}"
        directory.mkdir()
        started.append(Server(kind, directory, *options))
        return started[-1].start()

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def connect(server: Server | Given) -> Iterator[Callable[..., Any]]:
    """Make a redis-py client of the server: `connect()`, `connect(1)`, `connect(username=...)`."""
    redis = needed("redis")
    clients: list[Any] = []

    def connecting(db: int | None = None, **options: Any) -> Any:
        clients.append(redis.Redis.from_url(server.url(db), **options))
        return clients[-1]

    yield connecting
    for client in clients:
        client.close()


@pytest.fixture
def make_fleet(connect: Callable[..., Any]) -> Iterator[MakeFleet]:
    """Make a `Fleet`: `make_fleet(quorum=2)`, `make_fleet(db=1)`."""
    fleets: list[Fleet] = []

    def make(*, db: int | None = None, **settings: Any) -> Fleet:
        fleets.append(Fleet(connect(db), **settings))
        return fleets[-1]

    yield make
    for fleet in fleets:
        fleet.clean()


@pytest.fixture
def fleet(make_fleet: MakeFleet) -> Fleet:
    """A circuit that nobody has used yet."""
    return make_fleet()


@pytest.fixture(scope="session")
def one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server | Given]:
    """A server for what is the same on all of them."""
    if GIVEN:
        yield Given(GIVEN)
        return
    if not HERE:
        lacks("there is no Redis server of any kind")
    server = Server(HERE[-1], tmp_path_factory.mktemp("one"))
    yield server.start()
    server.stop()


@pytest.fixture
def join(one_server: Server | Given) -> Iterator[Join]:
    """Become a member of this test's own fleet: `join()` gives a circuit on a store of its own."""
    needed("redis")
    joining = Join(one_server.url())
    yield joining
    joining.close()


@pytest.fixture
def join_frail(start_server: Callable[..., Server]) -> Iterator[Join]:
    """The same, on a server (`join_frail.server`) that may be frozen, killed and restarted."""
    needed("redis")
    if GIVEN:
        pytest.skip("the server in CIRCUITRY_TEST_REDIS_URL isn't ours to harm")
    server = start_server(HERE[-1])
    joining = Join(server.url(), server)
    yield joining
    joining.close()
