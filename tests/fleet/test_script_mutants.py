"""Each of these faults in the script is found by the test that is named beside it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import NamedTuple

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from circuitry.redis.script import SOURCE

from ..model import comparison
from . import test_script_admin as admin
from . import test_script_calls as calls
from . import test_script_healing as healing
from . import test_script_kept as kept
from . import test_script_pool as pool
from . import test_script_probes as probes
from . import test_script_quorum as quorum
from . import test_script_server as servers
from . import test_script_turns as turns
from .model_driver import FleetDriver
from .servers import on_one_server


class Mutant(NamedTuple):
    """A fault: a text of the script, what it becomes, and the test that finds it."""

    old: str
    new: str
    found_by: Callable[..., None]

    @property
    def source(self) -> str:
        assert SOURCE.count(self.old) == 1, f"the script has {SOURCE.count(self.old)} times: {self.old}"
        return SOURCE.replace(self.old, self.new)


MUTANTS = {
    "it opens one failure late": Mutant(
        "c.failures >= c.failure_threshold",
        "c.failures > c.failure_threshold",
        calls.test_the_threshold_is_the_number_of_failures_that_opens,
    ),
    "runs count in any order": Mutant(
        "    if run == '0' then\n      c.failures, c.streak = 0, ''",
        "    if run == '0' then\n      c.streak = ''",
        calls.test_runs_count_in_their_order,
    ),
    "calls of another epoch count": Mutant(
        "return c.epoch == tonumber(epoch) and c.state == 'closed'",
        "return c.state == 'closed'",
        calls.test_outcomes_of_calls_from_another_epoch_are_stale,
    ),
    "the deadline comes early": Mutant(
        "math.ceil((to - from) / 1000)",
        "math.floor((to - from) / 1000)",
        calls.test_the_time_that_remains_is_rounded_up,
    ),
    "one probe too many": Mutant(
        "live_probes(c) >= c.half_open_max_calls then return 'full'",
        "live_probes(c) > c.half_open_max_calls then return 'full'",
        probes.test_with_limit_one_there_is_one_probe,
    ),
    "a lease lives forever": Mutant(
        "redis.call('ZCOUNT', c.key[kind], '(' .. digits(c.now), digits(c.now + longest))",
        "redis.call('ZCARD', c.key[kind])",
        probes.test_a_lease_that_is_not_renewed_frees_its_slot,
    ),
    "it closes one success late": Mutant(
        "c.successes < c.success_threshold",
        "c.successes <= c.success_threshold",
        probes.test_enough_successes_close_it,
    ),
    "a probe ends twice": Mutant(
        "  if not redis.call('ZSCORE', c.key.probes, token) then return 'unknown' end\n",
        "",
        probes.test_a_probe_ends_once,
    ),
    "a lapsed probe isn't believed": Mutant(
        "  if c.granted then\n",
        "  if c.granted then redis.call('ZREMRANGEBYSCORE', c.key.probes, '-inf', digits(c.now))\n",
        probes.test_a_lapsed_probe_counts_although_another_has_its_slot,
    ),
    "a lapsed lease is renewed": Mutant(
        "local first, last = '(' .. digits(c.now), digits(c.now + longest_lease(c))",
        "local first, last = '-inf', '+inf'",
        probes.test_a_lapsed_lease_is_not_renewed,
    ),
    "leases outlive their epoch": Mutant(
        "  if c.begun then redis.call('DEL', c.key.probes) end\n",
        "",
        probes.test_a_round_begins_with_all_slots_free,
    ),
    "a clock that goes back makes all wait": Mutant(
        "  if c.deadline - c.now > c.wait then",
        "  if false then",
        probes.test_a_clock_that_went_back_does_not_make_the_wait_longer,
    ),
    "the version stands at the same instant": Mutant(
        "math.max(c.version + 1, c.known + 1, c.now)",
        "math.max(c.known, c.now)",
        kept.test_each_change_has_a_greater_version_also_at_the_same_instant,
    ),
    "the version isn't above what members know": Mutant(
        "math.max(c.version + 1, c.known + 1, c.now)",
        "math.max(c.version + 1, c.now)",
        kept.test_a_server_that_has_forgotten_all_begins_an_epoch_above_what_a_member_knows,
    ),
    "what is lost isn't noticed": Mutant(
        "  if c.known > c.version then begin(c, 'lost', shown(c)) end\n",
        "",
        kept.test_a_server_that_has_forgotten_some_says_what_it_has_under_an_epoch_above,
    ),
    "windows of other rules are added up": Mutant(
        "elseif theirs == sign and add(sums, numbers) then",
        "elseif add(sums, numbers) then",
        pool.test_windows_of_another_sign_are_not_added,
    ),
    "a silent member counts for ever": Mutant(
        "if not ends or tonumber(ends) <= c.now then",
        "if not ends then",
        pool.test_a_member_that_is_not_heard_of_counts_for_as_long_as_it_has_said,
    ),
    "windows outlive their epoch": Mutant(
        "  if c.begun or c.told and c.failures == 0 then\n",
        "  if c.told and c.failures == 0 then\n",
        pool.test_a_transition_forgets_the_windows,
    ),
    "what was drawn isn't heeded": Mutant(
        "c.wait = waits and (c.drawn or c.timeout) or 0",
        "c.wait = waits and c.timeout or 0",
        pool.test_it_stays_open_for_as_long_as_was_drawn,
    ),
    "openings are never forgotten": Mutant(
        "  if c.state == 'closed' or c.mode ~= 'normal' and c.mode ~= 'shadow' then\n",
        "  if false then\n",
        pool.test_having_closed_it_counts_anew,
    ),
    "a version loses digits": Mutant(
        "return string.format('%.0f', number)",
        "return tostring(number)",
        kept.test_the_version_is_the_time_in_microseconds,
    ),
    "a slot that is free again isn't published": Mutant(
        "c.begun or c.makes_room",
        "c.begun",
        kept.test_a_slot_that_is_free_again_is_published_for_those_who_were_told_full,
    ),
    "the first failure isn't published": Mutant(
        "(c.failures > 0) == (c.failures_before > 0)",
        "c.failures > 0",
        kept.test_the_first_failure_and_the_end_of_a_streak_are_published,
    ),
    "an order expires with its keys": Mutant(
        "  if c.mode ~= 'normal' and c.mode_end == 0 then return nil end\n",
        "",
        kept.test_an_order_is_kept_for_ever,
    ),
    "an order doesn't end": Mutant(
        "c.mode_end > 0 and c.now >= c.mode_end",
        "c.mode_end > 0 and c.now > c.mode_end",
        admin.test_an_order_with_an_end_ends,
    ),
    "one member opens it for all": Mutant(
        " and count(c.streak) >= needed",
        "",
        quorum.test_one_broken_member_does_not_open_it_for_all,
    ),
    "who was in the streak stays in it": Mutant(
        "      c.failures, c.streak = 0, ''\n    else",
        "      c.failures = 0\n    else",
        quorum.test_a_success_also_forgets_who_was_in_the_streak,
    ),
    "a broken member probes first": Mutant(
        "if is_barred(c) or live_probes(c)",
        "if live_probes(c)",
        turns.test_the_member_waits_for_the_others,
    ),
    "others' hands aren't seen": Mutant(
        "elseif not is_whole or found ~= c.state then",
        "elseif not is_whole then",
        healing.test_a_circuit_opened_by_hand_is_open,
    ),
    "a newer protocol is overwritten": Mutant(
        "(whole(stored.protocol) or 0) > PROTOCOL",
        "false",
        healing.test_a_newer_protocol_gives_no_verdict_and_is_left_alone,
    ),
    "who looks writes": Mutant(
        "  if c.reading then return end\n  if c.changed",
        "  if c.changed",
        healing.test_who_only_looks_sees_it_healed_and_writes_nothing,
    ),
    "the state is written last": Mutant(
        "  redis.call('SET', c.key.state, c.state)\n  write_meta(c)\n  write_failures(c)\n",
        "  write_failures(c)\n  redis.call('SET', c.key.state, c.state)\n  write_meta(c)\n",
        servers.test_without_memory_nothing_is_half_done,
    ),
}

#: Faults that a circuit on its own could have as well.
LOCAL = (
    "it opens one failure late",
    "runs count in any order",
    "calls of another epoch count",
    "one probe too many",
    "a lease lives forever",
    "it closes one success late",
    "a lapsed probe isn't believed",
)


@pytest.fixture
def run(request, make_fleet):
    """Run a test of another module on a script with this text."""

    def run(test: Callable[..., None], source: str) -> None:
        make = functools.partial(make_fleet, source=source)
        assert make().peek().verdict == "view"  # it is still a script
        prepare = getattr(inspect.getmodule(test), "prepare", lambda make: make())
        own = {"make_fleet": lambda: make, "fleet": lambda: prepare(make)}
        names = inspect.signature(test).parameters
        test(**{name: own[name]() if name in own else request.getfixturevalue(name) for name in names})

    return run


@on_one_server
@pytest.mark.parametrize("fault", MUTANTS)
def test_a_fault_is_found(run, fault):
    run(MUTANTS[fault].found_by, SOURCE)
    with pytest.raises((Exception, pytest.fail.Exception)):
        run(MUTANTS[fault].found_by, MUTANTS[fault].source)


@pytest.mark.slow
@on_one_server
@pytest.mark.parametrize("fault", LOCAL)
def test_the_model_finds_a_fault_that_a_circuit_on_its_own_could_have(make_fleet, fault):
    make = functools.partial(make_fleet, source=MUTANTS[fault].source)
    given = settings(max_examples=300, stateful_step_count=40, phases=[Phase.generate])
    with pytest.raises(AssertionError):
        run_state_machine_as_test(
            lambda: comparison.Comparison(functools.partial(FleetDriver, make_fleet=make)), settings=given
        )
