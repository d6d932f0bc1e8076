from __future__ import annotations

import time
from typing import Any

import pytest

from .fleets import Fleet, Member, close, shared
from .test_60_out_of_step_for_ever import HearsOnly


class HearsAllDatabases(HearsOnly):
    """Has one channel, and pub/sub knows nothing of databases."""


def exhibit(kind: Any, colour: Any, server: Any) -> None:
    """Production is in database 0, and what is tried out in database 1."""
    with Fleet(kind, colour, server, timeout_duration=60) as production:
        breakers = [kind(server.url(1), **production.given) for _ in range(2)]
        try:
            one, other = [Member(breaker, colour) for breaker in breakers]
            one.fail(3)
            production.until(lambda: other.rejects, "nobody has heard of it")
            time.sleep(0.02)
            for member in production.members:
                assert member.admits(), "an event of database 1 has opened a circuit of database 0"
        finally:
            for breaker in breakers:
                close(breaker)


def test_each_database_is_a_fleet_of_its_own(colour: Any, redis_server: Any) -> None:
    """Pub/sub ignores SELECT, so that staging opens production."""
    exhibit(shared, colour, redis_server)


def test_the_faulty_double_is_caught(colour: Any, redis_server: Any) -> None:
    with pytest.raises(AssertionError, match="opened a circuit of database 0"):
        exhibit(HearsAllDatabases, colour, redis_server)
