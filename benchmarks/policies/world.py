"""The world that calls live in: a fleet of callers, a dependency made of shards, and what befalls it."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

SHARDS = 10
ALL = frozenset(range(SHARDS))
NOISE = 0.005  # of all calls fail on a good day
LATENCY = 0.050  # seconds, the median
SPREAD = 0.5  # of the latency: the sigma of its logarithm
ERROR_AFTER = 0.010  # seconds until a call to a dead shard has failed


@dataclass(frozen=True)
class Fleet:
    """Those who call. Each process has circuits of its own, and sees only its own calls."""

    processes: int = 10
    rate: float = 10.0
    """Calls a second and process, at random moments (Poisson)."""
    timeout: float = 5.0
    """Seconds after which a caller gives up a call."""
    workers: int | None = None
    """So many calls at once in one process; one that finds no worker free is lost. None: no limit."""
    other_rate: float = 0.0
    """Besides, so many pieces of work a second and process that need a worker and no dependency."""
    attempts: int = 1
    """So often a call that has failed is tried in all. A rejected one isn't tried again."""
    pause: float = 0.1
    """Seconds between attempts."""


@dataclass(frozen=True)
class Fault:
    """What befalls some shards from `begin` to `end`, in seconds."""

    begin: float
    end: float
    shards: frozenset[int] = ALL
    errors: float = 0.0
    """The share of calls that fail."""
    rise: float = 0.0
    """Seconds in which `errors` grows from none to all of it."""
    hangs: bool = False
    """Calls aren't answered until their callers give up."""
    capacity: float = 1.0
    """What is left of the server's capacity."""
    warms_up: bool = False
    """It grows back to all of it until the end."""

    def is_on(self, shard: int, now: float) -> bool:
        return self.begin <= now < self.end and shard in self.shards

    @property
    def harms(self) -> bool:
        """Whether it is one at all."""
        return self.errors > 0 or self.hangs or self.capacity < 1

    def capacity_at(self, now: float) -> float:
        done = (now - self.begin) / (self.end - self.begin) if self.warms_up else 0.0
        return self.capacity + (1 - self.capacity) * done

    def error_rate(self, now: float) -> float:
        return self.errors * min(1.0, (now - self.begin) / self.rise) if self.rise else self.errors


class Call(NamedTuple):
    """One piece of work as it comes in, with its luck: the same for every policy."""

    at: float
    process: int
    shard: int | None
    """None for other work, which needs no dependency."""
    luck: float
    """0 to 1: it fails where the error rate is above that."""
    latency: float
    attempt: int = 1


class Answer(NamedTuple):
    """What a call that goes out comes to, after so many seconds."""

    after: float
    succeeds: bool


@dataclass
class Server:
    """What all shards stand on, where there is too little of it: one queue, first come, first served.

    It works off what nobody waits for any more, too. Who would wait for longer than `queue` is turned away,
    which is work as well.
    """

    capacity: float
    """Calls a second."""
    queue: float
    """Seconds."""
    refusal: float = 0.0
    """What it costs to turn a call away, for each that it costs to serve one."""
    busy_until: float = 0.0

    def wait(self, now: float) -> float:
        """Seconds until a call that comes now would have its turn."""
        return max(0.0, self.busy_until - now)

    def serve(self, now: float, share: float = 1.0) -> float | None:
        """Seconds until it has been served, with a `share` of the capacity; None if it is turned away."""
        is_full = self.wait(now) > self.queue
        work = self.refusal if is_full else 1.0
        self.busy_until = max(now, self.busy_until) + work / (self.capacity * share)
        return None if is_full else self.busy_until - now


@dataclass
class Dependency:
    """What is called: shards, each of which does what the script says, and perhaps one server beneath."""

    script: tuple[Fault, ...] = ()
    timeout: float = 5.0
    noise: float = NOISE
    server: Server | None = None

    def faults(self, shard: int, now: float) -> list[Fault]:
        """What befalls a shard now."""
        return [fault for fault in self.script if fault.is_on(shard, now)]

    def error_rate(self, faults: Iterable[Fault], now: float) -> float:
        """The share of calls that fail under these faults, where there is an answer."""
        return self.noise + sum(fault.error_rate(now) for fault in faults)

    def answer(self, call: Call, faults: Sequence[Fault], now: float) -> Answer:
        """What comes of a call that goes out now, to a shard that these faults have befallen."""
        if any(fault.hangs for fault in faults):
            return Answer(self.timeout, False)
        if call.luck < self.error_rate(faults, now):
            return Answer(ERROR_AFTER, False)
        if self.server is None:
            return Answer(call.latency, True)
        served = self.server.serve(now, math.prod(fault.capacity_at(now) for fault in faults))
        if served is None:
            return Answer(ERROR_AFTER, False)
        took = served + call.latency
        return Answer(min(took, self.timeout), took <= self.timeout)

    def health(self, shard: int, now: float) -> float:
        """The share of calls that would succeed if they went out now."""
        faults = self.faults(shard, now)
        is_late = self.server is not None and self.server.wait(now) + LATENCY > self.timeout
        if is_late or any(fault.hangs for fault in faults):
            return 0.0
        return max(0.0, 1.0 - self.error_rate(faults, now))


def calls(fleet: Fleet, until: float, seed: str) -> Iterator[Call]:
    """All that comes in before `until`, in order; the same for the same seed."""
    chance = random.Random(seed)
    rate = fleet.rate + fleet.other_rate
    now = 0.0
    while (now := now + chance.expovariate(rate * fleet.processes)) < until:
        process = chance.randrange(fleet.processes)
        shard = chance.randrange(SHARDS) if chance.random() * rate < fleet.rate else None
        luck, latency = chance.random(), chance.lognormvariate(math.log(LATENCY), SPREAD)
        yield Call(now, process, shard, luck, latency)
