"""The registry: one name, one circuit, and settings that are given once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from circuitry import (
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitFamily,
    CircuitOpenError,
    CircuitRegistry,
    CircuitState,
    ConfigurationError,
    circuit,
    circuit_of,
    registry,
)
from circuitry.gate import LOCAL

pytestmark = [pytest.mark.core, pytest.mark.usefixtures("fresh")]

PUBNUB = CircuitBreakerConfig.pubnub()


class Store:
    """A store that remembers which breakers asked it for a gate."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def gate(self, breaker: CircuitBreaker) -> Any:
        self.asked.append(breaker.name)
        return LOCAL


def fetch() -> int:
    return 42


def conflict(give: Callable[[], object]) -> str:
    with pytest.raises(ConfigurationError) as caught:
        give()
    return str(caught.value)


# -- Finding -------------------------------------------------------------------------------------------


def test_an_unknown_name_is_none_or_a_key_error_and_makes_nothing() -> None:
    assert registry.get("netflix") is None
    with pytest.raises(KeyError, match="netflix"):
        registry["netflix"]
    assert "netflix" not in registry
    assert list(registry) == []


def test_a_name_is_found_in_every_way() -> None:
    breaker = registry.get_or_create("netflix")
    assert registry.get("netflix") is breaker
    assert registry["netflix"] is breaker
    assert "netflix" in registry
    assert list(registry) == [breaker]
    assert len(registry) == 1


def test_what_is_no_text_is_in_no_registry() -> None:
    assert 5 not in registry
    assert ["netflix"] not in registry
    for missing in (None, 5):
        assert registry.get(missing) is None  # type: ignore[arg-type]
        with pytest.raises(KeyError):
            registry[missing]  # type: ignore[index]


def test_every_face_finds_the_same_breaker() -> None:
    breaker = registry.get_or_create("netflix")
    with circuit("netflix") as entered:
        assert entered is breaker
    assert circuit_of(circuit("netflix")(fetch)) is breaker
    assert registry.get_or_create("netflix") is breaker


def test_a_breaker_of_ones_own_is_not_registered() -> None:
    CircuitBreaker("own")
    assert "own" not in registry


def test_a_member_of_a_family_is_found_by_its_name() -> None:
    guarded = circuit("shard", key=lambda shard: shard)(lambda shard: shard)
    guarded("eu")
    member = circuit_of(guarded, CircuitFamily)["eu"]
    assert registry["shard[eu]"] is member
    assert registry.get_or_create("shard[eu]") is member
    assert circuit_of(circuit("shard[eu]")(fetch)) is member
    with circuit("shard[eu]") as entered:
        assert entered is member
    assert list(registry) == [member]


def test_a_member_that_nobody_has_called_yet_is_made_for_who_names_it() -> None:
    guarded = circuit("shard", key=lambda shard: shard)(lambda shard: shard)
    registry.get_or_create("shard[eu]").force_open()
    with pytest.raises(CircuitOpenError):
        guarded("eu")
    assert [breaker.name for breaker in registry] == ["shard[eu]"]


def test_of_two_families_that_a_name_could_be_of_it_is_the_nearer_ones() -> None:
    outer, inner = registry.get_or_create_family("shard"), registry.get_or_create_family("shard[eu]")
    assert registry.get_or_create("shard[eu][1]") is inner.get("1")
    assert len(outer) == 0


def test_a_name_that_was_taken_before_the_family_came_stays_what_it_was() -> None:
    single = registry.get_or_create("shard[eu]")
    guarded = circuit("shard", key=lambda shard: shard)(lambda shard: shard)
    guarded("eu")
    assert registry.get_or_create("shard[eu]") is single
    assert sorted(registry.metrics()) == ["shard[eu#2]", "shard[eu]"]


def test_a_family_is_no_breaker() -> None:
    circuit("shard", key=str)(fetch)
    assert "shard" not in registry
    assert registry.get("shard") is None
    assert isinstance(registry.family("shard"), CircuitFamily)


def test_a_breaker_is_no_family() -> None:
    registry.get_or_create("netflix")
    assert registry.family("netflix") is None
    assert registry.family("unknown") is None


def test_registries_know_nothing_of_each_other() -> None:
    other = CircuitRegistry()
    assert other.get_or_create("netflix") is not registry.get_or_create("netflix")


# -- Names ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "a\nb", None, 5, ["x"]], ids=repr)
@pytest.mark.parametrize("make", ["get_or_create", "get_or_create_family"])
def test_what_is_no_name_is_refused(make: str, name: Any) -> None:
    assert conflict(lambda: getattr(registry, make)(name)).startswith(f"name={name!r} is not allowed: ")
    assert list(registry) == []


def test_any_unicode_is_a_name() -> None:
    assert registry.get_or_create("日本 🎬").name == "日本 🎬"


# -- Threads -------------------------------------------------------------------------------------------


@pytest.fixture
def _hasty() -> Any:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("_hasty")
@pytest.mark.parametrize("make", ["get_or_create", "get_or_create_family"])
def test_get_or_create_gives_every_thread_the_same_circuit(make: str) -> None:
    ready = threading.Barrier(8)

    def ask(_: int) -> list[object]:
        ready.wait(10)
        return [getattr(registry, make)(f"circuit {number}", PUBNUB) for number in range(50)]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    assert all(answer == answers[0] for answer in answers)
    assert len(set(map(id, answers[0]))) == 50


@pytest.mark.usefixtures("_hasty")
def test_of_threads_with_different_settings_exactly_one_wins() -> None:
    ready = threading.Barrier(8)

    def ask(number: int) -> int | str:
        ready.wait(10)
        try:
            return registry.get_or_create("netflix", failure_threshold=number).config.failure_threshold
        except ConfigurationError as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(1, 9)))
    won = [answer for answer in answers if isinstance(answer, int)]
    assert won == [registry["netflix"].config.failure_threshold]


@pytest.mark.usefixtures("_hasty")
def test_reading_goes_on_while_names_come() -> None:
    done = threading.Event()

    def make() -> None:
        for number in range(300):
            registry.get_or_create(f"circuit {number}")
        done.set()

    with ThreadPoolExecutor(1) as pool:
        making = pool.submit(make)
        while not done.is_set():
            assert len(registry.metrics()) <= len(list(registry))
        making.result()
    assert len(registry) == 300


FORKING = """
import os, signal, threading
from circuitry import registry
from circuitry.gate import LOCAL

class Store:
    "Holds up whoever makes a circuit for it, with all that is locked meanwhile."
    def gate(self, breaker):
        inside.set()
        go_on.wait(30)
        return LOCAL

family = registry.get_or_create_family("shard", store=Store())
go_on = threading.Event()
for make in (lambda: registry.get_or_create("slow", store=Store()), lambda: family["slow"]):
    inside = threading.Event()
    threading.Thread(target=make, daemon=True).start()
    assert inside.wait(30)

child = os.fork()
if child == 0:
    signal.alarm(20)
    go_on.set()
    registry.get_or_create("new")
    family["new"]
    os._exit(0)
print(os.waitpid(child, 0)[1])
go_on.set()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_after_a_fork_nobody_holds_the_locks_of_registry_and_family() -> None:
    """Other threads were just making circuits; in the child these threads don't exist."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    run = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKING],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.stdout, run.stderr) == ("0\n", "")


def test_a_store_may_use_the_registry() -> None:
    """No lock of the registry is held while a store's own code runs."""
    own = CircuitRegistry()

    class Guarded(Store):
        def gate(self, breaker: CircuitBreaker) -> Any:
            own.get_or_create("the store's health")
            return LOCAL

    worker = threading.Thread(target=lambda: own.get_or_create("netflix", store=Guarded()), daemon=True)
    worker.start()
    worker.join(5)
    assert not worker.is_alive()
    assert {breaker.name for breaker in own} == {"netflix", "the store's health"}


# -- All of them ---------------------------------------------------------------------------------------


def populated() -> tuple[CircuitBreaker, CircuitBreaker]:
    """A breaker, and a member of a family: both open."""
    single = registry.get_or_create("single", failure_threshold=1)
    member = registry.get_or_create_family("shard", failure_threshold=1)["eu"]
    for breaker in (single, member):
        breaker.acquire().failure()
    return single, member


def test_iterating_gives_breakers_and_members_of_families() -> None:
    both = populated()
    assert list(registry) == list(both)


def test_the_registry_may_change_while_it_is_iterated() -> None:
    populated()
    for breaker in registry:
        registry.get_or_create(f"{breaker.name} again")
    assert len(registry) == 4


def test_metrics_are_a_snapshot_by_name() -> None:
    populated()
    metrics = registry.metrics()
    assert metrics.keys() == {"single", "shard[eu]"}
    assert [(one.name, one.state, one.failures) for one in metrics.values()] == [
        ("single", "open", 1),
        ("shard[eu]", "open", 1),
    ]


def test_reset_all_closes_every_breaker_and_keeps_the_totals() -> None:
    both = populated()
    registry.get_or_create("forced").force_open()
    registry.reset_all()
    assert {breaker.state for breaker in registry} == {CircuitState.CLOSED}
    assert [breaker.metrics().failures for breaker in both] == [1, 1]


def test_clear_forgets_every_name() -> None:
    populated()
    registry.clear()
    assert list(registry) == []
    assert registry.metrics() == {}
    assert registry.family("shard") is None


def test_what_was_decorated_before_clear_keeps_its_circuit() -> None:
    guarded = circuit("netflix", failure_threshold=77)(fetch)
    breaker = circuit_of(guarded)
    registry.clear()
    assert circuit_of(guarded) is breaker
    assert registry.get_or_create("netflix", failure_threshold=3) is not breaker


# -- A store for all -----------------------------------------------------------------------------------


def test_a_store_set_for_all_holds_for_circuits_made_from_now_on() -> None:
    store, own = Store(), Store()
    registry.get_or_create("before")
    registry.configure(store=store)
    registry.get_or_create("after")
    registry.get_or_create("with its own", store=own)
    registry.get_or_create_family("shard")["eu"]
    registry.configure(store=None)
    registry.get_or_create("at the end")
    assert store.asked == ["after", "shard[eu]"]
    assert own.asked == ["with its own"]


def test_what_is_no_store_is_refused() -> None:
    wrong: Any = 5
    assert conflict(lambda: registry.configure(store=wrong)).startswith("store=5 is not allowed: ")
