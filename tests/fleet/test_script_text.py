"""What is said to the script and how its replies are read, without a server."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuitry.redis.keys import Naming
from circuitry.redis.script import MEMBER_RIGHTS, OBSERVER_RIGHTS, SOURCE, Rules, Script, compact
from circuitry.redis.views import Refusal, history_of, message_of, refusal, view_of, views_of
from circuitry.states import CircuitState, Limits, Outcome

pytestmark = pytest.mark.core

REPLY = [
    *("opened", "open", "shadow", "1700000000000005", "1700000000000007", "0", "9000", "1", "2", "down"),
    *("tripped", "a", "60000", "3", "3/2/10000/2", "0", "1800000000000000"),
]
RULES = Rules(3, 2, 10_000, 2, 5_000, 60_000)


# -- Commands --------------------------------------------------------------------------------------


def test_a_command_names_all_keys_of_its_circuit():
    script = Script(Naming("p:"), "a", db=4)
    subject = script.subject("netflix", RULES)
    keys, argv = script.batch(subject, 17, 12, [2, 0], "down")
    assert keys == Naming("p:").keys("netflix")
    assert argv[:6] == ("batch", "", "p:events:4", "a", "netflix", "17")
    assert argv[6:14] == ("3", "2", "10000", "2", "5000", "60000", "1", "30000")
    assert argv[14:] == ("12", "1", "", "down", "2", "0")


def test_a_sync_takes_many_circuits():
    script = Script(Naming(), "a")
    asked = [(script.subject(name, RULES), known) for name, known in (("x", 1), ("y", 2))]
    command = script.sync(*asked)
    assert command.keys == (*Naming().keys("x"), *Naming().keys("y"))
    assert command.tail[:1] + command.tail[15:17] == (14, "sync", "")


def test_a_command_is_run_by_its_hash():
    script = Script(Naming(), "a")
    ran = []
    script.run(lambda *args: ran.append(args), script.acquire(script.subject("x", RULES), 0, "t"))
    assert [args[:3] for args in ran] == [("EVALSHA", script.sha, 7)]


def test_a_server_that_lacks_the_script_is_given_it():
    script = Script(Naming(), "a")
    command = script.done(script.subject("x", RULES), 0, 5, "t", Outcome.FAILURE, "down")
    ran = []

    def execute(*args):
        ran.append(args)
        if args[0] == "EVALSHA":
            raise ValueError("No matching script. Please use EVAL.")
        return "reply"

    assert script.run(execute, command) == "reply"
    assert ran == [script.by_sha(command), script.by_source(command)]
    assert ran[1][1] == SOURCE


def test_another_error_is_not_hidden():
    script = Script(Naming(), "a")
    ran = []

    def execute(*args):
        ran.append(args)
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        script.run(execute, script.reset(script.subject("x", RULES), 0, "eva"))
    assert len(ran) == 1


# -- Rules -------------------------------------------------------------------------------------------


def test_rules_come_from_the_limits_of_a_circuit():
    rules = Rules.of(Limits(5, 3, 30.0, 3, 30.0), quorum=2)
    assert rules == (5, 3, 30_000, 3, 5_000, 120_000, 2, 30_000)
    assert rules.fingerprint == "5/3/30000/3"


def test_a_lease_is_never_longer_than_a_probe_may_take():
    assert Rules.of(Limits(probe_timeout=0.25)).lease_ms == 250


def test_keys_outlast_the_checks_also_of_a_circuit_with_a_short_timeout():
    rules = Rules.of(Limits(timeout_duration=0.5), check_period=20.0)
    assert (rules.keep_ms, rules.presence_ms) == (120_000, 60_000)


def test_durations_are_rounded_up_to_milliseconds_and_have_an_end():
    assert Rules.of(Limits(timeout_duration=0.0100001)).timeout_ms == 11
    assert Rules.of(Limits(timeout_duration=1e-9)).timeout_ms == 1
    assert Rules.of(Limits(timeout_duration=1e300)).timeout_ms == 315_360_000_000


def test_a_wait_of_ten_years_keeps_its_digits(make_fleet):
    fleet = make_fleet(timeout_ms=315_360_000_000, keep_ms=4 * 315_360_000_000)
    fleet.open()
    fleet.advance(0.001)
    assert fleet.sync().remaining_ms == 315_360_000_000 - 1
    assert fleet.force(CircuitState.DISABLED, seconds=1e300).mode_ms == 315_360_000_000
    assert fleet.sync().mode == "disabled"


# -- Runs --------------------------------------------------------------------------------------------


def opens(standing: int, runs: list[int], threshold: int) -> tuple[bool, int]:
    """Whether runs open a circuit in which a streak stands; and the streak afterwards."""
    for run in runs:
        standing = standing + run if run else 0
        if standing >= threshold:
            return True, 0
    return False, standing


@given(st.lists(st.integers(0, 4), max_size=12), st.integers(0, 3), st.integers(1, 9))
def test_compact_runs_have_the_same_effect(runs, standing, threshold):
    short = compact(runs)
    assert len(short) <= 5
    if standing < threshold:
        assert opens(standing, list(short), threshold) == opens(standing, runs, threshold)
    assert compact(short) == short


def test_compact_runs_by_example():
    assert compact([]) == ()
    assert compact([1, 1, 1]) == (3,)
    assert compact([0, 0, 0]) == (0,)
    assert compact([1, 0]) == (1, 0)
    assert compact([1, 0, 0, 0, 2]) == (1, 0, 2)
    assert compact([1, 0, 2, 0, 4, 0, 3, 0, 1, 1]) == (1, 0, 4, 0, 2)


# -- Replies -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("decoded", [False, True])
def test_a_reply_becomes_a_view(decoded):
    view = view_of(REPLY if decoded else [part.encode() for part in REPLY])
    assert (view.verdict, view.state, view.mode, view.shown) == ("opened", "open", "shadow", "shadow")
    assert (view.epoch, view.version) == (1700000000000005, 1700000000000007)
    assert (view.failures, view.remaining_ms, view.successes, view.live_probes) == (0, 9000, 1, 2)
    assert (view.cause, view.reason, view.actor) == ("down", "tripped", "a")
    assert (view.mode_ms, view.peers, view.rules, view.renewed) == (60000, 3, "3/2/10000/2", 0)
    assert view.now == 1800000000000000


def test_a_view_is_frozen_and_of_the_words_of_the_machine():
    view = view_of(REPLY)
    assert isinstance(view.state, CircuitState)
    assert isinstance(view.mode, CircuitState)
    with pytest.raises(AttributeError):
        view.state = CircuitState.CLOSED


def test_a_normal_mode_is_none_and_an_empty_cause_too():
    view = view_of(["view", "closed", "normal", *REPLY[3:9], "", *REPLY[10:]])
    assert (view.mode, view.shown, view.cause) == (None, "closed", None)


@pytest.mark.parametrize(
    "reply",
    [None, 5, b"OK", [], REPLY[:-1], [*REPLY, "more"], ["maybe", *REPLY[1:]], [*REPLY[:3], "x", *REPLY[4:]]],
)
def test_what_is_no_view_is_refused(reply):
    with pytest.raises(ValueError, match="not a view"):
        view_of(reply)


def test_views_come_in_order_and_what_are_none_are_refused():
    other = [*REPLY[:-3], "9/9/9/9", *REPLY[-2:]]
    assert [view.rules for view in views_of([REPLY, other])] == ["3/2/10000/2", "9/9/9/9"]
    with pytest.raises(ValueError, match="not views"):
        views_of(b"PONG")
    with pytest.raises(ValueError, match="not a view"):
        views_of([REPLY, None])


def test_a_message_names_its_circuit():
    data = json.dumps(["1", "netflix", *REPLY])
    assert message_of(data) == message_of(data.encode()) == ("netflix", view_of(REPLY))


@pytest.mark.parametrize(
    "data",
    [b"", "hello", b"\xff\xfe", "{}", "[]", '["1"]', '["1", "x", "view"]', "7", '["x", "y"]', "null"],
)
def test_a_message_that_is_not_ours_is_none(data):
    assert message_of(data) is None


def test_a_message_of_a_newer_protocol_says_so_whatever_it_holds():
    name, view = message_of('[2, "netflix", {"all": "new"}]')
    assert (name, view.verdict, view.cause, view.version) == ("netflix", "newer", "protocol 2", 0)


def test_a_history_is_read_and_garbage_in_it_left_out():
    line = {
        "at": 5.25,
        "epoch": 7,
        "from": "closed",
        "to": "open",
        "reason": "tripped",
        "actor": "a",
        "cause": "",
    }
    garbage = [b"", b"[]", b"null", b"{", json.dumps({**line, "to": "ajar"}), json.dumps({"at": 5})]
    lines = history_of([*garbage, json.dumps(line).encode(), json.dumps({**line, "cause": "down"})])
    assert [(entry.at, entry.epoch, entry.old_state, entry.new_state) for entry in lines] == [
        (5.25, 7, "closed", "open")
    ] * 2
    assert [(entry.reason, entry.actor, entry.cause) for entry in lines] == [
        ("tripped", "a", None),
        ("tripped", "a", "down"),
    ]
    assert history_of(None) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("NOSCRIPT No matching script. Please use EVAL.", Refusal.NOSCRIPT),
        ("No matching script. Please use EVAL.", Refusal.NOSCRIPT),
        ("ERR Error running script: -OOM command not allowed when used memory > 'maxmemory'.", Refusal.OOM),
        ("command not allowed when used memory > 'maxmemory'.", Refusal.OOM),
        ("-READONLY You can't write against a read only replica.", Refusal.READONLY),
        ("You can't write against a read only replica.", Refusal.READONLY),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", Refusal.WRONGTYPE),
        ("The user executing the script can't run this command or subcommand", Refusal.NOPERM),
        ("BUSY Redis is busy running a script.", Refusal.BUSY),
        ("LOADING Redis is loading the dataset in memory", Refusal.LOADING),
        ("Connection reset by peer", None),
    ],
)
def test_a_refusal_is_known_by_its_text(text, reason):
    assert refusal(text) is refusal(ValueError(text)) is reason


# -- Rights ------------------------------------------------------------------------------------------


def rights(text: str) -> set[str]:
    return set(re.findall(r"\+(\S+)", text))


def test_the_rights_of_a_member_are_what_the_script_calls_and_what_a_connection_needs():
    called = {name.lower() for name in re.findall(r"redis\.p?call\(\s*'(\w+)'", SOURCE)}
    connection = {"eval", "evalsha", "subscribe", "unsubscribe", "ping", "hello"}
    assert rights(MEMBER_RIGHTS) == called | connection


def test_who_only_looks_has_no_right_to_write():
    reading = {"time", "get", "hmget", "zcount", "zrangebyscore", "lrange", "scan"}
    assert rights(OBSERVER_RIGHTS) - rights(MEMBER_RIGHTS) == {"lrange", "scan"}
    assert rights(OBSERVER_RIGHTS) == reading | {
        "eval",
        "evalsha",
        "subscribe",
        "unsubscribe",
        "ping",
        "hello",
    }


# -- Many circuits at once -----------------------------------------------------------------------------


def test_many_circuits_are_read_in_one_command(make_fleet):
    fleet = make_fleet()
    script = fleet.script()
    subjects = [script.subject(f"circuit {number}", fleet.rules) for number in range(50)]
    views = views_of(script.run(fleet.client.execute_command, script.sync(*((one, 0) for one in subjects))))
    assert len(views) == 50
    command = script.trip(subjects[7], views[7].version, views[7].epoch, "down")
    script.run(fleet.client.execute_command, command)
    again = views_of(script.run(fleet.client.execute_command, script.peek(*subjects)))
    assert [view.state for view in again] == ["closed"] * 7 + ["open"] + ["closed"] * 42
    assert [view.epoch for view in again[:7]] == [view.epoch for view in views[:7]]
