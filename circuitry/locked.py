"""The circuit under its lock: the only place where it changes.

Every change is a step of the machine, taken by `_become` with `_lock` held. No user's code runs
there: what listeners have to hear is queued, and told when the lock is free again.

A finalizer can't take the lock, since the garbage collector may run while this very thread holds
it. What it has to say goes to `_dropped`, and each step begins by taking that in.

Where a fleet shares the verdict, a gate stands beside the circuit. Until it is awake `evidence` is
withheld: so the first call comes to it, and the calls after that cost what they would without it.
"""

from __future__ import annotations

import functools
import itertools
from collections import deque
from collections.abc import Callable
from time import time as unix_seconds
from typing import TYPE_CHECKING, Any

from circuitry import machine
from circuitry.checks import check_asked, check_name
from circuitry.config import CircuitBreakerConfig, check_changeable
from circuitry.events import TransitionEvent
from circuitry.forking import holders, rearm_after_fork
from circuitry.gate import LOCAL, Gate
from circuitry.listening import Listening
from circuitry.machine import Admission, Circuit
from circuitry.metrics import Totals
from circuitry.states import CircuitState, FleetVerdict, Limits, Outcome, Probe, Reason
from circuitry.stopwatch import Stopwatch
from circuitry.windows import Admitting, Evidence

if TYPE_CHECKING:
    from circuitry.checking import Run
    from circuitry.panic import Barrier, Member

#: Generations of circuits in tests: far from those of any other, and from each other.
_stages = itertools.count(-(2**62), 2**32)


class LockedCircuit(Listening):
    """A circuit, its totals, and the steps that change it."""

    __slots__ = (
        "_barrier",
        "_circuit",
        "_clock",
        "_dropped",
        "_gate",
        "_panic",
        "_run",
        "_stopwatch",
        "_tells",
        "_untold",
        "config",
        "enter",
        "evidence",
        "limits",
        "name",
        "totals",
    )

    config: CircuitBreakerConfig
    limits: Limits
    #: What admits calls at once: the evidence of the present generation, or None.
    evidence: Evidence | None
    #: Where each call needs an admission of its own: what gives it, or None.
    enter: Callable[[], Admitting | None] | None
    #: Whether its fleet hears of successes; of a circuit with a rule it is told what the windows hold.
    _tells: bool
    #: Its part in the panic of its family, if it is in one that may panic.
    _panic: Member | None
    #: Until when every call is rejected at once, and why; or None.
    _barrier: tuple[float, str | None] | Barrier | None

    def __init__(self, name: str, config: CircuitBreakerConfig, clock: Callable[[], float]) -> None:
        super().__init__()
        self.name = check_name(name)
        self.config = config
        self.totals = Totals()
        self._clock = clock
        self.limits = config.limits._replace(clock=clock)
        self._stopwatch = self._stopwatch_for(config)
        self._gate: Gate = LOCAL
        self._panic = None
        self._run: Run | None = None  # the health check at work
        self._dropped: deque[tuple[Probe, Outcome]] = deque()
        self._untold: deque[tuple[Admission, Outcome]] = deque()  # what the gate hasn't heard of
        self._show(machine.new(self.limits, CircuitState(config.initial_state)))
        rearm_after_fork(self)

    def _is_stepping(self) -> bool:
        """Whether this very thread holds the lock, or its family's: who holds ours may wait for that."""
        return super()._is_stepping() or (self._panic is not None and self._panic.is_stepping())

    def _show(self, circuit: Circuit) -> None:
        """Set the circuit, and what may be read off it without the machine.

        All of it is worked out first: Ctrl-C strikes between calls, and must not leave a half of it.
        """
        evidence: Evidence | None = circuit.evidence
        enter: Callable[[], Admitting | None] | None = None
        self._gate.tag(circuit.counted)
        tells = self._gate is not LOCAL and self.limits.rule is None
        until = machine.barrier(circuit)
        barrier = until if until is None or self._panic is None else self._panic.barrier(until)
        if self._gate.asleep or circuit.full_at:  # or in a ramp: each call asks the machine
            evidence = None
        elif evidence is not None:
            enter = self._entrance(evidence)
            if enter is not None:
                evidence = None
        self._circuit, self.evidence, self.enter, self._barrier = circuit, evidence, enter, barrier
        self._tells = tells

    def _entrance(self, evidence: Evidence) -> Callable[[], Admitting | None] | None:
        """What gives each call an admission of its own, where that is needed."""
        entrance, stopwatch = evidence.entrance, self._stopwatch
        if stopwatch is None:
            return evidence.enter if entrance is None and self.config.call_timeout is not None else entrance
        if entrance is None:
            return functools.partial(stopwatch.around, evidence)
        return functools.partial(stopwatch.enter, entrance)

    def _sweep(self, now: float) -> None:
        """Take in the results that came where no lock may be taken."""
        while self._dropped:
            probe, outcome = self._dropped.popleft()
            self._become(machine.record(self._circuit, self.limits, probe, outcome, now))
            if self._gate is not LOCAL:
                self._untold.append((probe, outcome))

    def _tell_gate(self) -> None:
        """Pass on what was swept in: the gate is told outside of the lock, like everybody."""
        while self._untold:
            with self._lock:
                untold = [self._untold.popleft() for _ in range(len(self._untold))]
            for admission, outcome in untold:
                self._gate.tell(admission, outcome, None)

    def _announce(self) -> None:
        """Tell the gate and the listeners what is new."""
        self._tell_gate()
        super()._announce()
        if self._panic is not None:
            self._panic.announce()

    def _become(self, circuit: Circuit) -> None:
        """The only place where a circuit changes."""
        old = self._circuit
        if circuit is not old:
            self._show(circuit)
        if circuit.generation != old.generation:
            self._note(old, circuit)

    def _ramping(self, now: float) -> Circuit:
        """The circuit, where it was in a ramp a moment ago: without it, if that is over."""
        if machine.at_full(self._circuit, now) is not self._circuit:
            with self._lock:
                self._become(machine.at_full(self._circuit, now))
        return self._circuit

    def _note(self, old: Circuit, circuit: Circuit) -> None:
        """Count a new generation, and leave word for the listeners if it is another state."""
        if circuit.judged is CircuitState.CLOSED:
            self.totals.closing()
        source = "admin" if circuit.reason in machine.ADMINISTRATIVE else "local"
        source = "fleet" if circuit.followed else source
        before, after = old.state, circuit.state
        if before is after and circuit.order is CircuitState.SHADOW:
            before, after, source = old.judged, circuit.judged, "shadow"
        if before is after:
            return
        if source != "shadow":
            self.totals.entered[after] += 1
            if self._panic is not None:
                self._panic.note(after)
        event = TransitionEvent(
            self.name, before, after, circuit.reason, unix_seconds(), source, circuit.cause
        )
        self._news.append(event)

    def _current(self) -> Circuit:
        """The circuit, with nothing outstanding."""
        if self._gate.asleep:
            self._wake()
        if self._dropped:
            now = self._clock()
            with self._lock:
                self._sweep(now)
            self._announce()
        return self._circuit

    # -- A fleet ---------------------------------------------------------------------------------

    def _share(self, gate: Gate) -> None:
        """Share the verdict through this gate from now on; or no more, with the local one."""
        with self._lock:
            self._gate = gate
            self._show(self._circuit)

    def _wake(self) -> None:
        """The circuit is used for the first time in this process."""
        self._gate.wake()
        with self._lock:
            self._show(self._circuit)

    def _take_in(self) -> None:
        """Take in what was dropped, and tell the gate: who calls has to see to the announcement."""
        if self._dropped:
            now = self._clock()
            with self._lock:
                self._sweep(now)
        self._tell_gate()

    def _follow(self, verdict: FleetVerdict, unless: Callable[[], object] = lambda: None) -> None:
        """Do what the fleet has decided, `unless` an order goes before it; who calls has to announce it."""
        now = self._clock()
        with self._lock:
            self._sweep(now)
            if not unless():
                self._become(machine.follow(self._circuit, self.limits, verdict))

    # -- Administration --------------------------------------------------------------------------

    def reset(self, *, local: bool = False) -> None:
        """Close the circuit and forget its streak, probes and last failure; totals stay.

        Args:
            local: in a fleet, for this process alone; then what the fleet says holds again.
        """
        self._administer(Reason.RESET, local)

    def force_open(self, *, local: bool = False) -> None:
        """Reject every call until `reset()` or another administrative call.

        Args:
            local: in a fleet, for this process alone.
        """
        self._administer(Reason.FORCED_OPEN, local)

    def disable(self, *, local: bool = False) -> None:
        """Admit every call and judge none, until `reset()` or another administrative call.

        Args:
            local: in a fleet, for this process alone.
        """
        self._administer(Reason.DISABLED, local)

    def shadow(self, *, local: bool = False) -> None:
        """Judge as usual and reject nothing, until `reset()` or another administrative call.

        Args:
            local: in a fleet, for this process alone.
        """
        self._administer(Reason.SHADOWED, local)

    def _administer(self, reason: Reason, local: bool) -> None:
        gate = self._gate
        of_fleet = gate is not LOCAL and not local
        if gate.asleep:
            self._wake()
        now = self._clock()
        with self._lock:
            self._sweep(now)
            limits = self.limits
            if of_fleet:  # in one step: what the fleet says is followed before both, or after
                gate.order(reason)
            self._become(machine.administer(self._circuit, limits, reason, of_fleet=of_fleet))
            if reason is Reason.RESET and not of_fleet and (verdict := gate.verdict) is not None:
                self._become(machine.follow(self._circuit, limits, verdict))
        self._announce()

    def reconfigure(self, **settings: Any) -> None:
        """Go by other settings from now on. State, counts and permits in flight are kept.

        An open circuit keeps its deadline. What is counted stays counted, unless it is counted in another
        window, or by another limit of what is slow. `initial_state` only matters while nothing has changed
        the state yet.

        Args:
            **settings: fields of `CircuitBreakerConfig`, but for `failure_if`, which guards know by heart.
                The others stay as they are; of those that say when to trip, the later ones hold.

        Raises:
            ConfigurationError: a setting isn't allowed, and nothing has changed.
        """
        check_changeable(settings)
        check_asked(settings.get("health_check"))
        before = self.config
        while not self._configure(before.replace(**settings), before):
            before = self.config  # somebody else has changed it meanwhile

    def _configure(
        self, config: CircuitBreakerConfig, in_place_of: CircuitBreakerConfig | None = None
    ) -> bool:
        """Go by other settings from now on, if it goes by those that they replace."""
        with self._lock:
            if in_place_of is not None and in_place_of is not self.config:
                return False
            begins_anew = self._circuit.generation == 0 and config.initial_state != self.config.initial_state
            old, self.limits = self.limits, config.limits._replace(clock=self._clock)
            self._take_on(config)
            self._become(machine.adjust(self._circuit, old, self.limits))
            self._show(self._circuit)
            if begins_anew:
                reason = machine.reason_for(CircuitState(config.initial_state))
                self._become(machine.administer(self._circuit, self.limits, reason))
        self._announce()
        return True

    def _take_on(self, config: CircuitBreakerConfig) -> None:
        self._stopwatch = self._stopwatch_for(config)
        self.config = config

    def _stopwatch_for(self, config: CircuitBreakerConfig) -> Stopwatch | None:
        return Stopwatch(self._clock, self.totals.latency) if config.latency else None

    def _set_aside(self, state: CircuitState) -> tuple[Circuit, Limits]:
        """For tests: be in `state`, unheard, and give what the circuit was, and what it went by."""
        now = self._clock()
        with self._lock:
            self._sweep(now)
            kept = self._circuit, self.limits
            self._show(machine.staged(self.limits, state, next(_stages), now))
        return kept

    def _put_back(self, kept: tuple[Circuit, Limits]) -> None:
        now, (circuit, limits) = self._clock(), kept
        with self._lock:
            self._sweep(now)
            self._show(machine.adjust(circuit, limits, self.limits))
            if self._panic is not None:  # which has heard of what happened meanwhile
                self._panic.note(circuit.state)
        self._announce()

    def _rearm(self) -> None:
        super()._rearm()
        self._run = None
        self._gate.rearm()
        if self._gate is not LOCAL and self.limits.rule is not None:  # what is in them its parent tells
            self.limits.rule.empty(self._circuit.evidence, self._clock)
        self._show(self._circuit)


def alive() -> list[LockedCircuit]:
    """Every breaker that somebody still holds."""
    return [holder for holder in holders() if isinstance(holder, LockedCircuit)]
