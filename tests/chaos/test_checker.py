"""The checker finds what is wrong in a history, and nothing where all is well."""

from __future__ import annotations

import ast
import itertools
from pathlib import Path

import pytest

from circuitry.redis.views import Verdict
from circuitry.states import CircuitState

from . import checker, fleet_rules, history, member_rules, records
from .checker import RULES, History, excerpt
from .records import Act, Called, Failed, Final, Governed, Held, Kept, Link, Read, Said, Seen, Slots, Turned
from .stories import (
    CLOSED,
    CREATED,
    HALF,
    HALF_OPEN,
    LINES,
    OPEN,
    RECOVERED,
    RECOVERY,
    TIMED_OUT,
    TRIP,
    TRIPPED,
    Story,
    at,
    good_story,
    line,
    turned,
    view,
)


@pytest.fixture
def story() -> Story:
    return Story()


def test_in_a_good_history_nothing_is_wrong(story):
    assert story.broken() == set()


@pytest.mark.parametrize("kind", [Act, Called, Governed, Kept, Link, Read, Slots])
def test_what_nobody_has_recorded_breaks_no_rule(story, kind):
    story.records = [record for record in story.records if not isinstance(record, kind)]
    assert story.broken() == set()


def test_it_knows_nothing_of_circuitry_but_views_and_the_names_of_states():
    known = {"circuitry.machine", "circuitry.redis.views"}
    for module in (checker, fleet_rules, member_rules, history, records):
        tree = ast.parse(Path(str(module.__file__)).read_text())
        imports = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert {name for name in imports if name and name.startswith("circuitry")} <= known


def test_a_violation_is_shown_with_what_was_recorded_around_it(story):
    story.see(lambda view: view._replace(live_probes=2), who="a", number=0)
    told = History(sorted(story.records, key=lambda record: getattr(record, "at", 0)), 1.0)
    (violation, *_) = checker.check(told)
    shown = excerpt(told, violation)
    assert "+0.00 ms  a        message: view half_open by timed_out" in "\n".join(shown.splitlines()[-20:])
    assert "Held: token=b:1" in shown


# -- Epochs ----------------------------------------------------------------------------------------------

EPOCH = "an epoch has one transition"
GROW = "epochs and versions grow"
EDGES = "edges are legal"
OWN_EPOCH = "results count in their own epoch"


def test_an_epoch_that_two_members_began(story):
    assert story.see(lambda view: view._replace(actor="c"), who="a", number=0, name="n").broken() == {EPOCH}


def test_an_epoch_that_is_one_thing_in_the_history_and_another_in_a_view(story):
    other = LINES[3]._replace(reason="reset")
    assert story.read(*LINES[:3], other).broken() == {EPOCH}


def test_an_epoch_that_does_not_grow(story):
    lines = [*LINES, line(335, RECOVERED - 1, CLOSED, OPEN, "tripped", "a")]
    assert story.read(*lines).broken() == {GROW}


def test_a_version_that_is_less_than_one_from_before(story):
    later = view(CLOSED, RECOVERED, at(400), "recovered", "b", version=RECOVERED - 5)
    assert GROW in story.add(Seen(at(401), "c", 0, "n", later)).broken()


def test_an_earlier_epoch_under_a_later_version(story):
    later = TRIP._replace(version=RECOVERED + 5, now=at(400), remaining_ms=0)
    assert GROW in story.add(Seen(at(401), "c", 0, "n", later)).broken()


def test_a_version_that_is_two_things(story):
    other = RECOVERY._replace(failures=1)
    assert story.add(Seen(at(332), "c", 0, "n", other)).broken() == {GROW}


@pytest.mark.parametrize(
    "wrong",
    [
        line(320, TIMED_OUT, CLOSED, HALF_OPEN, "timed_out", "b"),
        line(320, TIMED_OUT, OPEN, CLOSED, "recovered", "b"),
        line(320, TIMED_OUT, OPEN, HALF_OPEN, "healed", "b"),
        line(320, TIMED_OUT, OPEN, HALF_OPEN, "reset", "b"),
        line(320, TIMED_OUT, OPEN, CircuitState.DISABLED, "forced_open", "b"),
    ],
)
def test_an_edge_that_no_table_has(story, wrong):
    assert EDGES in story.read(*LINES[:2], wrong, LINES[3]).broken()


def test_a_step_from_where_the_circuit_was_not(story):
    assert story.read(LINES[0], LINES[2], LINES[3]).broken() == {EDGES}


def test_what_an_operator_says_leads_from_any_state_and_shadows_stay_shadows(story):
    shadow, forced = CircuitState.SHADOW, CircuitState.FORCED_OPEN
    orders = [
        line(340, at(340), CLOSED, forced, "forced_open", "ops"),
        line(350, at(350), forced, shadow, "shadowed", "ops"),
        line(360, at(360), shadow, shadow, "tripped", "a"),
        line(370, at(370), shadow, CircuitState.DISABLED, "disabled", "ops"),
        line(380, at(380), CircuitState.DISABLED, CLOSED, "reset", "ops"),
    ]
    assert story.read(*LINES, *orders).broken() == set()


def test_a_beginning_with_nothing_where_nothing_was_lost(story):
    story.add(Read(at(500), "n", [line(400, at(400), CLOSED, CLOSED, "lost", "a")]))
    assert story.broken() == {EDGES}
    for kind, broken in (("script_flush", {EDGES}), ("flushall", set())):
        story.add(Act(at(390), at(391), kind, ""))
        assert story.broken() == broken


@pytest.mark.parametrize(("op", "verdict"), [("batch", Verdict.COUNTED), ("done", Verdict.RELEASED)])
def test_a_result_that_counts_in_another_epoch(story, op, verdict):
    story.add(Said(at(400), "a", 9, op, ["n"], [str(CREATED), "x", "", ""]))
    story.add(Seen(at(401), "a", 9, "n", RECOVERY._replace(verdict=verdict, now=at(400.5))))
    assert story.broken() == {OWN_EPOCH}


def test_a_result_that_opens_the_circuit_from_another_epoch(story):
    story.change(Said, lambda said: said._replace(args=[str(CREATED - 7), *said.args[1:]]), op="batch")
    assert story.broken() == {OWN_EPOCH}


def test_a_result_from_another_epoch_that_counts_nowhere(story):
    story.add(Said(at(400), "a", 9, "batch", ["n"], [str(CREATED), "1", "", "down", "3"]))
    story.add(Seen(at(401), "a", 9, "n", RECOVERY._replace(verdict=Verdict.STALE, now=at(400.5))))
    assert story.broken() == set()


# -- Deadlines -------------------------------------------------------------------------------------------

EARLY = "no probe before the deadline"
TOLD = "deadlines are told late not early"


def test_a_probe_before_the_deadline(story):
    early = line(309, TIMED_OUT, OPEN, HALF_OPEN, "timed_out", "b")
    assert EARLY in story.read(*LINES[:2], early, LINES[3]).broken()
    soon = line(310, TIMED_OUT, OPEN, HALF_OPEN, "timed_out", "b")
    assert EARLY not in story.read(*LINES[:2], soon, LINES[3]).broken()


def test_a_deadline_that_is_told_a_millisecond_early(story):
    assert story.see(lambda view: view._replace(remaining_ms=299), who="b", number=0).broken() == {TOLD}


def test_an_open_circuit_that_says_its_time_is_over_before_it_is(story):
    over = TRIP._replace(now=at(309), remaining_ms=0)
    assert story.add(Seen(at(309.5), "c", 0, "n", over)).broken() == {TOLD}


def test_a_process_that_waits_too_little(story):
    story.change(Turned, lambda turned: turned._replace(deadline=at(309.9)), who="b", generation=1)
    assert story.broken() == {TOLD}


# -- Leases ----------------------------------------------------------------------------------------------

LIMIT = "leases keep to the limit"
ONE_PROBE = "a lease is for one probe of its epoch"
LEASED = "a probe of the fleet has a lease"


def granted(ms: float, token: str = "a:1") -> list[Said | Seen]:
    """Another lease of the same round."""
    probe = HALF._replace(verdict=Verdict.PROBE, now=at(ms), version=TIMED_OUT + 2)
    return [Said(at(ms - 0.5), "a", 7, "acquire", ["n"], [token]), Seen(at(ms + 0.5), "a", 7, "n", probe)]


def longer_round(story: Story) -> Story:
    """As if b's probe ran on, and the epoch with it."""
    story.records = [record for record in story.records if getattr(record, "at", 0) < at(329)]
    story.records += [record for record in good_story() if isinstance(record, Final)]
    return story


def test_two_leases_at_once_where_there_is_one_slot(story):
    assert LIMIT in longer_round(story).add(*granted(919)).broken()


@pytest.mark.parametrize("ms", [920, 1000])
def test_a_lease_that_has_lapsed_counts_no_more(story, ms):
    assert LIMIT not in longer_round(story).add(*granted(ms)).broken()


def test_a_lease_that_was_renewed_counts_longer(story):
    longer_round(story).add(
        Said(at(520), "b", 8, "renew", ["n"], [str(TIMED_OUT), "b:1"]),
        Seen(at(521), "b", 8, "n", HALF._replace(verdict=Verdict.RENEWED, renewed=1, now=at(520.5))),
        *granted(1120),
    )
    assert LIMIT in story.broken()
    story.see(lambda view: view._replace(renewed=0), number=8)
    assert LIMIT not in story.broken()


@pytest.mark.parametrize(
    "end",
    [
        Said(at(400), "b", 8, "done", ["n"], [str(TIMED_OUT), "b:1", "ignored", ""]),  # though no reply came
        Act(at(400), at(401), "flushall", ""),
        Read(at(500), "n", [*LINES[:3], line(400, at(400), HALF_OPEN, OPEN, "probe_failed", "c")]),
    ],
)
def test_a_lease_that_may_have_ended_counts_no_more(story, end):
    assert LIMIT not in longer_round(story).add(end, *granted(500)).broken()


def test_more_leases_than_slots_in_a_view_or_on_the_server(story):
    assert story.see(lambda view: view._replace(live_probes=2), who="a", number=0, at=at(321.2)).broken() == {
        LIMIT
    }
    assert Story().change(Slots, lambda slots: slots._replace(live=2)).broken() == {LIMIT}


def test_a_lease_that_is_granted_for_too_long(story):
    story.change(Slots, lambda slots: slots._replace(longest=600_001))
    assert story.broken() == {"a slot is kept no longer than a lease"}


def test_a_lease_that_is_used_twice(story):
    held = Held(at(322), "b", "n", "b:1", TIMED_OUT, 2, 1)
    assert story.add(held).broken() == {ONE_PROBE}


def test_a_lease_of_another_round(story):
    assert story.change(Held, lambda held: held._replace(epoch=CREATED)).broken() == {ONE_PROBE}


def test_a_lease_that_is_used_after_its_round(story):
    story.add(
        turned(500, "b", 4, CLOSED, HALF_OPEN, "timed_out", RECOVERED),
        *granted(322, "b:2"),
        Held(at(501), "b", "n", "b:2", TIMED_OUT, 4, 0),
    )
    assert ONE_PROBE in story.broken()


def test_a_token_that_is_granted_twice(story):
    twice = granted(322, "b:1")
    assert ONE_PROBE in story.add(*twice).broken()


def test_a_probe_without_a_lease_while_the_fleet_is_to_be_asked(story):
    assert story.remove(Held).broken() == {LEASED}


@pytest.mark.parametrize(
    "reason",
    [
        Failed(at(320), "b", 2, "TimeoutError"),
        Governed(at(320), "b", "n", False),
        Governed(at(318), "b", "n", False),
    ],
)
def test_a_probe_without_a_lease_while_nobody_is_to_be_asked(story, reason):
    assert story.remove(Held).add(reason).broken() == set()


# -- Each process ----------------------------------------------------------------------------------------

BACK = "nobody goes back"
MACHINE = "each process keeps to its own machine"
CALLS = "calls go out as the circuit says"
BEHIND = "nobody is left behind"
OWN_WAY = "nobody goes its own way"
AGREE = "all agree in the end"
WELL = "all is well in the end"


@pytest.mark.parametrize("version", [TRIPPED, RECOVERED])
def test_an_old_view_that_is_taken_for_news(story, version):
    assert story.add(Kept(at(332), "a", "n", version, TRIPPED)).broken() - {BEHIND} == {BACK}


@pytest.mark.parametrize(
    "wrong",
    [
        turned(400, "a", 6, CLOSED, OPEN, "tripped", deadline=at(700)),  # a generation is missing
        turned(400, "a", 5, OPEN, HALF_OPEN, "timed_out"),  # it wasn't there
        turned(400, "a", 5, CLOSED, HALF_OPEN, "timed_out"),  # no table has this
        turned(400, "a", 5, CLOSED, OPEN, "tripped", at(399), deadline=at(700)),  # of an unknown epoch
    ],
)
def test_a_process_that_does_what_its_machine_can_not(story, wrong):
    assert story.add(wrong).broken() == {MACHINE}


def test_a_process_that_probes_before_its_own_deadline(story):
    story.add(turned(400, "a", 5, CLOSED, OPEN, "tripped", deadline=at(700)))
    assert story.broken() == set()
    story.add(turned(699.8, "a", 6, OPEN, HALF_OPEN, "timed_out"))
    assert story.broken() == {MACHINE}


def test_a_call_that_goes_out_while_the_circuit_is_open(story):
    assert story.add(Called(at(200), at(199), "b", "n", -1, -1)).broken() == {CALLS}


@pytest.mark.parametrize(("asked", "given"), [(11.0, 11.25), (329.0, 340.0), (11.25, 200.0)])
def test_a_call_whose_leave_may_have_been_given_while_it_was_closed(story, asked, given):
    assert story.add(Called(at(given), at(asked), "b", "n", -1, -1)).broken() == set()


def test_a_probe_of_a_generation_that_is_over(story):
    assert story.add(Called(at(340), at(339), "b", "n", 2, 0)).broken() == {CALLS}


TROUBLES = pytest.mark.parametrize(
    "trouble",
    [
        Link(at(1000), "a", False),
        Failed(at(1000), "a", 9, "TimeoutError"),
        Act(at(900), at(1000), "freeze", ""),
    ],
)


def test_a_process_that_is_left_behind(story):
    story.change(Kept, lambda kept: kept._replace(at=at(2600)), who="a", version=RECOVERED)
    assert story.broken() == {BEHIND}


@TROUBLES
def test_who_can_not_hear_is_not_left_behind(story, trouble):
    story.change(Kept, lambda kept: kept._replace(at=at(2600)), who="a", version=RECOVERED)
    assert story.add(trouble).broken() == set()


def goes_its_own_way(story: Story) -> Story:
    """b has closed by its own count, of which the fleet hasn't heard for long."""
    return story.change(Governed, lambda governed: governed._replace(at=at(2600)), who="b", is_so=False)


def test_a_process_that_is_closed_while_the_fleet_is_not(story):
    assert goes_its_own_way(story).broken() == {OWN_WAY}


@TROUBLES
def test_who_can_not_ask_goes_its_own_way(story, trouble):
    assert goes_its_own_way(story).add(trouble._replace(**who_b(trouble))).broken() == set()


def who_b(trouble: Act | Failed | Link) -> dict[str, str]:
    return {} if isinstance(trouble, Act) else {"who": "b"}


@pytest.mark.parametrize(
    "change",
    [
        {"state": OPEN},
        {"epoch": TRIPPED},
        {"version": RECOVERED + 1},
        {"effective": OPEN},
    ],
)
def test_somebody_who_stands_elsewhere_in_the_end(story, change):
    assert story.change(Final, lambda final: final._replace(**change), who="a").broken() == {AGREE}


@pytest.mark.parametrize(("state", "effective"), [(OPEN, OPEN), (CLOSED, CircuitState.FORCED_OPEN)])
def test_a_fleet_that_does_not_close_although_all_is_well(story, state, effective):
    for who in ("server", "a", "b"):
        story.change(Final, lambda final: final._replace(state=state, effective=effective), who=who)
    assert story.broken() == {WELL}


def test_nobody_who_says_where_it_stands(story):
    assert story.remove(Final, who="server").broken() == {AGREE}
    assert Story().remove(Final, who="a").remove(Final, who="b").broken() == {AGREE}


def test_each_rule_is_broken_by_one_of_these_tests():
    told = Path(__file__).read_text()
    assert [name for name in RULES if f'"{name}"' not in told] == []
    assert len(list(itertools.chain(RULES))) == 17
