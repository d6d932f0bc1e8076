"""One shared circuit on a server, asked by its members, with the server's clock in hand."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable
from typing import Any

from circuitry.redis.keys import Naming
from circuitry.redis.script import Command, Rules, Script
from circuitry.redis.views import Transition, View, history_of, message_of, view_of, views_of
from circuitry.states import CircuitState, Outcome

START = 1_800_000_000  # unix seconds
SECOND = 1_000_000
END = b"that is all"

#: 3 failures open it for 10 s, 2 successes of at most 2 probes close it.
RULES = Rules(3, 2, 10_000, 2, lease_ms=5_000, keep_ms=60_000)


class Fleet:
    """Speaks for all members; each goes by the last view that it has seen."""

    def __init__(
        self, client: Any, *, name: str = "netflix", source: str | None = None, **rules: int
    ) -> None:
        self.client = client
        self.db: int = client.get_connection_kwargs()["db"]
        self.naming = Naming(f"circuit-{uuid.uuid4().hex}:")
        self.name = name
        self.keys = self.naming.keys(name)
        self.source = source
        self.rules = RULES._replace(**rules)
        self.now: int | None = START * SECOND
        self.seen: dict[str, View] = {}
        self._tokens = itertools.count()
        self._listener: Any = None

    # -- Members -----------------------------------------------------------------------------------

    def script(self, member: str = "a") -> Script:
        script = Script(self.naming, member, self.db, self.source)
        script.now = self.now
        return script

    def advance(self, seconds: float) -> None:
        assert self.now is not None
        self.now += round(seconds * SECOND)

    def new_token(self) -> str:
        return f"token-{next(self._tokens)}"

    def known(self, member: str) -> int:
        return self.seen[member].version if member in self.seen else 0

    def epoch(self, member: str) -> int:
        return self.seen[member].epoch

    def _ask(self, member: str, op: Callable[..., Command], *args: Any, **options: Any) -> View:
        script = self.script(member)
        subject = script.subject(self.name, self.rules)
        command = op(script, subject, self.known(member), *args, **options)
        return self._keep(member, view_of(script.run(self.client.execute_command, command)))

    def _keep(self, member: str, view: View) -> View:
        if view.version > self.known(member):
            self.seen[member] = view
        return view

    # -- Operations ----------------------------------------------------------------------------------

    def sync(self, member: str = "a", known: int | None = None) -> View:
        script = self.script(member)
        asked = script.subject(self.name, self.rules), self.known(member) if known is None else known
        (view,) = views_of(script.run(self.client.execute_command, script.sync(asked)))
        return self._keep(member, view)

    def peek(self) -> View:
        script = self.script("onlooker")
        command = script.peek(script.subject(self.name, self.rules))
        (view,) = views_of(script.run(self.client.execute_command, command))
        return view

    def batch(
        self,
        *runs: int,
        member: str = "a",
        epoch: int | None = None,
        cause: str = "down",
        settled: bool = True,
        best_before: int | None = None,
        wait: float | None = None,
    ) -> View:
        """n > 0 is n failures, 0 is a success."""
        if epoch is None:
            epoch = self.epoch(member) if member in self.seen else self.sync(member).epoch
        options = {"settled": settled, "best_before": best_before, "wait": wait}
        return self._ask(member, Script.batch, epoch, runs, cause, **options)

    def pool(
        self,
        *counts: tuple[int, int],
        member: str = "a",
        epoch: int | None = None,
        sign: str = "same",
        keep: float = 30.0,
        best_before: int | None = None,
        seat: int = 1,
    ) -> View:
        """Of each window: calls, and how many of them are bad."""
        if epoch is None:
            epoch = self.epoch(member) if member in self.seen else self.sync(member).epoch
        options = {"sign": sign, "keep_ms": round(keep * 1000), "best_before": best_before, "seat": seat}
        return self._ask(member, Script.pool, epoch, counts, **options)

    def trip(self, member: str = "a", epoch: int | None = None, cause: str = "down", **options: Any) -> View:
        if member not in self.seen:
            self.sync(member)
        epoch = self.epoch(member) if epoch is None else epoch
        return self._ask(member, Script.trip, epoch, cause, **options)

    def acquire(self, member: str = "a", token: str | None = None) -> View:
        return self._ask(member, Script.acquire, token or self.new_token())

    def probe(self, member: str = "a") -> Probe:
        """Acquire, which has to succeed."""
        token = self.new_token()
        view = self.acquire(member, token)
        assert view.verdict == "probe"
        return Probe(self, member, token, view)

    def done(self, probe: Probe, outcome: Outcome, cause: str = "", wait: float | None = None) -> View:
        said = probe.view.epoch, probe.token, outcome, cause
        return self._ask(probe.member, Script.done, *said, wait=wait)

    def renew(self, *probes: Probe) -> View:
        tokens = [probe.token for probe in probes]
        return self._ask(probes[0].member, Script.renew, probes[0].view.epoch, tokens)

    def force(self, mode: CircuitState, seconds: float | None = None, actor: str = "ops") -> View:
        return self._ask("a", Script.force, mode, actor, seconds)

    def reset(self, actor: str = "ops") -> View:
        return self._ask("a", Script.reset, actor)

    # -- Shortcuts -----------------------------------------------------------------------------------

    def open(self) -> View:
        """Make it trip."""
        view = self.batch(self.rules.failure_threshold)
        assert view.verdict == "opened"
        return view

    def wait(self) -> None:
        """Until the deadline has come."""
        self.advance(self.rules.timeout_ms / 1000)

    def half_open(self, member: str = "a") -> Probe:
        """Make it trip and wait; the first probe."""
        self.open()
        self.wait()
        return self.probe(member)

    # -- What lies on the server -----------------------------------------------------------------------

    def get(self, kind: str) -> str | None:
        value = self.client.get(getattr(self.keys, kind))
        return None if value is None else value.decode()

    def set(self, kind: str, value: str) -> None:
        """By hand."""
        self.client.set(getattr(self.keys, kind), value)

    def delete(self, *kinds: str) -> None:
        """By hand, or by an eviction."""
        self.client.delete(*(getattr(self.keys, kind) for kind in kinds))

    def meta(self) -> dict[str, str]:
        found = self.client.hgetall(self.keys.meta)
        return {field.decode(): value.decode() for field, value in found.items()}

    def history(self) -> list[Transition]:
        return history_of(self.client.lrange(self.keys.history, 0, -1))

    def lifetimes(self) -> dict[str, int]:
        """How long each key that exists will stay, in ms; -1 is for ever."""
        left = {kind: self.client.pttl(key) for kind, key in self.keys._asdict().items()}
        return {kind: ms for kind, ms in left.items() if ms != -2}

    # -- What is published -----------------------------------------------------------------------------

    def listen(self) -> None:
        """Hear what is published from now on."""
        self._listener = self.client.pubsub(ignore_subscribe_messages=False)
        self._listener.subscribe(self.naming.channel(self.db))
        assert self._listener.get_message(timeout=5)["type"] == "subscribe"

    def heard(self) -> list[View]:
        """What has been published since it was last asked for."""
        self.client.publish(self.naming.channel(self.db), END)
        views: list[View] = []
        for message in self._listener.listen():
            if message["data"] == END:
                return views
            name, view = message_of(message["data"]) or (None, None)
            assert name == self.name
            assert view is not None
            views.append(view)
        raise AssertionError("the subscription has ended")

    def clean(self) -> None:
        """Leave nothing on the server, which may be somebody else's."""
        if self._listener is not None:
            self._listener.close()
        for key in self.client.scan_iter(f"{self.naming.prefix}*", count=1000):
            self.client.delete(key)


class Probe:
    """A lease that somebody holds."""

    def __init__(self, fleet: Fleet, member: str, token: str, view: View) -> None:
        self.fleet = fleet
        self.member = member
        self.token = token
        self.view = view

    def success(self) -> View:
        return self.fleet.done(self, Outcome.SUCCESS)

    def failure(self, cause: str = "still down", wait: float | None = None) -> View:
        return self.fleet.done(self, Outcome.FAILURE, cause, wait)

    def ignored(self) -> View:
        return self.fleet.done(self, Outcome.IGNORED)
