"""What is held against the reference, each behind the same few verbs.

A driver has one circuit, under settings and with a clock of its own. Whatever may differ between
implementations is in here, so the rules of `comparison.py` are written once. A verdict is either
the `Rejected` that the caller was told, or a function that ends the call.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from circuitry import CircuitBreaker, CircuitBreakerConfig, CircuitOpenError, TooManyCallsError, machine
from circuitry.gate import LocalGate
from circuitry.policies import Adaptive, ConsecutiveFailures, FailureRate, Rule, SlowCallRate, last, within
from circuitry.states import CircuitState, FleetVerdict, Limits, Outcome, Reason, Rejection
from circuitry.testing import ManualClock
from circuitry.throttling import chance
from circuitry.tripping import Policy
from circuitry.watches import Flight

from .reference import Rejected, Rules
from .ways import SHORT, SYNC, ExcludedError, UnavailableError, error_of

#: Ends a call that was let through; the cause is what a failure leaves in `last_failure`.
End: TypeAlias = Callable[[Outcome, str], None]

START = 1000.0


def rule_of(rules: Rules) -> Rule | None:
    """The rule that the reference describes."""
    return None if rules.trip is None else rule_as_described(rules.trip)


def rule_as_described(rule: Any) -> Rule:
    """The same, of a part of it."""
    kind, *parts = rule
    if kind in ("any", "all"):
        combine = operator.or_ if kind == "any" else operator.and_
        return functools.reduce(combine, [rule_as_described(part) for part in parts])
    if kind == "row":
        return ConsecutiveFailures(*parts)
    *given, (window, size), minimum = parts
    in_window = {"last": last, "within": within}[window](size)
    if kind == "adaptive":
        return Adaptive(*given, in_window)
    return {"rate": FailureRate, "slow": SlowCallRate}[kind](*given, window=in_window, minimum_calls=minimum)


class Driver(Protocol):
    """One circuit that can be compared with the reference."""

    #: The ways in which a call can be begun now and ended later, and those that do it at once.
    ways: tuple[Any, ...]
    short: tuple[Any, ...]

    def advance(self, seconds: float) -> None:
        """Let time pass."""

    def begin(self, way: Any) -> Rejected | End:
        """Ask for a call."""

    def run(self, way: Any, outcome: Outcome, cause: str) -> Rejected | None:
        """Make a whole call that ends like this, if it is let through."""

    def administer(self, reason: Reason) -> None:
        """Say what an operator says; in a fleet, to this circuit alone."""

    def administer_all(self, reason: Reason) -> None:
        """Say it to the fleet."""

    def follow(
        self, state: CircuitState, mode: CircuitState | None, reason: str, wait: float, cause: str | None
    ) -> None:
        """Hear what the fleet has decided."""

    def facts(self) -> dict[str, Any]:
        """As much of `reference.Story.facts` as can be seen of this circuit."""

    def stop(self) -> None:
        """Leave nothing behind."""


class MachineDriver:
    """The machine's steps, by themselves."""

    ways = short = ("step",)

    def __init__(self, rules: Rules, initial: CircuitState) -> None:
        self.now = START
        trip = rule_of(rules)
        policy = None if trip is None else Policy(trip, repr(trip))
        self.limits = Limits(*rules[:5], policy, lambda: self.now, rules.ramp_up)
        self.circuit = machine.new(self.limits, initial)
        self.verdict: FleetVerdict | None = None

    def advance(self, seconds: float) -> None:
        self.now += seconds

    def begin(self, way: Any) -> Rejected | End:
        self.circuit, admission = machine.admit(self.circuit, self.limits, self.now, chance())
        if isinstance(admission, Rejection):
            return Rejected(*admission)

        def end(outcome: Outcome, cause: str) -> None:
            if outcome is Outcome.IGNORED and isinstance(admission, Flight):
                if admission.given_up():
                    self.circuit = machine.trip(self.circuit, self.limits, admission.owner, self.now, None)
                return
            told = cause if outcome is Outcome.FAILURE else None
            step = (self.circuit, self.limits, admission, outcome, self.now, told)
            self.circuit = machine.record(*step)

        return end

    def run(self, way: Any, outcome: Outcome, cause: str) -> Rejected | None:
        verdict = self.begin(way)
        return verdict if isinstance(verdict, Rejected) else verdict(outcome, cause)

    def administer(self, reason: Reason) -> None:
        self.circuit = machine.administer(self.circuit, self.limits, reason)
        if reason is Reason.RESET and self.verdict is not None:
            self.circuit = machine.follow(self.circuit, self.limits, self.verdict)

    def administer_all(self, reason: Reason) -> None:
        self.verdict = as_verdict(reason)
        self.circuit = machine.administer(self.circuit, self.limits, reason, of_fleet=True)

    def follow(
        self, state: CircuitState, mode: CircuitState | None, reason: str, wait: float, cause: str | None
    ) -> None:
        self.verdict = FleetVerdict(state, mode, reason, deadline(state, self.now, wait), cause)
        self.circuit = machine.follow(self.circuit, self.limits, self.verdict)

    def facts(self) -> dict[str, Any]:
        circuit = self.circuit
        return {
            "state": circuit.state,
            "failure_count": circuit.evidence.failures if circuit.evidence else 0,
            "success_count": circuit.successes,
            "half_open_calls": len(machine.in_flight(circuit, self.now)),
            "retry_after": machine.retry_after(circuit, self.limits, self.now),
            "shed_share": machine.shed_share(circuit, self.limits, self.now),
            "shadow_state": circuit.judged if circuit.order is CircuitState.SHADOW else None,
            "verdict": "fleet" if circuit.followed or circuit.order is not circuit.mode else "local",
            "word": circuit.fleet_mode,
            "generation": circuit.generation,
            "cause": circuit.cause,
        }

    def stop(self) -> None:
        pass


def deadline(state: CircuitState, now: float, wait: float) -> float:
    """What a fleet's verdict says of time; of one that is closed, when it came."""
    return now if state is CircuitState.CLOSED else now + wait


class Fleet(LocalGate):
    """The others, as a breaker meets them: they say what they are told to, and let every probe go."""

    def gate(self, breaker: CircuitBreaker) -> Fleet:
        return self

    @property
    def governs(self) -> bool:
        return self.verdict is not None and self.verdict.state is not CircuitState.CLOSED

    def order(self, reason: Reason) -> None:
        self.verdict = as_verdict(reason)


def as_verdict(reason: Reason) -> FleetVerdict:
    """What a fleet says that has heard this of an operator."""
    reached = machine.ADMINISTRATIVE[reason]
    state = CircuitState.OPEN if reached is CircuitState.FORCED_OPEN else CircuitState.CLOSED
    return FleetVerdict(state, None if reached is CircuitState.CLOSED else reached, reason, 0.0, None)


class BreakerDriver:
    """A breaker, used by one thread in every way that a call can be made."""

    ways = SYNC
    short = SHORT
    kind: type[CircuitBreaker] = CircuitBreaker

    def __init__(self, rules: Rules, initial: CircuitState, *, shared: bool = False) -> None:
        self.clock = ManualClock(START)
        self.fleet = Fleet() if shared else None
        numbers = {**rules._asdict(), "trip": rule_of(rules), "ramp_up": rules.ramp_up or None}
        del numbers["failure_threshold" if rules.trip else "trip"], numbers["why"]
        config = CircuitBreakerConfig(
            **numbers, initial_state=initial, exclude=ExcludedError, describe_failure=str
        )
        self.breaker = self.kind("netflix", config, clock=self.clock, store=self.fleet)
        self.events: list[tuple[Any, ...]] = []
        self.rejections: list[tuple[CircuitState, float]] = []
        self.failures: list[BaseException | None] = []
        self.breaker.on_transition(self._hear)
        self.breaker.on_rejection(lambda event: self.rejections.append((event.state, event.retry_after)))
        self.breaker.on_failure(lambda event: self.failures.append(event.error))
        self.told: list[tuple[CircuitState, float]] = []  # what rejected callers were told

    def _hear(self, event: Any) -> None:
        heard = (event.old_state, event.new_state, event.reason, event.source, event.last_failure)
        self.events.append(heard)

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def begin(self, way: Any) -> Rejected | End:
        try:
            return self._begin(way)
        except CircuitOpenError as error:
            return self._rejected(error)

    def _begin(self, way: Any) -> End:
        end: End = way(self.breaker)
        return end

    def run(self, way: Any, outcome: Outcome, cause: str) -> Rejected | None:
        try:
            self._run(way, outcome, cause)
        except CircuitOpenError as error:
            return self._rejected(error)
        except (UnavailableError, ExcludedError):
            pass
        return None

    def _run(self, way: Any, outcome: Outcome, cause: str) -> None:
        way(self.breaker, error_of(outcome, cause))

    def _rejected(self, error: CircuitOpenError) -> Rejected:
        assert isinstance(error, TooManyCallsError) == (error.state is CircuitState.HALF_OPEN)
        assert error.circuit_name == "netflix"
        self.told.append((error.state, error.retry_after))
        return Rejected(error.state, error.retry_after, error.last_failure)

    def administer(self, reason: Reason) -> None:
        if self.fleet is None:
            self._order(reason)()
        else:
            self._order(reason)(local=True)

    def administer_all(self, reason: Reason) -> None:
        self._order(reason)()

    def _order(self, reason: Reason) -> Callable[..., None]:
        breaker = self.breaker
        return {
            Reason.RESET: breaker.reset,
            Reason.FORCED_OPEN: breaker.force_open,
            Reason.DISABLED: breaker.disable,
            Reason.SHADOWED: breaker.shadow,
        }[reason]

    def follow(
        self, state: CircuitState, mode: CircuitState | None, reason: str, wait: float, cause: str | None
    ) -> None:
        assert self.fleet is not None
        self.fleet.verdict = FleetVerdict(state, mode, reason, deadline(state, self.clock(), wait), cause)
        self.breaker._follow(self.fleet.verdict)
        self.breaker._announce()

    def facts(self) -> dict[str, Any]:
        metrics = self.breaker.metrics()
        assert self.breaker.state is metrics.state
        assert self.breaker.failure_count == metrics.failure_count
        assert self.breaker.success_count == metrics.success_count
        assert self.rejections == self.told
        assert len(self.failures) == metrics.failures
        assert (metrics.last_failure_at is None) == (metrics.failures == 0)
        names = (
            "state failure_count success_count half_open_calls failure_rate recovery_attempts calls "
            "successes failures ignored rejected opened retry_after shed_share shadow_state shadow_rejected "
            "entered verdict"
        )
        facts = {name: getattr(metrics, name) for name in names.split()}
        return {**facts, "events": list(self.events)}

    def stop(self) -> None:
        pass
