"""A family that panics: when it does, which calls go out then, and who hears of it."""

from __future__ import annotations

import gc
import logging
import os
import weakref

import pytest

from circuitry import (
    CircuitBreaker,
    CircuitFamily,
    CircuitOpenError,
    ConfigurationError,
    PanicEvent,
    TooManyCallsError,
    circuit,
    circuit_of,
    registry,
)
from circuitry.gate import LocalGate, Refused
from circuitry.states import CircuitState, FleetVerdict

pytestmark = [pytest.mark.core, pytest.mark.usefixtures("fresh")]

KEYS = ("a", "b", "c", "d")


@pytest.fixture
def made(clock):
    """Makes a family that panics when more than half of it isn't closed, with the members a to d."""

    def make(keys=KEYS, **given):
        settings = {"failure_threshold": 1, "success_threshold": 1, "timeout_duration": 10, "clock": clock}
        family = registry.get_or_create_family("shard", **{**settings, "max_open_fraction": 0.5, **given})
        for key in keys:
            family[key]
        return family

    return make


@pytest.fixture
def family(made):
    return made()


def fail(family, *keys):
    for key in keys:
        family[key].acquire().failure(OSError("down"))


def goes_out(family, key):
    """Whether a call of this member does."""
    try:
        family[key].call(lambda: None)
    except CircuitOpenError:
        return False
    return True


# -- When --------------------------------------------------------------------------------------------


def test_up_to_the_share_it_cuts_off(family):
    fail(family, "a", "b")
    assert not family.is_panicking
    assert [goes_out(family, key) for key in KEYS] == [False, False, True, True]


def test_beyond_it_all_calls_go_out(family):
    fail(family, "a", "b", "c")
    assert family.is_panicking
    assert [goes_out(family, key) for key in KEYS] == [True] * 4
    assert [str(family[key].state) for key in KEYS] == ["open", "open", "open", "closed"]


def test_a_call_lets_no_difference_be_seen_between_the_colours(family, colour):
    fail(family, "a", "b", "c")
    assert colour.run(family["a"](colour.function(lambda: "served"))) == "served"
    assert colour.block(family["b"], lambda _: "served") == "served"
    assert colour.collect(family["c"](colour.stream(lambda: iter([1, 2])))) == [1, 2]
    colour.acquire(family["a"]).success()


def test_one_circuit_is_no_reason_to_panic_however_small_the_family(made):
    family = made(keys="a")
    fail(family, "a")
    assert not family.is_panicking
    family["b"]
    fail(family, "b")
    assert family.is_panicking


def test_a_share_is_compared_exactly(made):
    family = made(keys=range(10), max_open_fraction=0.7)
    fail(family, *range(7))
    assert not family.is_panicking
    fail(family, 7)
    assert family.is_panicking


def test_it_ends_when_the_share_is_back(family, clock):
    fail(family, "a", "b", "c")
    clock.advance(10)
    family["a"].acquire().success()  # a probe
    assert family["a"].state == "closed"
    assert not family.is_panicking
    fail(family, "a")
    assert family.is_panicking


def test_half_open_circuits_are_not_closed(family, clock):
    fail(family, "a", "b", "c")
    clock.advance(10)
    probes = [family[key].acquire() for key in "abc"]
    assert {str(family[key].state) for key in "abc"} == {"half_open"}
    assert family.is_panicking
    for probe in probes:
        probe.release()


def test_a_new_member_may_end_it(made):
    family, heard = made(keys="abc"), []
    fail(family, "a", "b")
    family.on_panic(heard.append)
    assert family.is_panicking
    family["d"]
    assert not family.is_panicking
    assert [event[:4] for event in heard] == [("shard", False, 2, 4)]


def test_a_member_that_is_new_in_a_panic_lets_through_too(family):
    fail(family, "a", "b", "c")
    family["e"]
    fail(family, "e")
    assert goes_out(family, "e")


def test_a_member_that_is_dropped_counts_no_more(made):
    family = made(keys="abc", max_keys=3)
    dropped = family.get("a")
    late = dropped.acquire()
    fail(family, "b")
    family["d"]  # takes the place of a, which was closed
    assert family.get("a") is None
    late.failure(OSError("down"))
    assert dropped.state == "open"
    assert not family.is_panicking
    fail(family, "c")
    assert family.is_panicking


def test_its_place_is_not_counted_twice(made):
    family = made(keys="abcdefg", max_keys=3)
    fail(family, "e", "f")
    assert family.is_panicking  # 2 of 3


def test_the_circuit_for_surplus_keys_is_a_member(made):
    family = made(keys="ab", max_keys=2, max_open_fraction=0.9)
    fail(family, "a", "b")
    assert family.is_panicking
    assert family["c"].name == "shard[*]"
    assert not family.is_panicking
    fail(family, "c")
    assert family.is_panicking
    assert family["e"] is family["c"]
    assert goes_out(family, "e")


def test_what_a_shadow_would_do_is_no_reason(made):
    family = made(initial_state="shadow")
    fail(family, *KEYS)
    assert {family[key].metrics().shadow_state for key in KEYS} == {CircuitState.OPEN}
    assert not family.is_panicking


def test_what_operators_force_open_is_no_reason_and_goes_on_rejecting(family):
    for key in "abc":
        family[key].force_open()
    assert not family.is_panicking
    family["a"].reset()
    fail(family, "a", "d")
    assert not family.is_panicking
    for key in "bc":
        family[key].reset()
    fail(family, "b")
    assert family.is_panicking
    family["c"].force_open()
    assert not goes_out(family, "c")
    assert goes_out(family, "a")


def test_an_operator_takes_a_circuit_out_of_it(family):
    fail(family, "a", "b", "c")
    family["a"].disable()
    assert not family.is_panicking
    fail(family, "d")
    assert family.is_panicking
    family.reset_all()
    assert not family.is_panicking


# -- What becomes of the calls -------------------------------------------------------------------------


def test_what_goes_out_in_a_panic_is_counted_by_itself_and_not_judged(family):
    fail(family, "a", "b", "c")
    before = family["a"].metrics()
    fail(family, "a")
    goes_out(family, "a")
    metrics = family["a"].metrics()
    assert metrics.panic_admitted == 2
    assert (metrics.rejected, metrics.shadow_rejected) == (0, 0)
    assert (metrics.successes, metrics.failures) == (1, 2)
    assert (metrics.state, metrics.retry_after) == (before.state, before.retry_after)


def test_probes_go_on_as_ever(family, clock):
    fail(family, "a", "b", "c")
    clock.advance(10)
    probes = [family["a"].acquire() for _ in range(3)]
    assert family["a"].metrics().half_open_calls == 3
    unjudged = family["a"].acquire()  # there is no place for a fourth
    unjudged.failure(OSError("down"))
    assert family["a"].state == "half_open"
    probes.pop().success()
    assert family["a"].state == "closed"
    for probe in probes:
        probe.release()


def test_after_it_a_half_open_circuit_has_no_more_room_than_before(family, clock):
    fail(family, "a", "b", "c")
    clock.advance(10)
    probes = [family["a"].acquire() for _ in range(3)]
    family["b"].acquire().success()
    with pytest.raises(TooManyCallsError):
        family["a"].acquire()
    for probe in probes:
        probe.release()


def test_fallbacks_stand_in_only_for_what_is_rejected(clock):
    @circuit(
        "shard", key=lambda shard: shard, fallback_value="cached", max_open_fraction=0.5, failure_threshold=1
    )
    def fetch(shard):
        return "served"

    family = circuit_of(fetch, CircuitFamily)
    family["a"], family["b"], family["c"]
    fail(family, "a")
    assert fetch("a") == "cached"
    fail(family, "b")
    assert [fetch("a"), fetch("b"), fetch("c")] == ["served"] * 3


def test_how_long_these_calls_took_is_known_too(made, clock):
    family = made(latency=True)
    fail(family, "a", "b", "c")
    permit = family["a"].acquire()
    clock.advance(0.5)
    permit.success()
    assert family["a"].metrics().latency.total == 0.5


# -- Who hears of it -----------------------------------------------------------------------------------


def test_its_beginning_and_end_are_told_with_the_numbers(family):
    heard = []
    family.on_panic(heard.append)
    fail(family, "a", "b", "c", "d")
    family["a"].reset()
    family["b"].reset()
    assert [event[:4] for event in heard] == [("shard", True, 3, 4), ("shard", False, 2, 4)]
    assert all(isinstance(event, PanicEvent) and event.at > 1e9 for event in heard)


def test_who_has_unsubscribed_hears_no_more(family):
    heard = []
    unsubscribe = family.on_panic(heard.append)
    family.on_panic(heard.append)
    unsubscribe()
    unsubscribe()
    fail(family, "a", "b", "c")
    assert len(heard) == 1


def test_a_listener_may_call_back_and_what_it_raises_is_logged(family, in_time, caplog):
    def listener(event):
        in_time(lambda: (family["a"].metrics(), family.is_panicking, family["new"], len(family)))
        for breaker in family:
            breaker.reset()
        raise LookupError("a bug")

    family.on_panic(listener)
    fail(family, "a", "b", "c")
    assert not family.is_panicking
    assert sum("raised on PanicEvent" in record.getMessage() for record in caplog.records) == 2


@pytest.mark.parametrize("listener", [None, "listener"])
def test_what_cannot_be_called_is_refused(family, listener):
    with pytest.raises(TypeError, match="must be callable"):
        family.on_panic(listener)


def test_what_would_have_to_be_awaited_is_refused(family):
    async def listener(event):
        pass

    with pytest.raises(TypeError, match="async"):
        family.on_panic(listener)


def test_its_beginning_is_a_warning_and_its_end_is_not(family, caplog):
    caplog.set_level(logging.INFO, "circuitry")
    fail(family, "a", "b", "c")
    family.reset_all()
    records = [record for record in caplog.records if "family" in record.getMessage()]
    assert [(record.levelname, record.getMessage()) for record in records] == [
        ("WARNING", "family 'shard' panics, and lets calls through: 3 of 4 circuits aren't closed"),
        ("INFO", "family 'shard' panics no more: 2 of 4 circuits aren't closed"),
    ]
    first = records[0]
    assert (first.family, first.panicking, first.not_closed, first.members) == ("shard", True, 3, 4)


def test_where_nobody_wants_it_no_record_is_made(family, monkeypatch):
    from circuitry import panic

    monkeypatch.setattr(panic.logger, "isEnabledFor", lambda level: False)
    monkeypatch.setattr(panic.logger, "log", None)
    fail(family, "a", "b", "c")
    assert family.is_panicking


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_child_that_is_forked_while_a_listener_is_told_goes_on(family):
    """The one who was telling isn't there to tell the end."""
    children = []

    def listener(event):
        if event.panicking:
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    told = []
                    family.on_panic(lambda event: told.append(event.panicking))
                    family.reset_all()
                    code = 0 if told == [False] and not family.is_panicking else 2
                finally:
                    os._exit(code)
            children.append(child)

    family.on_panic(listener)
    fail(family, "a", "b", "c")
    [child] = children
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert family.is_panicking


# -- Without it ------------------------------------------------------------------------------------------


def test_a_family_that_may_not_panic_never_does(made):
    family, heard = made(max_open_fraction=None), []
    family.on_panic(heard.append)
    fail(family, *KEYS)
    assert family.max_open_fraction is None
    assert not family.is_panicking
    assert not any(goes_out(family, key) for key in KEYS)
    assert heard == []
    assert all(breaker._panic is None for breaker in family)


def test_a_family_that_is_dropped_is_gone(made):
    family = made()
    fail(family, "a", "b", "c")
    kept, gone = family["a"], weakref.ref(family)
    registry.clear()
    del family
    gc.collect()
    assert gone() is None
    assert kept.state == "open"


@pytest.mark.parametrize("share", [0, 1, 1.0, -0.5, 2, True, "half", float("nan"), [0.5]])
def test_what_is_no_part_of_a_family_is_refused(share):
    message = (
        r"^max_open_fraction=.* must be a number > 0 and < 1: with all of it the family would never panic$"
    )
    with pytest.raises(ConfigurationError, match=message):
        circuit("shard", key=str, max_open_fraction=share)
    with pytest.raises(ConfigurationError, match=message):
        registry.get_or_create_family("shard", max_open_fraction=share)


def test_without_a_key_it_is_refused():
    message = r"^max_open_fraction=0.5 is a part of a family: it needs key=$"
    with pytest.raises(ConfigurationError, match=message):
        circuit("shard", max_open_fraction=0.5)
    with pytest.raises(ConfigurationError, match="unknown setting 'max_open_fraction'"):
        registry.get_or_create("shard", max_open_fraction=0.5)
    with pytest.raises(ConfigurationError, match="unknown setting 'max_open_fraction'"):
        CircuitBreaker("shard", max_open_fraction=0.5)


def test_who_comes_later_can_not_give_it(made):
    made(max_open_fraction=None)
    with pytest.raises(ConfigurationError, match="other settings before"):
        registry.get_or_create_family("shard", max_open_fraction=0.5)
    registry.get_or_create_family("plain")
    with pytest.raises(ConfigurationError, match="only who names it first can give max_open_fraction="):
        registry.get_or_create_family("plain", max_open_fraction=0.5)


# -- In a fleet ------------------------------------------------------------------------------------------


class Fleet(LocalGate):
    """A store and a gate, which says of probes what it is told to."""

    governs = False
    leave = Refused(5.0)

    def gate(self, breaker):
        return self

    def ask(self):
        return self.leave


def test_what_a_fleet_has_opened_counts_like_what_was_opened_here(made):
    family = made(store=Fleet())
    for key in "abc":
        family[key]._follow(FleetVerdict(CircuitState.OPEN, None, "tripped", 1010.0, "down"))
    assert family.is_panicking
    heard = []
    family.on_panic(heard.append)
    assert goes_out(family, "a")
    family["d"]._announce()
    assert [event.panicking for event in heard] == [True]  # told with the next thing that is told
    family["a"]._follow(FleetVerdict(CircuitState.CLOSED, None, "recovered", 0.0, None))
    assert not family.is_panicking


def test_what_a_fleet_in_shadow_would_do_is_no_reason(made):
    family = made(store=Fleet())
    for key in "abc":
        family[key]._follow(FleetVerdict(CircuitState.OPEN, CircuitState.SHADOW, "tripped", 1010.0, "down"))
    assert family["a"].metrics().shadow_state == "open"
    assert not family.is_panicking


def test_a_probe_that_the_fleet_refuses_goes_out_unjudged(made, clock):
    fleet = Fleet()
    family = made(store=fleet)
    fail(family, "a", "b", "c")
    clock.advance(10)
    fleet.governs = True
    assert goes_out(family, "a")
    assert family["a"].metrics().panic_admitted == 1
    family["b"].reset()
    assert not goes_out(family, "a")
