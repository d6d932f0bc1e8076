"""Servers, raw members of a fleet and stores, for the tests of a fleet under chaos."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from circuitry.redis import RedisStore

from ..fleet.conftest import connect, make_fleet, our_server, server, start_server
from ..fleet.model_fleet import Fleet

__all__ = ["connect", "make_fleet", "our_server", "server", "start_server"]


@pytest.fixture
def open_store(server) -> Iterator[Callable[..., RedisStore]]:
    """A store of the same fleet as a raw member: `open_store(fleet, check_period=...)`."""
    stores: list[RedisStore] = []

    def opening(fleet: Fleet, **settings: Any) -> RedisStore:
        stores.append(RedisStore(server.url(fleet.db), prefix=fleet.naming.prefix, **settings))
        return stores[-1]

    yield opening
    for store in stores:
        store.close()
