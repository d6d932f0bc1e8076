"""A family has one circuit for each key, a hard bound on them, and never forgets an outage to make room."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuitry import CircuitBreaker, CircuitFamily, CircuitOpenError, circuit, circuit_of, registry
from circuitry.testing import ManualClock

pytestmark = [pytest.mark.core, pytest.mark.usefixtures("fresh")]


def first(key: Any, *_: object, **__: object) -> Any:
    """The usual key function: the first argument."""
    return key


def make_family(max_keys: int = 1000, **settings: Any) -> CircuitFamily:
    return registry.get_or_create_family("shard", max_keys=max_keys, failure_threshold=1, **settings)


def open_up(family: CircuitFamily, *keys: object) -> None:
    for key in keys:
        family[key].acquire().failure(OSError("down"))


def names(family: CircuitFamily) -> list[str]:
    return [breaker.name for breaker in family]


# -- Members -------------------------------------------------------------------------------------------


def test_each_key_has_a_circuit_of_its_own() -> None:
    @circuit("platform", key=first, failure_threshold=1)
    def fetch(platform: str, error: Exception | None = None) -> str:
        if error:
            raise error
        return platform

    with pytest.raises(OSError):
        fetch("sick", OSError())
    with pytest.raises(CircuitOpenError) as caught:
        fetch("sick")
    assert caught.value.circuit_name == "platform[sick]"
    assert fetch("well") == "well"


def test_circuit_of_gives_the_family() -> None:
    fetch = circuit("platform", key=first)(first)
    fetch("eu")
    family = circuit_of(fetch, CircuitFamily)
    assert family is registry.family("platform")
    assert (family.name, family.max_keys, len(family)) == ("platform", 1000, 1)


def test_members_are_named_after_their_keys() -> None:
    family = make_family()
    for key in ("eu", 5, ("a", 1), None, "日本", "", "*a"):
        family[key]
    assert names(family) == [
        "shard[eu]",
        "shard[5]",
        "shard[('a', 1)]",
        "shard[None]",
        "shard[日本]",
        "shard[]",
        "shard[*a]",
    ]


@pytest.mark.parametrize("key", ["a\nb", "\x00", "\x85", "lone \ud800"], ids=ascii)
def test_a_key_with_control_characters_is_a_key_all_the_same(key: str) -> None:
    assert make_family()[key].name == f"shard[{key!a}]"


@pytest.mark.parametrize("keys", [(1, "1"), ("1", 1), (None, "None"), ("*",)], ids=str)
def test_no_two_members_have_the_same_name(keys: tuple[object, ...]) -> None:
    family = make_family(max_keys=len(keys))
    open_up(family, *keys)
    family["surplus"]
    assert len(set(names(family))) == len(keys) + 1
    assert family.metrics().keys() == set(names(family))


def test_members_have_the_settings_of_the_family() -> None:
    family = registry.get_or_create_family("shard", preset="pubnub")
    assert family["eu"].config == family.config


def test_members_share_the_clock_of_the_family(clock: ManualClock) -> None:
    family = make_family(clock=clock)
    open_up(family, "eu")
    clock.advance(20)
    assert family["eu"].metrics().retry_after == 10.0


def test_members_are_found_without_being_made() -> None:
    family = make_family()
    assert family.get("eu") is None
    assert "eu" not in family
    member = family["eu"]
    assert family.get("eu") is member
    assert "eu" in family


def test_a_family_resets_its_members() -> None:
    family = make_family()
    open_up(family, "eu", "us")
    family.reset_all()
    assert {one.state for one in family} == {"closed"}
    assert [one.failures for one in family.metrics().values()] == [1, 1]


def test_a_family_shows_its_name_and_size() -> None:
    family = make_family()
    family["eu"]
    assert repr(family) == "<CircuitFamily 'shard': 1 circuits>"


# -- The bound -----------------------------------------------------------------------------------------


def test_the_least_recently_used_closed_member_goes() -> None:
    family = make_family(max_keys=3)
    for key in ("a", "b", "c", "a", "d"):
        family[key]
    assert set(names(family)) == {"shard[a]", "shard[c]", "shard[d]"}


def test_a_guarded_call_is_use() -> None:
    fetch = circuit("shard", key=first, max_keys=3)(first)
    for key in ("a", "b", "c", "a", "d"):
        fetch(key)
    assert {one.name for one in circuit_of(fetch, CircuitFamily)} == {"shard[a]", "shard[c]", "shard[d]"}


def test_looking_is_no_use() -> None:
    family = make_family(max_keys=2)
    family["a"], family["b"]
    assert "a" in family
    family.get("a")
    family.metrics()
    family["c"]
    assert set(names(family)) == {"shard[b]", "shard[c]"}


def test_an_open_member_stays_when_it_is_the_oldest() -> None:
    family = make_family(max_keys=2)
    open_up(family, "sick")
    for key in range(5):
        family[key]
    assert set(names(family)) == {"shard[sick]", "shard[4]"}


def test_a_half_open_member_stays_when_it_is_the_oldest(clock: ManualClock) -> None:
    family = make_family(max_keys=2, clock=clock, timeout_duration=10)
    open_up(family, "sick")
    clock.advance(10)
    permit = family["sick"].acquire()
    for key in range(5):
        family[key]
    permit.release()
    assert family.get("sick") is not None
    assert family["sick"].state == "half_open"


@pytest.mark.parametrize("command", ["force_open", "disable", "shadow"])
def test_a_member_that_an_operator_has_set_stays(command: str) -> None:
    family = make_family(max_keys=2)
    getattr(family["set"], command)()
    for key in range(5):
        family[key]
    assert "set" in family


def test_if_none_is_closed_new_keys_share_one_more_circuit() -> None:
    family = make_family(max_keys=2)
    open_up(family, "a", "b")
    assert family["c"] is family["d"]
    assert family["c"].name == "shard[*]"
    assert names(family) == ["shard[a]", "shard[b]", "shard[*]"]
    assert registry["shard[*]"] is family["c"]


def test_the_shared_circuit_trips_for_all_surplus_keys() -> None:
    family = make_family(max_keys=1)
    open_up(family, "a", "c")
    with pytest.raises(CircuitOpenError, match=r"shard\[\*\]"):
        family["d"].acquire()


def test_new_keys_have_circuits_again_when_there_is_room() -> None:
    family = make_family(max_keys=2)
    open_up(family, "a", "b")
    family["c"]
    family["a"].reset()
    assert family["c"].name == "shard[c]"
    assert "a" not in family


def test_a_member_that_was_let_go_begins_anew() -> None:
    family = registry.get_or_create_family("shard", max_keys=1, failure_threshold=2)
    family["a"].acquire().failure()
    family["b"]
    assert family["a"].failure_count == 0


def test_a_member_that_comes_back_has_its_name_again() -> None:
    family = make_family(max_keys=1)
    for key in ("a", "b", "a"):
        assert family[key].name == f"shard[{key}]"


def test_the_bound_holds_after_ctrl_c_between_two_steps() -> None:
    """The order of use is found again from the members."""
    family = make_family(max_keys=3)
    for key in ("a", "b", "c", "a"):
        family[key]
    family._uses.pop()
    for key in ("d", "e"):
        family[key]
    assert set(names(family)) == {"shard[a]", "shard[d]", "shard[e]"}


def test_members_of_a_family_in_shadow_make_room() -> None:
    """Nothing is sick here, so nobody needs to share."""
    family = make_family(max_keys=2, initial_state="shadow")
    for key in range(5):
        family[key]
    assert set(names(family)) == {"shard[3]", "shard[4]"}


def test_a_member_that_its_shadow_would_reject_stays() -> None:
    family = make_family(max_keys=2, initial_state="shadow")
    open_up(family, "sick")
    for key in range(5):
        family[key]
    assert "sick" in family


class Naive:
    """A family by its description: keys by their last use, and which of them are open."""

    def __init__(self, max_keys: int) -> None:
        self.max_keys = max_keys
        self.used: list[int] = []
        self.open: set[int] = set()

    def use(self, key: int) -> None:
        if key in self.used:
            self.used.remove(key)
        elif len(self.used) >= self.max_keys:
            closed = [other for other in self.used if other not in self.open]
            if not closed:
                return
            self.used.remove(closed[0])
        self.used.append(key)


@given(
    max_keys=st.integers(1, 4),
    steps=st.lists(st.tuples(st.integers(0, 6), st.sampled_from(["use", "open", "reset"])), max_size=40),
)
def test_the_members_are_those_that_the_rule_names(max_keys: int, steps: list[tuple[int, str]]) -> None:
    registry.clear()
    family, naive = make_family(max_keys), Naive(max_keys)
    for key, step in steps:
        breaker = family[key]
        naive.use(key)
        if step != "use":
            breaker.force_open() if step == "open" else breaker.reset()
            (naive.open.add if step == "open" else naive.open.discard)(key if key in naive.used else -1)
        assert {key for key in range(7) if key in family} == set(naive.used)
        assert breaker is family.get(key) or breaker.name == "shard[*]"
        assert len(family) <= max_keys


# -- Threads -------------------------------------------------------------------------------------------


def test_threads_get_the_same_member_for_a_new_key() -> None:
    family, ready = make_family(), threading.Barrier(8)

    def ask(_: int) -> list[CircuitBreaker]:
        ready.wait(10)
        return [family[key] for key in range(100)]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    assert all(answer == answers[0] for answer in answers)


def test_calling_and_reading_go_on_while_members_come_and_go() -> None:
    fetch = circuit("shard", key=first, max_keys=10)(first)
    family = circuit_of(fetch, CircuitFamily)
    for key in ("a", "b", "c"):
        family[key].force_open()

    def call(offset: int) -> int:
        for number in range(400):
            fetch((number + offset) % 40)
            family.metrics()
        return len(family)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(call, range(0, 40, 10))) == [10] * 4
