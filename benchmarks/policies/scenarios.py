"""The troubles, by name."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from .world import Dependency, Fault, Fleet, Server

BEGIN = 60.0  # seconds of good days before, so that windows are full
TAIL = 120.0  # seconds afterwards


@dataclass(frozen=True)
class Scenario:
    """A fleet, and what befalls its dependency."""

    name: str
    title: str
    fault: Fault
    fleet: Fleet = field(default_factory=Fleet)
    server: Server | None = None
    """What is beneath all shards; None for more than anybody needs."""
    then: tuple[Fault, ...] = ()
    """What befalls it afterwards."""
    aftermath: float = 0.0
    """Seconds after the fault that are judged with it."""
    tail: float = TAIL

    @property
    def end(self) -> float:
        """When the simulation ends."""
        return self.fault.end + self.aftermath + self.tail

    def is_judged(self, at: float) -> bool:
        """Whether what comes in then counts for goodput."""
        return self.fault.begin <= at < self.fault.end + self.aftermath

    def dependency(self, noise: float) -> Dependency:
        """A new one, at the beginning of the script."""
        server = self.server and replace(self.server)
        return Dependency((self.fault, *self.then), self.fleet.timeout, noise, server)


def _dead(count: int) -> Scenario:
    some = "1 shard of 10 is" if count == 1 else f"{count} shards of 10 are"
    fault = Fault(BEGIN, BEGIN + 60, frozenset(range(count)), errors=1.0)
    return Scenario(f"dead-{count}", f"{some} dead for 60 s", fault)


#: Twenty workers a process, for the dependency's calls and as much other work: one is busy on a good day.
CROWDED = Fleet(workers=20, other_rate=10.0, timeout=10.0)
#: Impatient, and stubborn: three attempts, 1 s each.
RETRYING = Fleet(timeout=1.0, attempts=3)
#: A server that lets calls wait for longer than their callers do; and one that turns them away in good time.
OVERRUN = Server(capacity=140.0, queue=5.0)
PRUDENT = Server(capacity=140.0, queue=0.5, refusal=0.3)
THREE = frozenset(range(3))

SCENARIOS = (
    Scenario("calm", "nothing happens", Fault(BEGIN, BEGIN + 120)),
    _dead(1),
    _dead(3),
    _dead(6),
    Scenario("outage", "total outage of 20 s", Fault(BEGIN, BEGIN + 20, errors=1.0)),
    Scenario("errors", "20 % errors for 300 s", Fault(BEGIN, BEGIN + 300, errors=0.2), tail=60.0),
    Scenario(
        "ramp",
        "errors rise to 5 % in 120 s, and stay for 180 s",
        Fault(BEGIN, BEGIN + 300, errors=0.05, rise=120.0),
        tail=60.0,
    ),
    Scenario("hang-3", "3 shards of 10 hang for 60 s", Fault(BEGIN, BEGIN + 60, THREE, hangs=True), CROWDED),
    Scenario("hang", "all shards hang for 60 s", Fault(BEGIN, BEGIN + 60, hangs=True), CROWDED, tail=180.0),
    Scenario(
        "overload",
        "20 s at 30 % of the capacity, then 120 s at all of it, while callers try again",
        Fault(BEGIN, BEGIN + 20, capacity=0.3),
        RETRYING,
        OVERRUN,
        aftermath=120.0,
    ),
    Scenario(
        "cold-start",
        "outage of 20 s, then the capacity grows from 30 % to all of it in 60 s, while callers try again",
        Fault(BEGIN, BEGIN + 20, errors=1.0),
        RETRYING,
        OVERRUN,
        then=(Fault(BEGIN + 20, BEGIN + 80, capacity=0.3, warms_up=True),),
        aftermath=120.0,
    ),
    Scenario(
        "brownout",
        "120 s at half of the capacity, while callers try again",
        Fault(BEGIN, BEGIN + 120, capacity=0.5),
        RETRYING,
        PRUDENT,
    ),
)
