"""Has a process record what it says, hears and does. It looks on; nothing goes another way for it."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable
from typing import Any

from circuitry.locked import LockedCircuit
from circuitry.redis import session as sessions
from circuitry.redis.link import Link as RedisLink
from circuitry.redis.session import Session
from circuitry.redis.shared import SharedGate
from circuitry.redis.views import message_of, view_of, views_of
from circuitry.states import CircuitState, Probe

from .records import Called, Failed, Governed, Held, Kept, Link, Said, Seen, Turned, Writer, now

COMMON, OWN, KEYS = 4, 10, 7  # how the script's arguments are laid out


class Recorder:
    """Of the one store of this process, whose member is `who`."""

    def __init__(self, writer: Writer, who: str) -> None:
        self.write, self.who = writer.write, who
        self._numbers = itertools.count(1)
        for owner, name, watched in (
            (Session, "_execute", self.execute),
            (RedisLink, "_connect", self.connect),
            (RedisLink, "_lose", self.lose),
            (SharedGate, "_keep", self.keep),
            (SharedGate, "hold", self.hold),
            (LockedCircuit, "_become", self.become),
        ):
            _put_around(owner, name, watched)
        sessions.message_of = self.message_of
        SharedGate.governs = property(lambda gate: gate.__dict__["governs"], self.set_governs)

    # -- What is said and heard ----------------------------------------------------------------------

    def execute(self, method: Any, session: Session, command: Any) -> Any:
        number, argv = next(self._numbers), command.argv
        end = COMMON + OWN * (len(command.keys) // KEYS)
        names, op = list(argv[COMMON:end:OWN]), argv[0]
        self.write(Said(now(), self.who, number, op, names, list(argv[end:])))
        try:
            reply = method(session, command)
        except BaseException as error:
            self.write(Failed(now(), self.who, number, repr(error)))
            raise
        for name, view in zip(names, views_of(reply) if op == "sync" else [view_of(reply)], strict=True):
            self.write(Seen(now(), self.who, number, name, view))
        return reply

    def message_of(self, data: bytes) -> Any:
        message = message_of(data)
        if message is not None:
            self.write(Seen(now(), self.who, 0, *message))
        return message

    def connect(self, method: Any, link: RedisLink) -> Any:
        result = method(link)
        self.write(Link(now(), self.who, True))
        return result

    def lose(self, method: Any, link: RedisLink, error: Exception) -> Any:
        self.write(Link(now(), self.who, False, repr(error)))
        return method(link, error)

    # -- What is made of it ----------------------------------------------------------------------------

    def keep(self, method: Any, gate: SharedGate, view: Any) -> None:
        method(gate, view)
        self.write(Kept(now(), self.who, gate.name, view.version, view.epoch))

    def hold(self, method: Any, gate: SharedGate, lease: Any, probe: Probe) -> None:
        held = lease.token, lease.epoch, probe.generation, probe.number
        self.write(Held(now(), self.who, gate.name, *held))
        method(gate, lease, probe)

    def set_governs(self, gate: SharedGate, is_so: bool) -> None:
        is_news = is_so != gate.__dict__.get("governs", False)
        if is_news and not is_so:
            self.write(Governed(now(), self.who, gate.name, is_so))
        gate.__dict__["governs"] = is_so
        if is_news and is_so:  # the record says so for no longer than it is
            self.write(Governed(now(), self.who, gate.name, is_so))

    def become(self, method: Any, breaker: LockedCircuit, circuit: Any) -> None:
        old, at = breaker._circuit, now()
        method(breaker, circuit)
        if circuit.generation == old.generation:
            return
        gate: Any = breaker._gate
        states = old.judged, circuit.judged, circuit.order or ""
        follows = circuit.followed, gate.epoch if circuit.followed else 0
        deadline = _on_our_clock(circuit.deadline) if circuit.judged is CircuitState.OPEN else 0
        place = at, now(), self.who, breaker.name, circuit.generation
        self.write(Turned(*place, *states, circuit.reason, *follows, deadline))

    def called(self, name: str, admission: Any, asked: int) -> None:
        """A call is about to go out."""
        probe = admission if isinstance(admission, Probe) else Probe(-1, -1)
        self.write(Called(now(), asked, self.who, name, probe.generation, probe.number))


def _put_around(owner: Any, name: str, watched: Callable[..., Any]) -> None:
    method = getattr(owner, name)

    @functools.wraps(method)
    def wrapped(*args: Any) -> Any:
        return watched(method, *args)

    setattr(owner, name, wrapped)


def _on_our_clock(at: float) -> int:
    """A moment of the monotonic clock; at most 20 µs later than it is, never earlier."""
    while True:
        before, wall, after = time.monotonic(), now(), time.monotonic()
        if after - before < 20e-6:
            return wall + round((at - before) * 1e6)
