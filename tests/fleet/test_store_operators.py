"""Operators name the server: in the environment, in the settings file, before what the code says."""

from __future__ import annotations

import sys

import pytest

from circuitry import ConfigurationError, circuit, circuit_of, registry
from circuitry.redis import RedisStore

from .servers import free_port, needed, on_one_server
from .store_tools import eventually

redis = needed("redis")

pytestmark = pytest.mark.usefixtures("fresh")


@pytest.fixture
def urls():
    """Three addresses at which there is nothing, as each says."""
    return [f"redis://127.0.0.1:{free_port()}/{db}" for db in range(3)]


@pytest.fixture
def settings(tmp_path):
    """Write the settings file: `settings(redis_url=...)`."""

    def write(**values):
        path = tmp_path / "circuitry.toml"
        path.write_text("".join(f"{key} = {value!r}\n" for key, value in values.items()))
        return path

    return write


def fetch():
    return 1


def store_of(**given):
    """The store of a circuit that is decorated now."""
    return circuit_of(circuit("netflix", **given)(fetch)).store


def test_the_environment_goes_before_the_file_and_the_file_before_the_code(urls, settings, monkeypatch):
    """And without either it is what the code says."""
    ours = RedisStore(urls[0])
    assert store_of(store=ours) is ours
    registry.load(settings(redis_url=urls[1]))
    of_file = store_of()
    assert of_file._client == urls[1]
    monkeypatch.setenv("CIRCUITRY_REDIS_URL", urls[2])
    registry.load(settings(redis_url=urls[1]))
    assert store_of()._client == urls[2]
    monkeypatch.setenv("CIRCUITRY_REDIS_URL", "")
    registry.load(settings())
    assert store_of() is ours


def test_the_file_that_the_environment_names_is_read(urls, settings, monkeypatch):
    """Without any code."""
    monkeypatch.setenv("CIRCUITRY_CONFIG", str(settings(redis_url=urls[0])))
    assert store_of()._client == urls[0]


@on_one_server
def test_loading_reaches_circuits_that_exist(server, settings, connect):
    """A circuit in use joins the fleet; its members of a family too."""
    prefix_is_the_default = f"netflix-{free_port()}"
    guarded = circuit(prefix_is_the_default, failure_threshold=2)(fetch)
    family = circuit(f"{prefix_is_the_default}-family", key=lambda: "eu")(fetch)
    assert (guarded(), family()) == (1, 1)
    assert circuit_of(guarded).store is None
    registry.load(settings(redis_url=server.url()))
    store = circuit_of(guarded).store
    assert isinstance(store, RedisStore)
    assert registry[f"{prefix_is_the_default}-family[eu]"].store is store
    assert (guarded(), family()) == (1, 1)
    assert store.wait_ready(5)
    assert {prefix_is_the_default, f"{prefix_is_the_default}-family[eu]"} <= store.circuits().keys()
    for _ in range(2):
        circuit_of(guarded).acquire().failure(OSError())
    eventually(lambda: connect().get(f"circuit:{prefix_is_the_default}:state") == b"open")
    registry.load(settings())
    assert circuit_of(guarded).store is None
    assert circuit_of(guarded).state == "open"
    store.close()
    for key in connect().scan_iter(f"circuit:{prefix_is_the_default}*"):
        connect().delete(key)


@pytest.mark.parametrize("url", ["localhost:6379", "redis://:hunter2@localhost/first", 6379])
def test_a_wrong_url_in_the_file_is_refused_when_it_is_loaded(settings, url):
    """Though no circuit needs it yet: the message names the file, and shows no password."""
    path = settings(redis_url=url)
    with pytest.raises(ConfigurationError, match=r"circuitry\.toml.*url") as caught:
        registry.load(path)
    assert "hunter2" not in str(caught.value)
    assert store_of() is None


def test_a_wrong_url_in_the_environment_names_the_variable(monkeypatch):
    """It is refused when the first circuit is made."""
    monkeypatch.setenv("CIRCUITRY_REDIS_URL", "localhost:6379")
    with pytest.raises(ConfigurationError, match=r"CIRCUITRY_REDIS_URL.*localhost:6379"):
        store_of()


def test_without_redis_py_a_url_of_operators_says_what_installs_it(urls, monkeypatch):
    """Not at import, but where a circuit is made."""
    monkeypatch.setenv("CIRCUITRY_REDIS_URL", urls[0])
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ImportError, match=r"pip install 'circuitry-breaker\[redis\]'"):
        store_of()


def test_without_redis_py_the_rest_works(monkeypatch):
    """Who doesn't share needs no extra."""
    monkeypatch.setitem(sys.modules, "redis", None)
    assert circuit("netflix")(fetch)() == 1
