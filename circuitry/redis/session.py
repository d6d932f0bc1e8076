"""One stay with the server, from connecting until it is lost.

It has a connection for commands and one that hears what the fleet publishes, each with its own health:
losing the second alone isn't losing the server, which then is asked from time to time. All of it runs in
the link's thread.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from circuitry.judging import describe
from circuitry.redis.pooling import NEVER
from circuitry.redis.script import Command
from circuitry.redis.shared import SharedGate
from circuitry.redis.views import Refusal, View, message_of, refusal, view_of, views_of
from circuitry.redis.wire import COMMAND_TIMEOUT, Subscription, Wire, redis_py

if TYPE_CHECKING:
    from circuitry.redis.link import Link

POLL_PERIOD = 1.0  # seconds between two checks while nothing can be heard
TURN = 0.02  # seconds, after which what is due has to let others go before
CHUNK = 100  # circuits in one command of a check


class GoneError(Exception):
    """The server has closed the connection, or doesn't answer."""


class Session:
    """Says, hears and checks.

    Raises:
        Exception: from any method, the server is lost; then only `close` is left to be called.
    """

    def __init__(self, link: Link, wire: Wire) -> None:
        self._link = link
        self._wire = wire
        self._timed: set[SharedGate] = set()  # circuits that have to be seen to in time
        self._server_offset: float | None = None  # the server's clock less ours, in microseconds
        self._said_at = 0.0
        self._pong_due = NEVER
        self._next_check = 0.0
        self._heard_since = 0.0  # when it was last tried to subscribe
        self._subscription: Subscription | None = None
        self._line = wire.connect()

    def begin(self, gates: Iterable[SharedGate]) -> None:
        """Hear first, then ask where circuits stand: so nothing that changes in between is missed."""
        self._prove()
        self._subscribe()
        asked = list(gates)
        self._sync(asked, resync=True)
        self._timed.update(gate for gate in asked if gate.next_due != NEVER)
        self._plan_check()

    def _prove(self) -> None:
        """Have the server say that it is there and takes writes: a frozen one still takes connections, and
        a replica answers.

        The channel's name is no circuit's key, so nothing lies there that PERSIST could change.
        """
        asked_at = time.monotonic()
        self._line.execute("PERSIST", self._link.script.channel)
        self._link.health.contact(time.monotonic() - asked_at)

    def close(self) -> None:
        """End it; may be called twice."""
        self._line.close()
        if self._subscription is not None:
            self._subscription.close()

    @property
    def hears(self) -> bool:
        """Whether there is a subscription."""
        return self._subscription is not None

    def watched(self) -> Iterator[Any]:
        """The sockets on which news come."""
        yield from self._line.watch()
        if self._subscription is not None:
            yield from self._subscription.watch()

    @property
    def next_due(self) -> float:
        """When there will be something to do, on the monotonic clock."""
        return min(self._next_check, self._pong_due, *(gate.next_due for gate in self._timed))

    # -- Saying ----------------------------------------------------------------------------------------

    def check_line(self) -> None:
        """Find out whether the server has gone, as far as that can be told without asking."""
        if self._line.is_broken():
            raise GoneError("the server has closed the connection")

    def say(self, gate: SharedGate) -> None:
        """What waits at this circuit's gate."""
        if gate.view is None:
            self._sync([gate], resync=True)
        try:
            gate.send(self)
        except Exception as error:
            if not is_refusal(error):
                raise
            self._link.report("refused", gate.name, describe(error))
        self._timed.discard(gate)
        if gate.next_due != NEVER:
            self._timed.add(gate)

    def keep_up(self) -> None:
        """The circuits whose time has come: leases to be renewed, windows to be told."""
        begun = time.monotonic()
        due = [(gate.next_due, id(gate), gate) for gate in self._timed]
        for _, _, gate in sorted(entry for entry in due if entry[0] <= begun):
            self.say(gate)
            if time.monotonic() - begun > TURN:
                return  # others wait for the link too: the rest is for the next turn

    def ask(self, command: Command) -> View:
        """Run a command of the script, and read the reply."""
        return self._dated([view_of(self._execute(command))])[0]

    def server_time(self, at: float) -> int | None:
        """A moment of our monotonic clock on the server's, in microseconds; None if nothing is known of it.

        It may be late by what the last command took, never early.
        """
        return None if self._server_offset is None else round(self._server_offset + at * 1e6)

    def _execute(self, command: Command) -> Any:
        self._said_at = time.monotonic()
        reply = self._link.script.run(self._line.execute, command)
        self._link.health.contact(time.monotonic() - self._said_at)
        return reply

    def _dated(self, views: list[View]) -> list[View]:
        """Note the server's clock, as of when the command was sent: so it can only seem to be later."""
        for view in views[:1]:
            self._server_offset = view.now - self._said_at * 1e6
        return views

    def _sync(self, gates: Iterable[SharedGate], *, resync: bool = False) -> None:
        """See where circuits stand, many in one command; in a cluster each lies on its own node."""
        asked = list(gates)
        size = 1 if self._wire.is_cluster else CHUNK
        for start in range(0, len(asked), size):
            chunk = asked[start : start + size]
            command = self._link.script.sync(*((gate.terms.subject, gate.version) for gate in chunk))
            try:
                views = self._dated(views_of(self._execute(command)))
            except Exception as error:
                if not is_refusal(error):
                    raise
                self._link.report("refused", None, describe(error))
                continue
            for gate, view in zip(chunk, views, strict=True):
                gate.receive(view, resync=resync)

    # -- Hearing ---------------------------------------------------------------------------------------

    def listen(self) -> None:
        """Take in what was published; a subscription that is broken or silent is replaced."""
        subscription = self._subscription
        if subscription is None:
            return
        try:
            self._read(subscription)
        except Exception as error:
            self._deafened(subscription, error)

    def _read(self, subscription: Subscription) -> None:
        while (heard := subscription.read()) is not None:
            self._pong_due = NEVER
            message = message_of(heard[1]) if heard[0] == "message" else None
            if message is not None:
                for gate in self._link.members(message[0]):
                    gate.receive(message[1])
        if time.monotonic() >= self._pong_due:
            raise GoneError("the subscription doesn't answer")

    def _subscribe(self) -> None:
        """Without a subscription it works all the same, by asking."""
        self._pong_due = NEVER
        self._heard_since = time.monotonic()
        try:
            self._subscription = self._wire.subscribe(self._link.script.channel)
        except Exception as error:
            self._link.report("deaf", None, describe(error))

    def _deafened(self, subscription: Subscription, error: Exception) -> None:
        """The subscription is lost: another one, at once, unless this one was so short-lived."""
        subscription.close()
        self._subscription = None
        self._prove()  # or is it the server that is lost?
        if time.monotonic() - self._heard_since < POLL_PERIOD:
            self._link.report("deaf", None, describe(error))
        else:
            self._subscribe()
            self._sync(self._link.members())
        self._plan_check()

    # -- Checking --------------------------------------------------------------------------------------

    def check(self) -> None:
        """What was missed, edited by hand, evicted or flushed is found out here."""
        if time.monotonic() < self._next_check:
            return
        if self._subscription is None:
            self._subscribe()
        else:
            self._ping(self._subscription)
        self._sync(self._link.members())
        for gate in self._link.members():
            if gate.outbox.ordered:  # it was refused: it is said until it is taken
                self.say(gate)
        self._plan_check()

    def _ping(self, subscription: Subscription) -> None:
        try:
            subscription.ping()
            self._pong_due = min(self._pong_due, time.monotonic() + COMMAND_TIMEOUT)
        except Exception as error:
            self._deafened(subscription, error)

    def _plan_check(self) -> None:
        """Jittered, so that a fleet doesn't ask all at once."""
        period = self._link.check_period if self.hears else POLL_PERIOD
        self._next_check = time.monotonic() + period * random.uniform(0.8, 1.2)


def is_refusal(error: Exception) -> bool:
    """Whether the server is there and has said no, for a reason that a new connection wouldn't mend."""
    if not isinstance(error, redis_py().ResponseError):
        return False
    return refusal(error) not in (Refusal.READONLY, Refusal.LOADING, Refusal.BUSY)
