"""The link to the fleet: one thread for each store, which does all that waits.

Calls hand it what they have to say (`poke`) and go on. What it learns it hands to the circuits' gates.

    session begins -> up:  say what waits, renew leases, hear news, check
       ^                        |
       +------- backoff <--- lost: each process is on its own
"""

from __future__ import annotations

import atexit
import random
import socket
import threading
import time
import uuid
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from circuitry.forking import LockHolder, rearm_after_fork
from circuitry.judging import describe
from circuitry.locked import LockedCircuit
from circuitry.redis.health import Health, Report, StoreHealth
from circuitry.redis.herald import Herald
from circuitry.redis.keys import Naming
from circuitry.redis.script import Script
from circuitry.redis.session import Session
from circuitry.redis.shared import SharedGate
from circuitry.redis.wire import COMMAND_TIMEOUT, Wire, await_news

#: Seconds.
LONGEST_BACKOFF = 0.5
LAST_WORDS = 0.5  # for what waits when a store is closed
LULL = 60.0  # what hasn't been so for as long is news again
#: What comes and goes while the server is there.
PASSING = ("refused", "unreadable", "deaf")


class Link(LockHolder):
    """The I/O thread of a store, and the gates of the circuits that take part.

    Args:
        wire: the way to the server.
        naming: how names become keys.
        patience: seconds that a caller waits for a lease.
        check_period: seconds between two checks.
        report: is told what an operator should know.
    """

    def __init__(
        self,
        wire: Wire,
        naming: Naming,
        patience: float,
        check_period: float,
        report: Callable[[Report], None],
    ) -> None:
        super().__init__()
        self.naming = naming.tagged() if wire.is_cluster else naming
        self.patience = patience
        self.check_period = check_period
        self._wire = wire
        self._report = report
        self._gates: dict[str, weakref.WeakSet[SharedGate]] = {}
        self._begin()
        rearm_after_fork(self)
        _links.add(self)

    def _begin(self) -> None:
        """No thread has run yet, in this process."""
        self.member = uuid.uuid4().hex
        self.script = Script(self.naming, self.member, self._wire.db)
        self.herald = Herald()
        self.health = Health()
        self.is_up = False
        self._thread: threading.Thread | None = None
        self._session: Session | None = None
        self._failures = 0
        self._stop_at: float | None = None
        self._poked: deque[SharedGate] = deque()
        self._is_busy = False
        self._changed = threading.Condition()
        self._reported: dict[tuple[str, str | None, str], float] = {}
        self._is_woken = False
        self._bell: socket.socket | None = None  # there while the thread runs
        self._ear: socket.socket | None = None

    def _rearm(self) -> None:
        """A forked child is a member of its own; its parent's connections are let go without a word."""
        super()._rearm()
        if self._session is not None:
            self._session.close()
        self._fall_silent()
        self._begin()

    # -- For callers: nothing here waits for the server -----------------------------------------------

    def join(self, gate: SharedGate) -> None:
        """A circuit takes part from now on."""
        with self._lock:
            self._gates.setdefault(gate.name, weakref.WeakSet()).add(gate)
        self.start()
        self.poke(gate)

    def start(self) -> None:
        """Let the thread run, unless it does or has been told to end."""
        with self._lock:
            if self._thread is None and self._stop_at is None:
                thread = threading.Thread(target=self._run, name="circuitry-link", daemon=True)
                try:
                    thread.start()
                except (
                    RuntimeError
                ):  # there can't be more threads, or the interpreter is ending: no call fails
                    return
                self._thread = thread

    def poke(self, gate: SharedGate) -> None:
        """This circuit has something to say. Takes no lock: finalizers call it too."""
        if not gate.poked:
            gate.poked = True
            self._poked.append(gate)
        self._ring()

    def _ring(self, *, anew: bool = False) -> None:
        bell = self._bell
        if bell is not None and (anew or not self._is_woken):
            self._is_woken = True
            try:
                bell.send(b"!")
            except OSError:
                pass  # it rings already, or the thread has ended

    def wait(self, is_so: Callable[[], bool], timeout: float | None) -> bool:
        """Wait until something holds of this link; whether it does."""
        with self._changed:
            return self._changed.wait_for(is_so, timeout)

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits to be said, and nothing is being said."""
        return not self._poked and not self._is_busy and not self._has_words()

    @property
    def is_ready(self) -> bool:
        """Whether it is known of every circuit where the fleet stands."""
        return self.is_up and self.is_idle and all(gate.view is not None for gate in self.members())

    def _has_words(self) -> bool:
        return any(len(gate.outbox) for gate in self.members())

    @property
    def is_closed(self) -> bool:
        """Whether it was told to end."""
        return self._stop_at is not None

    def stop(self) -> None:
        """Say what waits, and end. Doesn't wait for that and takes no lock: a finalizer may call it."""
        if self._stop_at is None:
            self._stop_at = time.monotonic() + LAST_WORDS
        self._ring(anew=True)

    def close(self) -> None:
        """The same, and wait for it, for about a second at most."""
        self.stop()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(max(0.0, (self._stop_at or 0.0) + COMMAND_TIMEOUT - time.monotonic()))

    def announce(self, breaker: LockedCircuit) -> None:
        """Have the listeners told what the link did to a circuit."""
        if breaker._on_transition:
            self.herald.tell(breaker._announce)
        else:
            breaker._announce()

    def report(self, kind: str, name: str | None, detail: str) -> None:
        """Tell of something that an operator should know: once, until the server is lost or found.

        What comes and goes is told again when it comes after a lull.
        """
        now, known = time.monotonic(), (kind, name, detail)
        last = self._reported.get(known)
        self._reported[known] = now
        lull = max(LULL, 3 * self.check_period)
        if last is None or (kind in PASSING and now - last > lull):
            try:
                self._report(Report(kind, name, detail, time.time()))
            except Exception:
                pass  # somebody's logging raises: the link goes on

    def state(self) -> StoreHealth:
        """How the link is."""
        link = "closed" if self.is_closed else "up" if self.is_up else "down" if self._thread else "idle"
        queued = sum(len(gate.outbox) for gate in self.members())
        session = self._session
        return self.health.snapshot(link, session is not None and session.hears, queued, self.member)

    def members(self, name: str | None = None) -> list[SharedGate]:
        """The gates of the circuits of this name, or of all."""
        with self._lock:
            named = self._gates.values() if name is None else [self._gates.get(name, ())]
            return [gate for gates in named for gate in gates]

    # -- The thread -------------------------------------------------------------------------------------

    def _run(self) -> None:
        self._bell, self._ear = socket.socketpair()
        self._bell.setblocking(False)
        self._ear.setblocking(False)
        while not self._is_over():
            try:
                self._turn(self._session or self._connect())
            except Exception as error:
                self._lose(error)
            self._sleep()
        self._hang_up()
        self._fall_silent()
        self._note()

    def _is_over(self) -> bool:
        """Whether it is told to end, and has said what waited, or can't, or had its time."""
        if self._stop_at is None:
            return False
        can_speak = self.is_up or not self._failures  # or is about to find out
        return time.monotonic() >= self._stop_at or not can_speak or not self._has_words()

    def _fall_silent(self) -> None:
        for end in (self._bell, self._ear):
            if end is not None:
                end.close()

    def _connect(self) -> Session:
        session = self._session = Session(self, self._wire)
        session.begin(self.members())
        self._failures = 0
        self.is_up = True
        for gate in self.members():
            gate.mind()
            if len(gate.outbox):
                self.poke(gate)
        if self.health.found():
            self._reported.clear()
            self.report("found", None, "")
        self._note()
        return session

    def _turn(self, session: Session) -> None:
        """All that is to be done now."""
        self._is_woken = False  # first: who comes from here on rings again
        self._is_busy = True
        try:
            session.check_line()
            for _ in range(len(self._poked)):  # no more: others wait for the link too
                gate = self._poked.popleft()
                gate.poked = False
                session.say(gate)
            session.keep_up()
            session.listen()
            session.check()
        finally:
            self._is_busy = False
        self._forget_the_gone()
        self._note()

    def _lose(self, error: Exception) -> None:
        """The server is away: each process is on its own until it is back."""
        self._failures += 1
        self._hang_up()
        for _ in range(len(self._poked)):  # they aren't held for as long as it is away: see `_connect`
            gate = self._poked.popleft()
            if gate.outbox.ordered:
                self._poked.append(gate)  # but an order is said, also if its breaker is gone by then
            else:
                gate.poked = False
        if self.health.lost(describe(error)):
            self._reported.clear()
            self.report("lost", None, describe(error))
        self._note()

    def _hang_up(self) -> None:
        self.is_up = False
        if self._session is not None:
            self._session.close()
            self._session = None
        for gate in self.members():
            gate.lost()

    def _sleep(self) -> None:
        """Until there is something to do; without a session pokes don't shorten it."""
        session = self._session
        if session is not None:
            self._listen(session.next_due, *session.watched())
            return
        pause = min(LONGEST_BACKOFF, 0.02 * 2.0 ** min(self._failures, 10)) * random.uniform(0.5, 1.0)
        until = time.monotonic() + pause
        while not self._is_over() and time.monotonic() < until:
            self._listen(until)

    def _listen(self, until: float, *sockets: Any) -> None:
        """Until then, or something has come, or the bell rings."""
        ear = self._ear
        assert ear is not None
        if self._stop_at is not None:
            until = 0.0 if self._is_over() else min(until, self._stop_at)
        await_news([ear, *sockets], max(0.0, until - time.monotonic()))
        try:
            ear.recv(4096)
        except OSError:
            pass  # it wasn't the bell

    def _note(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _forget_the_gone(self) -> None:
        with self._lock:
            for name in [name for name, gates in self._gates.items() if not gates]:
                del self._gates[name]


_links: weakref.WeakSet[Link] = weakref.WeakSet()


@atexit.register
def _say_last_words() -> None:
    links = list(_links)
    for link in links:
        link.stop()  # all at once: the time for it doesn't add up
    for link in links:
        link.close()
