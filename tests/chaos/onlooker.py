"""Who looks on at the server while a run goes on, and who gives orders there."""

from __future__ import annotations

import threading
import time
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from circuitry.config import CircuitBreakerConfig
from circuitry.redis.keys import Naming
from circuitry.redis.script import Rules, Script
from circuitry.redis.views import View, history_of, message_of, view_of, views_of
from circuitry.states import CircuitState

from ..fleet.servers import Server
from .records import MS, SECOND, Read, Seen, Slots, Writer, now
from .schedule import CHECK_PERIOD, SETTINGS

#: What goes wrong while a server is killed, frozen and restarted.
TROUBLES = (redis.RedisError, OSError, ValueError)


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

    def order(self, name: str, mode: str, *, deafening: bool = False) -> None:
        """An operator's word to the fleet; `deafening`: in one step with the end of all subscriptions."""
        subject = self._script.subject(name, rules_of(name))
        known = self.view(name).version
        command = self._script.force(subject, known, CircuitState(mode), "ops")
        if mode == "closed":
            command = self._script.reset(subject, known, "ops")
        if deafening:
            with self.client.pipeline(transaction=True) as together:
                together.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
                together.execute_command(*self._script.by_source(command))
                reply = together.execute()[1]
        else:
            reply = self._run(command)
        self._writer.write(Seen(now(), "ops", 0, name, view_of(reply)))

    def _run(self, command: Any) -> Any:
        return self._script.run(self.client.execute_command, command)


def connect(server: Server, name: str) -> Any:
    return redis.Redis.from_url(
        server.url(),
        client_name=name,
        socket_timeout=2,
        socket_connect_timeout=1,
        retry=Retry(NoBackoff(), 0),
    )


def rules_of(name: str) -> Rules:
    config = CircuitBreakerConfig(**SETTINGS[name])
    return Rules.of(config.limits, quorum=config.quorum or 1, check_period=CHECK_PERIOD)
