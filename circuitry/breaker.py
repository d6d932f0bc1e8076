"""One circuit at work: the machine with a lock, a clock, counters, listeners and a gate.

How a call goes through:

1. `evidence` is read, once. If it is there, the call is admitted, by it; nothing else is needed.
   If it is None (open, half-open, forced open), `admit` asks the machine.
2. The user's function runs. No lock is held, here or anywhere outside this file.
3. What the call was admitted by takes its outcome: `success`, `failure` or `ignore`.

Why step 1 may skip the machine, and a success in step 3 too: under consecutive counting, in a
closed circuit without a failure streak, a success changes nothing. That is a theorem, and a test
holds both ways of going through side by side.

What is shared and written is written under `_lock`, but for these operations, each atomic in
CPython: `next(itertools.count())` in the counters, `deque.append` and `deque.popleft`, and the
binding of one attribute (`_circuit`, `evidence`, `last_failure_at`, the listeners).
"""

from __future__ import annotations

import itertools
import os
import time
import weakref
from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING

from circuitry import machine
from circuitry.config import CircuitBreakerConfig, Judge, check_name, logger
from circuitry.errors import CircuitOpenError, TooManyCallsError
from circuitry.events import (
    EventStream,
    FailureEvent,
    FallbackEvent,
    Listeners,
    RejectionEvent,
    TransitionEvent,
    check_listener,
)
from circuitry.gate import LOCAL, Gate, Leave
from circuitry.machine import WAIVED, Admission, Circuit, CircuitState, Outcome, Probe, Reason, Rejection
from circuitry.metrics import CircuitBreakerMetrics, Totals
from circuitry.windows import Evidence

if TYPE_CHECKING:
    from typing import Any

DEBUG, INFO, WARNING = 10, 20, 30
CAUSE_LENGTH = 200

_alive: weakref.WeakSet[Breaker] = weakref.WeakSet()

#: Generations of circuits in tests: far from those of any other, and from each other.
_stages = itertools.count(-(2**62), 2**32)


class Breaker:
    """The engine: everything but the faces it shows to functions and blocks.

    Safe to use from any number of threads and tasks, under asyncio and trio, at once.
    """

    __slots__ = (
        "__weakref__",
        "_circuit",
        "_clock",
        "_dropped",
        "_gate",
        "_lock",
        "_news",
        "_on_failure",
        "_on_fallback",
        "_on_rejection",
        "_on_transition",
        "_speaker",
        "config",
        "count",
        "evidence",
        "judge",
        "name",
        "totals",
    )

    #: What admits calls at once: the evidence of the present generation, or None.
    evidence: Evidence | None

    def __init__(
        self,
        name: str,
        config: CircuitBreakerConfig,
        clock: Callable[[], float] = time.monotonic,
        gate: Gate = LOCAL,
    ) -> None:
        self.name = check_name(name)
        self.config = config
        self.judge = Judge.of(config)
        self.totals = Totals()
        #: All that a success without a streak before it takes.
        self.count = self.totals.successes.add
        self._clock = clock
        self._gate = gate
        self._lock = Lock()
        self._circuit = machine.new(config.limits, CircuitState(config.initial_state))
        self.evidence = self._circuit.evidence
        #: Results that came where no lock may be taken; each step under the lock begins with them.
        self._dropped: deque[tuple[Admission, Outcome]] = deque()
        #: Transitions that the listeners haven't heard of, and who is telling them.
        self._news: deque[TransitionEvent] = deque()
        self._speaker: object = None
        self._on_transition = self._on_rejection = self._on_failure = self._on_fallback = Listeners()
        _alive.add(self)

    # -- Admission ---------------------------------------------------------------------------

    def admit(self) -> Admission:
        """Leave to make one call, for a circuit that doesn't give it at once.

        Raises:
            CircuitOpenError: the call is rejected.
        """
        verdict = self._decide()
        if verdict is None:
            verdict = self._decide(self._gate.ask())
        return self._admitted(verdict)

    async def admit_async(self) -> Admission:
        """The same; differs only where a fleet must be asked."""
        verdict = self._decide()
        if verdict is None:
            verdict = self._decide(await self._gate.ask_async())
        return self._admitted(verdict)

    def _decide(self, leave: Leave | None = None) -> Admission | Rejection | None:
        """The machine's verdict; None if the gate has to be asked first.

        A verdict that changes nothing, as every rejection, needs no lock.
        """
        now = self._clock()
        circuit, limits = self._circuit, self.config.limits
        if not self._dropped:
            after, verdict = machine.admit(circuit, limits, now)
            if after is circuit:
                return verdict
        if leave is None and self._gate.governs:
            return None
        if leave is Leave.REFUSED:
            return machine.rejection(circuit, limits, now)
        with self._lock:
            self._sweep(now)
            after, verdict = machine.admit(self._circuit, limits, now)
            self._become(after)
        self._announce()
        return verdict

    def _admitted(self, verdict: Admission | Rejection | None) -> Admission:
        if verdict.__class__ is Rejection:
            raise self._rejected(verdict)  # type: ignore[arg-type]
        if verdict is WAIVED:
            self.totals.shadow_rejected.add()
        return verdict

    def _rejected(self, rejection: Rejection) -> CircuitOpenError:
        """Count a rejection, and make the exception for it."""
        self.totals.rejected.add()
        state, retry_after, cause = rejection
        if self._on_rejection:
            self._on_rejection.tell(RejectionEvent(self.name, state, retry_after))
        kind = TooManyCallsError if state is CircuitState.HALF_OPEN else CircuitOpenError
        return kind(self.name, state, retry_after, cause)

    # -- Outcomes: recording one never waits ---------------------------------------------------

    def success(self, admission: Admission) -> None:
        """A call that `admission` let through has succeeded."""
        self.totals.successes.add()
        if admission.__class__ is Probe:
            self._record(admission, Outcome.SUCCESS, None)
        elif admission.run:
            admission.success()  # type: ignore[union-attr]
            if self._gate is not LOCAL:
                self._gate.tell(admission, Outcome.SUCCESS, None)

    def failure(self, admission: Admission, error: BaseException | None) -> None:
        """A call that `admission` let through has failed, by `error` or by what it returned."""
        totals = self.totals
        totals.failures.add()
        totals.last_failure_at = time.time()
        if admission.__class__ is Probe or admission.failure():  # type: ignore[union-attr]
            self._record(admission, Outcome.FAILURE, self._describe(error))
        elif self._gate is not LOCAL:
            self._gate.tell(admission, Outcome.FAILURE, self._describe(error))
        if logger.isEnabledFor(DEBUG):
            extra = {"circuit": self.name}
            logger.debug("circuit %r: failure: %s", self.name, self._describe(error), extra=extra)
        if self._on_failure:
            self._on_failure.tell(FailureEvent(self.name, error))

    def ignore(self, admission: Admission) -> None:
        """A call that `admission` let through has ended without a verdict."""
        self.totals.ignored.add()
        if admission.__class__ is Probe:
            self._dropped.append((admission, Outcome.IGNORED))

    def left_early(self, admission: Admission) -> None:
        """A stream was left by its consumer: a success, reported from where no lock may be taken.

        The garbage collector closes abandoned streams, and may run while this thread holds the lock.
        """
        self.totals.successes.add()
        if admission.run:
            self._dropped.append((admission, Outcome.SUCCESS))

    def ended(self, admission: Admission, error: BaseException, judge: Judge | None) -> Outcome:
        """A call that `admission` let through has raised `error`: record what `judge` makes of it."""
        if judge is not None:
            outcome = judge.error(error)
        else:
            outcome = Outcome.FAILURE if isinstance(error, Exception) else Outcome.IGNORED
        if outcome is Outcome.FAILURE:
            self.failure(admission, error)
        elif outcome is Outcome.SUCCESS:
            self.success(admission)
        else:
            self.ignore(admission)
        return outcome

    def stood_in(self, error: BaseException) -> None:
        """A fallback is about to stand in for `error`."""
        self.totals.fallbacks.add()
        if self._on_fallback:
            self._on_fallback.tell(FallbackEvent(self.name, error))

    def _record(self, admission: Admission, outcome: Outcome, cause: str | None) -> None:
        """Take a step that an outcome decides; `_sweep` takes it in turn."""
        now = self._clock()
        limits = self.config.limits
        with self._lock:
            self._sweep(now)
            if isinstance(admission, Probe):
                self._become(machine.record(self._circuit, limits, admission, outcome, now, cause))
            else:
                self._become(machine.trip(self._circuit, limits, admission, now, cause))
        if self._gate is not LOCAL:
            self._gate.tell(admission, outcome, cause)
        self._announce()

    def _describe(self, error: BaseException | None) -> str:
        """What `last_failure` says of an error. Runs the user's code, so never under the lock."""
        if error is None:
            return "failure_if: the returned value counts as a failure"
        try:
            text = (self.config.describe_failure or describe)(error)
            return str(text)[:CAUSE_LENGTH]
        except Exception:
            return type(error).__name__

    # -- Steps, under the lock -------------------------------------------------------------------

    def _sweep(self, now: float) -> None:
        """Take in the results that came where no lock may be taken."""
        while self._dropped:
            admission, outcome = self._dropped.popleft()
            self._become(machine.record(self._circuit, self.config.limits, admission, outcome, now))

    def _become(self, circuit: Circuit) -> None:
        """The only place where a circuit changes."""
        old, self._circuit = self._circuit, circuit
        if old.generation != circuit.generation:
            self.evidence = circuit.evidence
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
        event = TransitionEvent(self.name, before, after, circuit.reason, time.time(), source, circuit.cause)
        self._news.append(event)

    def _current(self) -> Circuit:
        """The circuit, with nothing outstanding."""
        if self._dropped:
            now = self._clock()
            with self._lock:
                self._sweep(now)
            self._announce()
        return self._circuit

    # -- Telling the listeners: outside the lock, one event at a time, in order -------------------

    def _announce(self) -> None:
        """Tell what is new, unless somebody is at it: then they go on with ours."""
        me = object()
        while self._news:
            try:
                with self._lock:
                    if self._speaker is not None or not self._news:
                        return
                    self._speaker = me
                    event = self._news.popleft()
                self._tell(event)
            finally:
                if self._speaker is me:
                    self._speaker = None

    def _tell(self, event: TransitionEvent) -> None:
        level = WARNING if event.new_state in (CircuitState.OPEN, CircuitState.FORCED_OPEN) else INFO
        if logger.isEnabledFor(level):
            cause = f": {event.last_failure}" if event.last_failure else ""
            old, new = event.old_state.value, event.new_state.value
            extra: dict[str, object] = {"circuit": event.name, "old_state": old, "new_state": new}
            extra |= {"reason": str(event.reason), "source": event.source, "last_failure": event.last_failure}
            text = "circuit %r: %s -> %s (%s, %s)%s"
            logger.log(level, text, event.name, old, new, event.reason, event.source, cause, extra=extra)
        self._on_transition.tell(event)

    def on_transition(self, listener: Callable[[TransitionEvent], object]) -> Callable[[], None]:
        """Call `listener(event)` at each change of the effective state.

        It runs in the thread that caused or found the change, outside every lock; one event at
        a time and in order. What it raises is logged.

        Returns:
            A function that unsubscribes it; calling it again does nothing.

        Raises:
            TypeError: the listener isn't callable, or async (use `events()`).
        """
        return self._listen("_on_transition", listener)

    def on_rejection(self, listener: Callable[[RejectionEvent], object]) -> Callable[[], None]:
        """Call `listener(event)` at each rejection; otherwise like `on_transition`."""
        return self._listen("_on_rejection", listener)

    def on_failure(self, listener: Callable[[FailureEvent], object]) -> Callable[[], None]:
        """Call `listener(event)` at each failure of an admitted call; otherwise like `on_transition`."""
        return self._listen("_on_failure", listener)

    def on_fallback(self, listener: Callable[[FallbackEvent], object]) -> Callable[[], None]:
        """Call `listener(event)` when a fallback is about to stand in; otherwise like `on_transition`."""
        return self._listen("_on_fallback", listener)

    def _listen(self, kind: str, listener: Callable[[Any], object]) -> Callable[[], None]:
        check_listener(listener)

        def heard(event: object) -> None:  # an object of its own for each subscription
            listener(event)

        def unsubscribe() -> None:
            with self._lock:
                setattr(self, kind, getattr(self, kind).without(heard))

        with self._lock:
            setattr(self, kind, getattr(self, kind).with_(heard))
        return unsubscribe

    def events(self, size: int = 1000) -> EventStream:
        """The transitions from now on, for `async for`, on asyncio or trio.

        Args:
            size: how many unread events are kept; beyond that the oldest are dropped.
        """
        stream = EventStream(size)
        stream.follow(self.on_transition)
        return stream

    # -- Reading ---------------------------------------------------------------------------------

    @property
    def state(self) -> CircuitState:
        """The effective state. `open` stays `open` past its deadline until somebody calls."""
        return self._current().state

    @property
    def failure_count(self) -> int:
        """Consecutive failures that stand against a closed circuit."""
        evidence = self._current().evidence
        return evidence.failures if evidence is not None else 0

    @property
    def success_count(self) -> int:
        """Successful probes of this half-open generation; 0 in any other state."""
        return self._current().successes

    def metrics(self) -> CircuitBreakerMetrics:
        """A snapshot of the circuit and its totals."""
        now = self._clock()
        with self._lock:
            self._sweep(now)
            circuit, limits, totals = self._circuit, self.config.limits, self.totals
            successes, failures, ignored = (
                totals.successes.read(),
                totals.failures.read(),
                totals.ignored.read(),
            )
            snapshot = CircuitBreakerMetrics(
                name=self.name,
                state=circuit.state,
                failure_count=circuit.evidence.failures if circuit.evidence is not None else 0,
                success_count=circuit.successes,
                half_open_calls=len(machine.in_flight(circuit, now)),
                failure_rate=totals.failure_rate(successes, failures),
                recovery_attempts=totals.entered[CircuitState.HALF_OPEN],
                calls=successes + failures + ignored,
                successes=successes,
                failures=failures,
                ignored=ignored,
                rejected=totals.rejected.read(),
                fallbacks=totals.fallbacks.read(),
                opened=totals.entered[CircuitState.OPEN],
                last_failure_at=totals.last_failure_at,
                retry_after=machine.retry_after(circuit, limits, now),
                shadow_state=circuit.judged if circuit.mode is CircuitState.SHADOW else None,
                shadow_rejected=totals.shadow_rejected.read(),
                entered={state.value: times for state, times in totals.entered.items()},
            )
        self._announce()
        return snapshot

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
            untouched = self._circuit.generation == 0 and config.initial_state != self.config.initial_state
            self.config = config
            self.judge = Judge.of(config)
            machine.adjust(self._circuit, config.limits)
            if untouched:
                self._become(machine.new(config.limits, CircuitState(config.initial_state)))
                self.evidence = self._circuit.evidence

    def _set_aside(self, state: CircuitState) -> Circuit:
        """For tests: be in `state`, unheard, and give what the circuit was."""
        now = self._clock()
        with self._lock:
            self._sweep(now)
            kept = self._circuit
            self._circuit = machine.staged(self.config.limits, state, next(_stages), now)
            self.evidence = self._circuit.evidence
        return kept

    def _put_back(self, kept: Circuit) -> None:
        with self._lock:
            self._sweep(self._clock())
            self._circuit = kept
            self.evidence = kept.evidence

    def _rearm(self) -> None:
        """In a forked child: whoever held the lock doesn't exist here."""
        self._lock = Lock()
        self._speaker = None


def describe(error: BaseException) -> str:
    """An error as text: `"TimeoutError: read timed out"`."""
    text = str(error)
    name = type(error).__name__
    return f"{name}: {text}" if text else name


def alive() -> list[Breaker]:
    """Every breaker that somebody still holds."""
    return list(_alive)


def _rearm_all() -> None:
    for breaker in alive():
        breaker._rearm()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_rearm_all)
