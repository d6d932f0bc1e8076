"""Four processes on a server that is killed, frozen, flushed and cut off keep to the rules.

A short run. `make chaos` takes 20 seeds, and first puts faults into the processes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from circuitry.redis.views import Verdict
from circuitry.states import CircuitState

from ..fleet.servers import GIVEN, HERE
from .board import PLACES, Board
from .checker import RULES, History, Violation, check, excerpt
from .faults import FAULTS, LUA, changed
from .records import Act, Called, Final, Held, Kept, Link, Read, Said, Seen, Slots, Turned, Writer, read
from .running import Run, verdict
from .schedule import CHECK_PERIOD, SETTINGS, TROUBLES, plan

SEED = 21
FAULTY_SEED = 18  # in which each fault comes to light


@dataclasses.dataclass(frozen=True)
class Outcome:
    history: History
    found: list[Violation]

    def told(self) -> str:
        """For people: what is wrong, and what was recorded around it."""
        shown = [f"{violation}\n{excerpt(self.history, violation)}" for violation in self.found[:3]]
        return "\n\n".join([f"seed {SEED}: {len(self.found)} violations", *shown])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    if GIVEN:
        pytest.skip("the server in CIRCUITRY_TEST_REDIS_URL isn't ours to kill")
    return Outcome(*verdict(Run(SEED, 3.0, tmp_path_factory.mktemp("chaos"), HERE[-1])))


def test_no_rule_is_broken(run):
    assert not run.found, run.told()


@pytest.mark.parametrize("kind", [Said, Seen, Kept, Link, Turned, Held, Called, Read, Slots, Act, Final])
def test_there_was_something_to_check(run, kind):
    assert run.history.of(kind)


def test_the_fleet_went_through_all_states(run):
    reasons = {line.reason for name in SETTINGS for _, line in run.history.lines(name)}
    assert reasons >= {"created", "tripped", "timed_out", "recovered"}
    assert {act.kind for act in run.history.of(Act)} >= {"start", "down"}


# -- What was recorded is told otherwise: then it is found out ----------------------------------------------


def told_otherwise(
    run: Outcome, kind: type, change: Callable[[Any], Any], is_meant: Callable[[Any, History], bool]
) -> set[str]:
    """The rules that are broken when the last record that is meant is changed."""
    records = list(run.history.records)
    alike = [place for place, record in enumerate(records) if isinstance(record, kind)]
    meant = [place for place in alike if is_meant(records[place], run.history)]
    records[meant[-1]] = change(records[meant[-1]])
    return {violation.rule for violation in check(History(records, CHECK_PERIOD))}


def in_view(**parts: Any) -> Callable[[Seen], Seen]:
    return lambda seen: seen._replace(view=seen.view._replace(**parts))


def has_turned(call: Called, history: History) -> bool:
    """Whether its circuit has turned in its process: else there is nothing that it could contradict."""
    return (call.who, call.name) in history.by(Turned, "who", "name")


TOLD_OTHERWISE: dict[str, tuple[type, Callable[[Any], Any], Callable[[Any, History], bool]]] = {
    "an epoch has one transition": (Seen, in_view(actor="somebody"), lambda seen, _: seen.number == 0),
    "epochs and versions grow": (Seen, in_view(version=1), lambda seen, _: seen.number == 0),
    "edges are legal": (
        Read,
        lambda read: read._replace(lines=[line._replace(reason="healed") for line in read.lines]),
        lambda read, _: bool(read.lines),
    ),
    "results count in their own epoch": (
        Seen,
        in_view(epoch=1),
        lambda seen, _: seen.view.verdict is Verdict.COUNTED,
    ),
    "deadlines are told late not early": (
        Seen,
        lambda seen: in_view(remaining_ms=seen.view.remaining_ms - 2)(seen),
        lambda seen, _: seen.view.verdict is Verdict.OPENED and seen.view.mode is None,
    ),
    "leases keep to the limit": (Slots, lambda slots: slots._replace(live=9), lambda slots, _: True),
    "a slot is kept no longer than a lease": (
        Slots,
        lambda slots: slots._replace(longest=10**7),
        lambda slots, _: True,
    ),
    "a lease is for one probe of its epoch": (
        Held,
        lambda held: held._replace(epoch=1),
        lambda held, _: True,
    ),
    "nobody goes back": (Kept, lambda kept: kept._replace(version=1), lambda kept, _: True),
    "each process keeps to its own machine": (
        Turned,
        lambda turned: turned._replace(generation=0),
        lambda turned, _: True,
    ),
    "calls go out as the circuit says": (
        Called,
        lambda called: called._replace(generation=7_777),
        has_turned,
    ),
    "all is well in the end": (
        Final,
        lambda final: final._replace(state=CircuitState.OPEN),
        lambda final, _: final.who == "server",
    ),
    "all agree in the end": (Final, lambda final: final._replace(version=1), lambda final, _: True),
}


@pytest.mark.parametrize("rule", TOLD_OTHERWISE)
def test_a_history_with_one_false_record_is_found_out(run, rule):
    assert rule in told_otherwise(run, *TOLD_OTHERWISE[rule])


# -- Faults in the processes ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_processes_is_found(tmp_path, fault):
    if GIVEN:
        pytest.skip("the server in CIRCUITRY_TEST_REDIS_URL isn't ours to kill")
    history, found = verdict(Run(FAULTY_SEED, 6.0, tmp_path, HERE[-1], fault=fault))
    assert {violation.rule for violation in found} & FAULTS[fault].found_by, f"seed {FAULTY_SEED}"
    assert history.of(Final)


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_can_still_be_put_in(fault):
    from circuitry.redis import script, session, shared

    texts = {module.__name__: Path(str(module.__file__)).read_text() for module in (session, shared)}
    texts[LUA] = script.SOURCE
    for change in FAULTS[fault].changes:
        assert changed(texts[change.place], change) != texts[change.place]
    assert FAULTS[fault].found_by <= set(RULES)


# -- The parts of a run --------------------------------------------------------------------------------------


def test_a_seed_says_all_that_happens():
    assert plan(1, 10.0) == plan(1, 10.0)
    assert plan(1, 10.0) != plan(2, 10.0)
    kinds = {step.kind for seed in range(20) for step in plan(seed, 10.0)}
    assert kinds == {*TROUBLES, "down"}


def test_what_is_recorded_is_read_as_it_was(run, tmp_path):
    for number, record in enumerate(run.history.records):
        if number % 10 == 0:
            Writer(tmp_path / "some").write(record)
    kept = [record for number, record in enumerate(run.history.records) if number % 10 == 0]
    assert read([tmp_path / "some"]) == kept


def test_a_record_that_was_cut_off_is_left_out(tmp_path):
    writer = Writer(tmp_path / "cut")
    writer.write(Link(1, "a", True))
    with (tmp_path / "cut").open("ab") as file:
        file.write(b'["Link", 2, "a"')
    assert read([tmp_path / "cut"]) == [Link(1, "a", True)]


def test_the_board_is_one_for_all(tmp_path):
    one, other = (Board(tmp_path / "board", ["a", "b"]) for _ in range(2))
    one.phase = 2
    one.set_down("b", range(1, 2), True)
    assert other.phase == 2
    assert [other.is_down("b", place) for place in range(3)] == [False, True, False]
    assert not any(other.is_down("a", place) for place in range(PLACES))
