"""One policy lives through one scenario."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Generator, Iterable, Sequence

from circuitry import CircuitBreaker, CircuitOpenError, Permit
from circuitry.events import TransitionEvent

from .contenders import Policy
from .engine import Engine
from .measures import Tally
from .scenarios import Scenario
from .world import NOISE, Call, calls

DOWN = ConnectionError("no answer")


class Simulation:
    """A fleet of real breakers on a virtual clock, and the calls that go through them.

    A call takes a worker, asks its circuit, and goes out; what comes of it is told to the circuit, and it is
    tried again if it may be. What happens goes to the tally.
    """

    def __init__(
        self, scenario: Scenario, policy: Policy, came: Iterable[Call], seed: str, noise: float = NOISE
    ) -> None:
        self.scenario, self.policy, self.seed = scenario, policy, seed
        self.engine = Engine()
        self.dependency = scenario.dependency(noise)
        self.tally = Tally(scenario)
        self.busy = [0] * scenario.fleet.processes
        self._calls = iter(came)
        self._retries = random.Random(f"{seed}: retries")
        self._circuits = [self._process(number) for number in range(scenario.fleet.processes)]

    def run(self) -> Tally:
        """Let it all happen, until the last call has ended."""
        with seeded(self.seed):
            self._await_call()
            self.engine.run()
        return self.tally

    def _process(self, number: int) -> list[CircuitBreaker] | None:
        circuits = self.policy.circuits(f"process {number}", self.engine.clock)
        for shard, breaker in enumerate(circuits or ()):
            if shard == min(self.policy.guarded(shard)):
                self._watch(breaker, self.policy.guarded(shard))
        return circuits

    def _watch(self, breaker: CircuitBreaker, shards: frozenset[int]) -> None:
        """Note when a circuit trips, and how well off was what it guards."""
        script = self.scenario.fault
        if shards & script.shards:
            self.tally.watched.add(breaker.name)

        def turned(event: TransitionEvent) -> None:
            if (event.old_state, event.new_state) == ("closed", "open"):
                now = self.engine.now
                health = sum(self.dependency.health(shard, now) for shard in shards) / len(shards)
                self.tally.opened(breaker.name, now, health)

        breaker.on_transition(turned)

    # -- The life of a call ----------------------------------------------------------------------------

    def _await_call(self) -> None:
        call = next(self._calls, None)
        if call is not None:
            self.engine.at(call.at, self._arrive, call)

    def _arrive(self, call: Call) -> None:
        self._await_call()
        self.tally.arrived(call)
        workers = self.scenario.fleet.workers
        if workers is None or self.busy[call.process] < workers:
            self.busy[call.process] += 1
            self._try(call)

    def _try(self, call: Call) -> None:
        now, shard = self.engine.now, call.shard
        if shard is None:
            self.engine.at(now + call.latency, self._end, call, None, True)
            return
        circuits = self._circuits[call.process]
        faults = self.dependency.faults(shard, now)
        is_into_fault = self.scenario.fault in faults
        try:
            permit = None if circuits is None else circuits[shard].acquire()
        except CircuitOpenError:
            self.tally.rejected(call, now, is_into_fault)
            self.busy[call.process] -= 1
            return
        self.tally.sent(call, is_into_fault)
        answer = self.dependency.answer(call, faults, now)
        self.engine.at(now + answer.after, self._end, call, permit, answer.succeeds)

    def _end(self, call: Call, permit: Permit | None, succeeds: bool) -> None:
        if permit is not None:
            permit.success() if succeeds else permit.failure(DOWN)
        fleet = self.scenario.fleet
        if not succeeds and call.attempt < fleet.attempts:
            again = call._replace(luck=self._retries.random(), attempt=call.attempt + 1)
            self.engine.at(self.engine.now + fleet.pause, self._try, again)
            return
        self.busy[call.process] -= 1
        if succeeds:
            self.tally.succeeded(call)


def live_through(
    scenario: Scenario, policies: Sequence[Policy], seed: int, noise: float = NOISE
) -> dict[str, Tally]:
    """What happens to each policy in one scenario, by its name. All see the same calls."""
    named = f"{scenario.name}, {seed}"
    came = list(calls(scenario.fleet, scenario.end, named))
    return {policy.name: Simulation(scenario, policy, came, named, noise).run() for policy in policies}


@contextlib.contextmanager
def seeded(seed: str) -> Generator[None]:
    """Within the block the module `random`, which breakers draw from, begins at this seed."""
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)
