"""The circuit under its lock: the only place where it changes.

Every change is a step of the machine, taken by `_become` with `_lock` held. No user's code runs
there: what listeners have to hear is queued, and told when the lock is free again.

A finalizer can't take the lock, since the garbage collector may run while this very thread holds
it. What it has to say goes to `_dropped`, and each step begins by taking that in.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from time import time as unix_seconds

from circuitry import machine
from circuitry.config import CircuitBreakerConfig, check_name
from circuitry.events import TransitionEvent
from circuitry.forking import holders, rearm_after_fork
from circuitry.listening import Listening
from circuitry.machine import Circuit, CircuitState, Outcome, Probe, Reason
from circuitry.metrics import Totals
from circuitry.windows import Evidence

#: Generations of circuits in tests: far from those of any other, and from each other.
_stages = itertools.count(-(2**62), 2**32)


class LockedCircuit(Listening):
    """A circuit, its totals, and the steps that change it."""

    __slots__ = (
        "_barrier",
        "_circuit",
        "_clock",
        "_dropped",
        "config",
        "evidence",
        "name",
        "totals",
    )

    #: What admits calls at once: the evidence of the present generation, or None.
    evidence: Evidence | None
    #: Until when every call is rejected at once, and why; or None.
    _barrier: tuple[float, str | None] | None

    def __init__(self, name: str, config: CircuitBreakerConfig, clock: Callable[[], float]) -> None:
        super().__init__()
        self.name = check_name(name)
        self.config = config
        self.totals = Totals()
        self._clock = clock
        self._dropped: deque[tuple[Probe, Outcome]] = deque()
        self._show(machine.new(config.limits, CircuitState(config.initial_state)))
        rearm_after_fork(self)

    def _show(self, circuit: Circuit) -> None:
        """Set the circuit, and what may be read off it without the machine."""
        self._circuit = circuit
        self.evidence = circuit.evidence
        self._barrier = machine.barrier(circuit)

    def _sweep(self, now: float) -> None:
        """Take in the results that came where no lock may be taken."""
        while self._dropped:
            probe, outcome = self._dropped.popleft()
            self._become(machine.record(self._circuit, self.config.limits, probe, outcome, now))

    def _become(self, circuit: Circuit) -> None:
        """The only place where a circuit changes."""
        old = self._circuit
        if circuit is not old:
            self._show(circuit)
        if circuit.generation != old.generation:
            self._note(old, circuit)

    def _note(self, old: Circuit, circuit: Circuit) -> None:
        """Count a new generation, and leave word for the listeners if it is another state."""
        if circuit.judged is CircuitState.CLOSED:
            self.totals.closing()
        source = "admin" if circuit.reason in machine.ADMINISTRATIVE else "local"
        before, after = old.state, circuit.state
        if before is after and circuit.mode is CircuitState.SHADOW:
            before, after, source = old.judged, circuit.judged, "shadow"
        if before is after:
            return
        if source != "shadow":
            self.totals.entered[after] += 1
        event = TransitionEvent(
            self.name, before, after, circuit.reason, unix_seconds(), source, circuit.cause
        )
        self._news.append(event)

    def _current(self) -> Circuit:
        """The circuit, with nothing outstanding."""
        if self._dropped:
            now = self._clock()
            with self._lock:
                self._sweep(now)
            self._announce()
        return self._circuit

    # -- Administration --------------------------------------------------------------------------

    def reset(self) -> None:
        """Close the circuit and forget its streak, probes and last failure; totals stay."""
        self._administer(Reason.RESET)

    def force_open(self) -> None:
        """Reject every call until `reset()` or another administrative call."""
        self._administer(Reason.FORCED_OPEN)

    def disable(self) -> None:
        """Admit every call and judge none, until `reset()` or another administrative call."""
        self._administer(Reason.DISABLED)

    def shadow(self) -> None:
        """Judge as usual and reject nothing, until `reset()` or another administrative call."""
        self._administer(Reason.SHADOWED)

    def _administer(self, reason: Reason) -> None:
        now = self._clock()
        with self._lock:
            self._sweep(now)
            self._become(machine.administer(self._circuit, self.config.limits, reason))
        self._announce()

    def _configure(self, config: CircuitBreakerConfig) -> None:
        """Go by other settings from now on. State, counts and permits in flight are kept."""
        with self._lock:
            begins_anew = self._circuit.generation == 0 and config.initial_state != self.config.initial_state
            self.config = config
            machine.adjust(self._circuit, config.limits)
            if begins_anew:
                reason = machine.reason_for(CircuitState(config.initial_state))
                self._become(machine.administer(self._circuit, config.limits, reason))
        self._announce()

    def _set_aside(self, state: CircuitState) -> Circuit:
        """For tests: be in `state`, unheard, and give what the circuit was."""
        now = self._clock()
        with self._lock:
            self._sweep(now)
            kept = self._circuit
            self._show(machine.staged(self.config.limits, state, next(_stages), now))
        return kept

    def _put_back(self, kept: Circuit) -> None:
        now = self._clock()
        with self._lock:
            self._sweep(now)
            self._show(kept)

    def _rearm(self) -> None:
        super()._rearm()
        self._speaker = None


def alive() -> list[LockedCircuit]:
    """Every breaker that somebody still holds."""
    return [holder for holder in holders() if isinstance(holder, LockedCircuit)]
