"""The simulation behind docs/policies.md: what it shows, it shows of a world that is as it is said to be."""

from __future__ import annotations

import itertools
import math
import random
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

pytest.importorskip("benchmarks.policies", reason="benchmarks/ isn't here: `python -m pytest` finds it")

from benchmarks.policies import __main__ as program
from benchmarks.policies.bars import BARS, Results, judge
from benchmarks.policies.contenders import NOTHING, POLICIES, Policy
from benchmarks.policies.engine import Engine
from benchmarks.policies.measures import Tally, measure, middle
from benchmarks.policies.plots import COLOURS
from benchmarks.policies.report import percent, seconds
from benchmarks.policies.scenarios import SCENARIOS, Scenario
from benchmarks.policies.simulation import Simulation, live_through
from benchmarks.policies.world import (
    ALL,
    LATENCY,
    SHARDS,
    SPREAD,
    Call,
    Dependency,
    Fault,
    Fleet,
    Server,
    calls,
)

SMALL = Fleet(processes=2)
NAMED = {scenario.name: scenario for scenario in SCENARIOS}
POLICY = {policy.name: policy for policy in POLICIES}


def small(name: str, **changes: Any) -> Scenario:
    """One of the scenarios, with a fifth of the fleet, and of the server if it stands on one."""
    scenario = NAMED[name]
    server = scenario.server and replace(scenario.server, capacity=scenario.server.capacity / 5)
    return replace(scenario, fleet=replace(scenario.fleet, processes=2), server=server, **changes)


def short(fault: Fault, fleet: Fleet = SMALL, **more: Any) -> Scenario:
    return Scenario("short", "a test's own", fault, fleet, **{"tail": 20.0, **more})


def run(scenario: Scenario, policy: Policy = NOTHING, seed: int = 1, noise: float = 0.0) -> Tally:
    return live_through(scenario, [policy], seed, noise)[policy.name]


def call(at: float = 0.0, luck: float = 0.5) -> Call:
    return Call(at, 0, 0, luck, LATENCY)


# -- The clock ---------------------------------------------------------------------------------------


def test_events_happen_in_the_order_of_their_times_and_then_of_their_planning() -> None:
    engine, seen = Engine(), []
    for time, name in ((2.0, "c"), (1.0, "a"), (1.0, "b")):
        engine.at(time, lambda name: seen.append((engine.clock(), name)), name)
    engine.run()
    assert seen == [(1.0, "a"), (1.0, "b"), (2.0, "c")]


def test_nothing_can_be_planned_for_the_past() -> None:
    engine = Engine()
    engine.at(5.0, lambda: engine.at(4.0, print))
    with pytest.raises(ValueError, match=r"4\.0 s is past"):
        engine.run()


# -- Chance ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_the_same_seed_gives_the_same_run(policy: Policy) -> None:
    scenario = small("outage", tail=30.0)
    assert run(scenario, policy, noise=0.05) == run(scenario, policy, noise=0.05)


def test_another_seed_gives_another_run() -> None:
    scenario = short(Fault(10.0, 30.0, errors=0.5))
    assert run(scenario, seed=1) != run(scenario, seed=2)


def test_the_module_random_goes_on_as_if_there_had_been_no_run() -> None:
    random.seed(7)
    expected = random.random()
    random.seed(7)
    run(small("outage"), POLICY["backoff"])
    assert random.random() == expected


def test_all_policies_see_the_same_calls() -> None:
    runs = live_through(small("outage", tail=0.0), POLICIES, seed=1)
    assert len({(tally.requests, *tally.came.items()) for tally in runs.values()}) == 1


def test_calls_come_at_the_rate_that_is_said_and_to_all_shards_alike() -> None:
    came = list(calls(Fleet(processes=3, rate=20.0, other_rate=10.0), 400.0, "rate"))
    assert len(came) == pytest.approx(3 * 30 * 400, rel=0.02)
    assert all(earlier.at < later.at for earlier, later in itertools.pairwise(came))
    for shard in range(SHARDS):
        assert sum(each.shard == shard for each in came) == pytest.approx(3 * 20 * 400 / SHARDS, rel=0.08)


# -- The script --------------------------------------------------------------------------------------


def test_a_fault_befalls_its_shards_from_its_beginning_to_its_end() -> None:
    dependency = Dependency((Fault(10.0, 20.0, frozenset({1, 2}), errors=1.0),), noise=0.0)
    for now, shard, is_well in (
        (9.9, 1, True),
        (10.0, 1, False),
        (19.9, 2, False),
        (20.0, 2, True),
        (15, 3, True),
    ):
        assert dependency.answer(call(), dependency.faults(shard, now), now).succeeds is is_well
        assert dependency.health(shard, now) == is_well


def test_errors_rise_in_a_line_and_stay() -> None:
    fault = Fault(100.0, 400.0, errors=0.05, rise=120.0)
    assert [fault.error_rate(now) for now in (100.0, 160.0, 220.0, 399.0)] == [0.0, 0.025, 0.05, 0.05]


def test_a_call_fails_where_its_luck_is_below_noise_and_errors_together() -> None:
    dependency = Dependency((Fault(0.0, 10.0, errors=0.2),), noise=0.1)
    answers = [dependency.answer(call(luck=luck), dependency.faults(0, 1.0), 1.0) for luck in (0.29, 0.31)]
    assert [answer.succeeds for answer in answers] == [False, True]


def test_a_call_that_hangs_fails_when_its_caller_gives_up() -> None:
    dependency = Dependency((Fault(0.0, 10.0, hangs=True),), timeout=7.0)
    assert dependency.answer(call(), dependency.faults(0, 9.0), 9.0) == (7.0, False)


def test_calls_that_wait_for_longer_than_their_callers_fail_and_are_served_all_the_same() -> None:
    server = Server(capacity=1.0, queue=10.0)
    dependency = Dependency(timeout=1.5, noise=0.0, server=server)
    assert [dependency.answer(call(), (), 0.0).succeeds for _ in range(3)] == [True, False, False]
    assert server.wait(0.0) == 3.0
    assert dependency.health(0, 0.0) == 0.0


def test_a_server_turns_away_who_would_wait_too_long_and_pays_for_that() -> None:
    server = Server(capacity=2.0, queue=0.4, refusal=0.5)
    assert [server.serve(0.0), server.serve(0.0)] == [0.5, None]
    assert server.wait(0.0) == 0.75


def test_a_server_that_warms_up_gets_its_capacity_back_in_a_line() -> None:
    fault = Fault(10.0, 20.0, capacity=0.5, warms_up=True)
    assert [fault.capacity_at(now) for now in (10.0, 15.0, 20.0)] == [0.5, 0.75, 1.0]
    assert Fault(10.0, 20.0, capacity=0.5).capacity_at(15.0) == 0.5


def test_half_of_the_capacity_takes_twice_the_time() -> None:
    assert Server(capacity=2.0, queue=9.0).serve(0.0, share=0.5) == 1.0


@pytest.mark.parametrize("name", ["dead-3", "errors", "ramp"])
def test_what_succeeds_without_a_breaker_is_what_the_script_lets_succeed(name: str) -> None:
    """Counted from the calls alone, where nothing is scarce."""
    scenario = small(name)
    fault = scenario.fault
    expected = 0
    for each in calls(SMALL, scenario.end, f"{scenario.name}, 1"):
        if fault.begin <= each.at < fault.end:
            rate = fault.errors * (min(1, (each.at - fault.begin) / fault.rise) if fault.rise else 1)
            expected += each.luck >= (rate if each.shard in fault.shards else 0)
    assert run(scenario).successes == expected


# -- What is known of such systems, apart from this one ------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_where_nothing_fails_everything_succeeds_whatever_the_policy(policy: Policy) -> None:
    tally = run(short(Fault(10.0, 60.0)), policy)
    assert (tally.successes, tally.rejections, tally.openings) == (tally.requests, 0, [])
    assert tally.went_well == tally.came


def test_in_flight_are_as_many_as_come_in_a_second_times_the_seconds_they_take() -> None:
    """Little's law."""
    fleet = Fleet(processes=5, rate=100.0)
    scenario = short(Fault(0.0, 20.0), fleet)
    simulation = Simulation(scenario, NOTHING, calls(fleet, scenario.end, "little"), "little")
    in_flight: list[int] = []
    for tick in range(50, 1950):
        simulation.engine.at(tick / 50, lambda: in_flight.append(sum(simulation.busy)))
    simulation.run()
    mean_latency = LATENCY * math.exp(SPREAD**2 / 2)
    assert statistics.fmean(in_flight) == pytest.approx(500 * mean_latency, rel=0.03)
    assert simulation.busy == [0] * 5


def test_calls_wait_at_the_server_as_pollaczek_and_khinchine_say() -> None:
    """Poisson arrivals, one server, each call the same work: rho / (2 mu (1 - rho)) in the queue."""
    server, waits = Server(capacity=100.0, queue=math.inf), []
    for each in calls(Fleet(processes=1, rate=70.0), 1000.0, "queue"):
        waits.append(server.wait(each.at))
        server.serve(each.at)
    assert statistics.fmean(waits) == pytest.approx(0.7 / (2 * 100 * (1 - 0.7)), rel=0.05)


def test_calls_find_no_worker_as_often_as_erlang_says() -> None:
    """Poisson arrivals, ten workers, each call the same time, no queue: Erlang's formula B."""
    fleet = Fleet(processes=1, rate=4.0, workers=10, timeout=2.0)
    tally = run(short(Fault(0.0, 5000.0, hangs=True), fleet))
    blocked = 1.0
    for workers in range(1, 11):
        blocked = 8.0 * blocked / (workers + 8.0 * blocked)
    assert 1 - tally.attempts / tally.requests == pytest.approx(blocked, rel=0.1)


def test_other_work_needs_a_worker_and_no_dependency() -> None:
    for workers, all_of_it in ((1000, True), (3, False)):
        fleet = Fleet(processes=1, rate=5.0, other_rate=5.0, workers=workers, timeout=10.0)
        scenario = short(Fault(0.0, 60.0, hangs=True), fleet)
        others = [each for each in calls(fleet, 60.0, "short, 1") if each.shard is None]
        assert (run(scenario).successes == len(others)) is all_of_it


def test_every_call_gives_its_worker_back_also_one_that_is_rejected() -> None:
    scenario = small("hang", tail=20.0)
    simulation = Simulation(scenario, POLICY["default"], calls(scenario.fleet, scenario.end, "busy"), "busy")
    assert simulation.run().rejections > 0
    assert simulation.busy == [0, 0]


def test_a_call_is_tried_as_often_as_it_may_be_and_counts_once() -> None:
    tally = run(short(Fault(0.0, 60.0), replace(SMALL, attempts=3)), noise=1.0)
    assert (tally.attempts, tally.successes) == (3 * tally.requests, 0)
    assert tally.requests == sum(tally.came[number] for number in range(12))


# -- What the policies are worth -----------------------------------------------------------------------


@pytest.mark.parametrize(("dead", "noise"), [(1, 0.02), (3, 0.0), (6, 0.02)])
def test_keyed_circuits_turn_away_no_call_to_a_healthy_shard(dead: int, noise: float) -> None:
    scenario = small(f"dead-{dead}", tail=10.0)
    without = run(scenario, NOTHING, noise=noise)
    came = measure(run(scenario, POLICY["keyed"], noise=noise), without)
    assert came.kept == 1.0
    assert came.sent_share < 0.2


def test_an_overload_outlasts_its_trigger_unless_somebody_sheds_load() -> None:
    scenario = small("overload", tail=20.0)
    without = run(scenario)
    assert measure(without, without).well_after == math.inf
    assert measure(run(scenario, POLICY["backoff"]), without).well_after < 30


@pytest.fixture(scope="module")
def idle() -> Results:
    """What doing nothing comes to in all scenarios that bars ask for, made small."""
    names = {name for bar in BARS for name in bar.scenarios}
    tallies = {name: run(small(name)) for name in names}
    return {(name, NOTHING.name): [measure(tally, tally)] for name, tally in tallies.items()}


def test_a_policy_that_does_nothing_fails_a_bar(idle: Results) -> None:
    failed = [verdict.bar.name for verdict in judge(idle, [NOTHING]) if not verdict.is_met]
    assert failed == ["dead cut", "outage"]


def test_bars_that_a_policy_meets_by_doing_nothing_are_refused(idle: Results) -> None:
    results = {key: [replace(runs[0], sent_share=0.0)] for key, runs in idle.items()}
    with pytest.raises(AssertionError, match="worth nothing"):
        judge(results, [NOTHING])


def test_a_bar_is_judged_by_the_worst_run(idle: Results) -> None:
    bad = {key: [*runs, replace(runs[0], rejected=0.2)] for key, runs in idle.items()}
    for results, is_met in ((idle, True), (bad, False)):
        ramp = next(verdict for verdict in judge(results, [NOTHING]) if verdict.bar.name == "ramp")
        assert ramp.is_met is is_met


def test_each_bar_is_asked_of_those_it_is_about() -> None:
    asked = {bar.name: {policy.name for policy in POLICIES if bar.is_asked(policy)} for bar in BARS}
    everyone = {policy.name for policy in POLICIES}
    assert (
        asked["healthy kept"] == asked["dead cut"] == {name for name in everyone if name.startswith("keyed")}
    )
    assert asked["errors"] == {name for name in everyone if name.startswith("adaptive")}
    assert asked["ramp"] == asked["outage"] == asked["recovery"] == everyone


def test_a_bar_is_left_out_where_its_scenario_wasnt_run(idle: Results) -> None:
    results = {key: runs for key, runs in idle.items() if key[0] == "ramp"}
    assert [verdict.bar.name for verdict in judge(results, [NOTHING])] == ["ramp"]


# -- What is measured ----------------------------------------------------------------------------------


def tally(**what: Any) -> Tally:
    given = {"requests": 100, "successes": 50, "attempts": 80, "rejections": 20, "sent_into_fault": 10}
    return Tally(short(Fault(10.0, 30.0, errors=1.0)), **{**given, **what})


def test_shares_are_of_what_came_and_of_what_was_tried() -> None:
    came = measure(tally(kept_from_fault=30), tally(successes=80))
    assert (came.goodput, came.kept, came.rejected, came.sent_share) == (0.5, 0.625, 0.2, 0.25)
    assert measure(tally(), tally(successes=0)).kept == math.inf


def test_a_circuit_that_opens_while_most_calls_would_succeed_opens_falsely() -> None:
    opened = [("a", 15.0, 0.7), ("b", 16.0, 0.5), ("c", 16.0, 0.4)]
    assert measure(tally(openings=opened), tally()).false_opens == 2


def test_the_time_to_open_is_the_median_of_the_circuits_that_it_concerns() -> None:
    opened = [("a", 5.0, 0.0), ("a", 12.0, 0.0), ("a", 13.0, 0.0), ("b", 17.0, 0.0), ("other", 11.0, 0.0)]
    assert measure(tally(openings=opened, watched={"a", "b"}), tally()).opens_after == 2.0
    assert measure(tally(openings=opened, watched={"a", "b", "c", "d", "e"}), tally()).opens_after == math.inf


@pytest.mark.parametrize(("last", "expected"), [(-math.inf, 0.0), (20.0, 0.0), (36.0, 6.0), (46.0, math.inf)])
def test_rejections_end_after_the_last_of_them_unless_there_is_no_end(last: float, expected: float) -> None:
    assert measure(tally(last_rejection=last), tally()).rejects_until == expected


def test_it_is_well_again_after_the_last_bin_in_which_it_is_not() -> None:
    scenario = short(Fault(10.0, 30.0, errors=1.0))
    came = tally()
    came.came.update(dict.fromkeys(range(10), 100))
    came.went_well.update({**dict.fromkeys(range(10), 95), 3: 0, 7: 94})
    assert scenario.end == 50.0
    assert measure(came, tally()).well_after == 10.0  # the bin from 35 s to 40 s
    came.went_well[9] = 94
    assert measure(came, tally()).well_after == math.inf


def test_of_several_runs_the_median_is_shown() -> None:
    runs = [measure(tally(successes=count), tally()) for count in (10, 90, 40)]
    assert middle(runs).goodput == 0.4


# -- What is shown -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0.0, "0 %"), (0.0004, "< 0.1 %"), (0.123, "12.3 %"), (0.2, "20 %"), (0.99999, "> 99.9 %"),
        (1.0, "100 %"), (1.487, "148.7 %"), (4.31, "4.3 times"), (math.inf, "-"),
    ],
)  # fmt: skip
def test_what_is_said_to_be_all_or_nothing_is(share: float, words: str) -> None:
    assert percent(share) == words


def test_a_time_without_end_is_said_in_words() -> None:
    assert [seconds(3.0), seconds(3.14), seconds(math.inf), seconds(math.inf, "-")] == [
        "3 s",
        "3.1 s",
        "never",
        "-",
    ]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scenarios that take no time."""
    fleet = Fleet(processes=1, rate=5.0)
    scenarios = [replace(each, fleet=fleet, server=None, aftermath=0.0, tail=5.0) for each in SCENARIOS]
    monkeypatch.setattr(program, "SCENARIOS", scenarios)


@pytest.mark.usefixtures("quick")
def test_the_program_prints_tables_for_docs_and_draws(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    only = ["dead-1", "dead-3", "dead-6", "outage", "hang"]
    chosen = [word for name in only for word in ("--only", name)]
    assert program.main([*chosen, "--seeds", "1", "--jobs", "1", "--markdown", "--svg", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    for table in printed.split("\n\n"):
        if table.startswith("|"):
            assert len({line.count("|") for line in table.splitlines()}) == 1, table
    for policy in POLICIES:
        assert f"| {policy.name} | " in printed
    assert {path.name for path in tmp_path.iterdir()} == {"policies-shards.svg", "policies-hang.svg"}
    for path in tmp_path.iterdir():
        texts = [node.text for node in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")]
        assert NOTHING.name in texts


def test_each_policy_that_is_drawn_has_a_colour_of_its_own_in_its_plot() -> None:
    for names in (program.DRAWN_DEAD, *(names for _, names in program.DRAWN.values())):
        assert len({COLOURS[name] for name in names}) == len(names)


@pytest.mark.usefixtures("quick")
def test_several_processes_say_the_same_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for jobs in ("1", "2"):
        program.main(["--only", "outage", "--seeds", "2", "--jobs", jobs, "--noise", "0.02"])
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    assert "seeds 1 to 2" in said[0]
    assert "2 % of the calls fail on a good day" in said[0]


@pytest.mark.parametrize("wrong", [["--seeds", "0"], ["--noise", "1"], ["--only", "weather"]])
def test_what_cant_be_run_is_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        program.main(wrong)
    assert wrong[0] in capsys.readouterr().err


def test_policies_guard_what_they_are_said_to() -> None:
    assert NOTHING.circuits("a", Engine().clock) is None
    one = POLICY["default"].circuits("a", Engine().clock)
    each = POLICY["keyed"].circuits("a", Engine().clock)
    assert one is not None
    assert each is not None
    assert len(set(map(id, one))) == 1
    assert [circuit.name for circuit in each] == [f"a[{shard}]" for shard in range(SHARDS)]
    assert POLICY["default"].guarded(3) == ALL
    assert POLICY["keyed"].guarded(3) == {3}
