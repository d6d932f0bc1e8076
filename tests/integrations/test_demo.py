"""`circuitry demo`: run for real, as a process of its own, and its parts."""

from __future__ import annotations

import importlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import Any, NamedTuple

import pytest

from circuitry.cli import main
from circuitry.cli.demo.scenario import LONGEST
from circuitry.cli.demo.stage import LAST_ANSWERS

pty = pytest.importorskip("pty", reason="no pseudo-terminals on this system")
fcntl = pytest.importorskip("fcntl")
termios = pytest.importorskip("termios")

#: Long enough for a machine that has other work, too.
SECONDS = "16"
#: CPython 3.11 loses cancellations in traced code: https://github.com/python/cpython/issues/106749
TRACEABLE = sys.version_info >= (3, 12)


class Outcome(NamedTuple):
    """What a run of the demo left behind."""

    status: int
    out: str
    err: str
    seconds: float


class Runs(NamedTuple):
    """The demo in two ways, run at the same time."""

    as_json: Outcome
    on_a_terminal: Outcome
    taken_port: int


@contextmanager
def demo(*options: str, out: int = subprocess.PIPE, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """The demo as a process of its own, which is gone in any case at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "circuitry", "demo", *options],
        stdout=out,
        stderr=subprocess.PIPE,
        text=True,
        env=(dict(os.environ) if TRACEABLE else untraced()) | environment,
        preexec_fn=heed_ctrl_c,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def untraced() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}


def heed_ctrl_c() -> None:
    """What runs in the background may have inherited that Ctrl-C is ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def finish(process: subprocess.Popen[str], since: float) -> Outcome:
    out, err = process.communicate(timeout=60)
    return Outcome(process.returncode, out or "", err, time.monotonic() - since)


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def free_port() -> int:
    with taken_port() as port:
        return port


@pytest.fixture(scope="module")
def runs() -> Runs:
    terminal, its_end = pty.openpty()
    fcntl.ioctl(its_end, termios.TIOCSWINSZ, b"\x1e\x00\x64\x00\x00\x00\x00\x00")  # 30 lines of 100 columns
    since = time.monotonic()
    with (
        taken_port() as taken,
        demo("--json", "--seconds", SECONDS, "--port", str(taken)) as as_json,
        demo("--seconds", SECONDS, out=its_end, TERM="xterm-256color", NO_COLOR="") as picture,
    ):
        os.close(its_end)
        shown = read_to_the_end(terminal)
        return Runs(finish(as_json, since), finish(picture, since)._replace(out=shown), taken)


def read_to_the_end(terminal: int) -> str:
    shown = b""
    try:
        while read := os.read(terminal, 65536):
            shown += read
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(terminal)
    return shown.decode()


@pytest.fixture(scope="module")
def report(runs: Runs) -> dict[str, Any]:
    return json.loads(runs.as_json.out)


def refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


# --- the whole of it ---------------------------------------------------------------------------------------


def test_both_ways_end_well_and_say_nothing_on_stderr(runs: Runs) -> None:
    for outcome in (runs.as_json, runs.on_a_terminal):
        assert (outcome.status, outcome.err) == (0, ""), outcome.err


def test_a_run_takes_as_long_as_asked_and_never_more_than_30_seconds(
    runs: Runs, report: dict[str, Any]
) -> None:
    assert float(SECONDS) - 0.5 < report["seconds"] < float(SECONDS) + LAST_ANSWERS + 5
    assert runs.as_json.seconds < 30
    assert LONGEST + LAST_ANSWERS < 30


def test_the_sick_platform_gets_fewer_requests_with_circuits_than_without(report: dict[str, Any]) -> None:
    guarded, unguarded = report["with_circuits"], report["without_circuits"]
    assert 0 < guarded["requests_while_sick"] < unguarded["requests_while_sick"] / 2


def test_visitors_get_more_pages_and_sooner_with_circuits_than_without(report: dict[str, Any]) -> None:
    guarded, unguarded = report["with_circuits"]["while_sick"], report["without_circuits"]["while_sick"]
    assert guarded["asked"] == unguarded["asked"]
    assert guarded["served"] > unguarded["served"]
    assert guarded["median"] < unguarded["median"]
    assert guarded["median"] <= guarded["p99"]


def test_rejections_are_served_from_the_cache(report: dict[str, Any]) -> None:
    sick = next(it for it in report["circuits"] if it["platform"] == report["sick_platform"])
    whole_run = report["with_circuits"]["whole_run"]
    assert sick["rejected"] == sick["served_from_cache"] > 0
    assert 0 < whole_run["served_with_cached_row"] <= whole_run["served"]
    assert 0 < whole_run["oldest_cached_row"] < report["seconds"]
    assert report["without_circuits"]["whole_run"]["served_with_cached_row"] == 0


def test_the_circuit_opens_at_each_fault_and_recovers_from_each(report: dict[str, Any]) -> None:
    sick = next(it for it in report["circuits"] if it["platform"] == report["sick_platform"])
    assert sick["opened"] >= 3
    assert sick["recovery_attempts"] >= 3
    assert [it["fault"] for it in report["recoveries"]] == ["errors", "hanging", "slow"]
    assert all(it["seconds"] is not None for it in report["recoveries"])
    assert report["recovered"]


def test_no_server_is_left(report: dict[str, Any]) -> None:
    assert len(report["ports"]) == 5
    assert all(refuses(port) for port in report["ports"].values())


def test_a_taken_port_is_no_problem(runs: Runs, report: dict[str, Any]) -> None:
    assert report["ports"]["gateway-with-circuits"] not in (0, runs.taken_port)


def test_on_a_terminal_it_draws_a_picture_and_gives_the_cursor_back(runs: Runs) -> None:
    shown = runs.on_a_terminal.out
    for sign in ("\x1b[32m● closed", "\x1b[31m○ open", "█", "closed → open"):
        assert sign in shown
    assert shown.index("\x1b[?25l") < shown.rindex("\x1b[?25h")
    assert "requests that reached Prime Video while sick" in shown[shown.rindex("\x1b[?25h") :]


def test_ctrl_c_stops_everything_at_once() -> None:
    port = free_port()
    address = f"http://127.0.0.1:{port}/catalog?region=DE"
    with demo("--seconds", SECONDS, "--port", str(port)) as process:
        lines = read_until(process, "half-open -> closed (recovered)")
        with urllib.request.urlopen(address, timeout=5) as answer:  # a visitor like any
            page = json.load(answer)
        since = time.monotonic()
        process.send_signal(signal.SIGINT)
        outcome = finish(process, since)
    assert [row["platform"] for row in page["rows"]] == ["netflix", "prime-video", "disney-plus"]
    assert all(row["titles"] for row in page["rows"])
    assert (outcome.status, outcome.err) == (130, ""), outcome.err
    assert outcome.seconds < 5
    assert refuses(port)
    check_plain_lines(lines, address)


def read_until(process: subprocess.Popen[str], sign: str) -> str:
    assert process.stdout is not None
    lines = ""
    for line in process.stdout:
        lines += line
        if sign in line:
            return lines
    pytest.fail(f"{sign!r} never came in {lines}")


def check_plain_lines(lines: str, address: str) -> None:
    """What no terminal reads has neither colours nor signs."""
    assert lines.isascii()
    assert "\x1b" not in lines
    assert address in lines
    assert re.search(r"^ +\d+\.\d s  Prime Video breaks: it answers 500 to everything$", lines, re.MULTILINE)
    assert re.search(r"^ +\d+\.\d s  Prime Video: closed -> open \(PlatformError: ", lines, re.MULTILINE)
    assert re.search(r"Prime Video open, probe in .* s, \d+ rejected, serves a cache .* old", lines)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
def test_a_full_disk_ends_it_with_one_line() -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "circuitry", "demo", "--plain"]
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=30)
    assert (ended.returncode, ended.stderr) == (1, "circuitry: error: [Errno 28] No space left on device\n")


def test_a_reader_that_leaves_ends_it_quietly() -> None:
    with demo("--plain") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=30) == 141


# --- the command line --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--seconds", "1"], "'1' isn't a number of seconds from 8 to 28"),
        (["--seconds", "nan"], "'nan' isn't a number of seconds"),
        (["--seconds", "inf"], "'inf' isn't a number of seconds"),
        (["--seconds", "soon"], "'soon' isn't a number of seconds"),
        (["--port", "65536"], "'65536' isn't a port, 0 to 65535"),
        (["--port", "-1"], "'-1' isn't a port"),
        (["--port", "http"], "'http' isn't a port"),
        (["--loud"], "unrecognized arguments"),
    ],
)
def test_a_wrong_option_is_named(options: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["demo", *options])
    assert exit_.value.code == 2
    assert told in capsys.readouterr().err


def test_a_command_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([])
    assert exit_.value.code == 2
    assert "command" in capsys.readouterr().err


def test_importing_the_command_line_runs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    importlib.import_module("circuitry.__main__")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("installed", [True, False])
def test_it_tells_its_version(
    installed: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str) -> str:
        if installed:
            return "1.2.3"
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    with pytest.raises(SystemExit) as exit_:
        main(["--version"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out == f"circuitry {'1.2.3' if installed else '(not installed)'}\n"
