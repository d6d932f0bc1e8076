"""One circuit at work: the machine with a lock, a clock, counters and a gate.

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
binding of one attribute (`_circuit`, `evidence`, `_last_failure_at`, the listeners).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from time import time as unix_seconds
from typing import cast

from circuitry import machine, probing
from circuitry.checking import see_to_check
from circuitry.config import CircuitBreakerConfig, logger
from circuitry.errors import CircuitOpenError, TooManyCallsError
from circuitry.events import FailureEvent, FallbackEvent, RejectionEvent
from circuitry.gate import LOCAL, Leave
from circuitry.judging import CONDEMNED, Condemned, Judge, describe
from circuitry.locked import LockedCircuit
from circuitry.machine import WAIVED, Admission, Circuit
from circuitry.metrics import CircuitBreakerMetrics
from circuitry.probing import Admit
from circuitry.states import CircuitState, Limits, Outcome, Probe, Rejection
from circuitry.throttling import chance

DEBUG = 10
CAUSE_LENGTH = 200
SUCCESS, FAILURE, IGNORED = Outcome
OPEN = CircuitState.OPEN

#: The logger's own memory of which levels are enabled: half the price of asking it. Any change of
#: the logging set-up empties it, and where it is missing or empty the logger is asked.
_known_levels: dict[int, bool] = getattr(logger, "_cache", {})


class Breaker(LockedCircuit):
    """The engine: everything but the faces it shows to functions and blocks.

    Safe to use from any number of threads and tasks, under asyncio and trio, at once.
    """

    __slots__ = ("_count_failure", "_count_rejected", "_due", "_last_failure_at", "count", "judge")

    def __init__(
        self, name: str, config: CircuitBreakerConfig, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(name, config, clock)
        self.judge = Judge.of(config)
        #: `next` of it is all that a success without a streak before it takes.
        self.count = self.totals.successes.numbers
        self._count_failure = self.totals.failures.numbers
        self._count_rejected = self.totals.rejected.numbers
        self._last_failure_at: float | None = None
        #: The steps that were due where no lock may be taken.
        self._due: deque[tuple[Admission, Outcome, str | None, object]] = deque()

    # -- Admission ---------------------------------------------------------------------------

    def admit(self) -> Admission:
        """Leave to make one call, for a circuit that doesn't give it at once.

        Raises:
            CircuitOpenError: the call is rejected.
        """
        enter = self.enter
        if enter is not None and (flight := enter()) is not None:
            return flight
        barrier = self._barrier
        if barrier is not None and (left := barrier[0] - self._clock()) > 0:
            next(self._count_rejected)
            if self._on_rejection:
                self._on_rejection.tell(RejectionEvent(self.name, OPEN, left))
            raise CircuitOpenError(self.name, OPEN, left, barrier[1])
        verdict = self._decide()
        if verdict is None:
            verdict = self._decide(self._gate.ask())
        return self._admitted(verdict)

    async def admit_async(self) -> Admission:
        """The same; differs only where a fleet must be asked."""
        enter = self.enter
        if enter is not None and (flight := enter()) is not None:
            return flight
        barrier = self._barrier
        if barrier is not None and (left := barrier[0] - self._clock()) > 0:
            next(self._count_rejected)
            if self._on_rejection:
                self._on_rejection.tell(RejectionEvent(self.name, OPEN, left))
            raise CircuitOpenError(self.name, OPEN, left, barrier[1])
        verdict = self._decide()
        if verdict is None:
            verdict = self._decide(await self._gate.ask_async())
        return self._admitted(verdict)

    def _decide(self, leave: Leave | None = None, admit: Admit | None = None) -> Admission | Rejection | None:
        """The machine's verdict, or that of `admit`; None if the gate has to be asked first.

        A verdict that changes nothing, as every rejection, needs no lock.
        """
        if self._gate.asleep:
            self._wake()
        if self._due:
            self._take_due()
        now = self._clock()
        circuit, limits = self._circuit, self.limits
        if circuit.full_at:
            circuit = self._ramping(now)
        lot = chance() if limits.ramp_up else 1.0
        if admit is None:
            admit = machine.admit if limits.check_interval is None else probing.admit
        if leave is None:
            if not self._dropped:
                after, verdict = admit(circuit, limits, now, lot)
                if after is circuit:
                    return verdict
            if self._gate.governs and admit is not probing.admit:
                return None
        elif not leave.granted:
            return machine.refuse(circuit, leave.retry_after)
        if circuit.evidence is not None:  # calls in flight may open it
            limits = self._limits_for(None)
        with self._lock:
            self._sweep(now)
            after, verdict = admit(self._circuit, limits, now, lot)
            self._become(after)
        if leave is not None:
            leave.used_by(verdict) if isinstance(verdict, Probe) else leave.give_back()
        self._announce()
        return verdict

    def _admitted(self, verdict: Admission | Rejection | None) -> Admission:
        if verdict is WAIVED:
            self.totals.shadow_rejected.add()
            self._see_to_check()
        elif isinstance(verdict, Rejection):
            if self._panic is None or not self._panic.lets_through(verdict.state):
                raise self._rejected(verdict)
            self.totals.panic_admitted.add()
            self._see_to_check()
            verdict = WAIVED
        admission, stopwatch = cast("Admission", verdict), self._stopwatch
        return admission if stopwatch is None else stopwatch.start(admission)

    def _rejected(self, rejection: Rejection) -> CircuitOpenError:
        """Count a rejection, and make the exception for it."""
        self.totals.rejected.add()
        self._see_to_check()
        state, retry_after, cause = rejection
        if self._on_rejection:
            self._on_rejection.tell(RejectionEvent(self.name, state, retry_after))
        kind = TooManyCallsError if state is CircuitState.HALF_OPEN else CircuitOpenError
        return kind(self.name, state, retry_after, cause)

    def _see_to_check(self) -> None:
        """A call was turned down, or the circuit may have opened: see that its health check runs, if any."""
        if self.limits.check_interval is not None:
            see_to_check(self)

    # -- Outcomes: recording one never waits ---------------------------------------------------

    def success(self, admission: Admission) -> None:
        """A call that `admission` let through has succeeded."""
        next(self.count)
        if admission.run:
            if admission.success():
                self._record(admission, SUCCESS)
            elif self._tells:
                self._gate.tell(admission, SUCCESS, None)

    def failure(self, admission: Admission, error: BaseException | None, result: object = None) -> None:
        """A call that `admission` let through has failed, by `error` or by what it returned."""
        self.ended(admission, error, CONDEMNED, result)

    def ended(
        self,
        admission: Admission,
        error: BaseException | None,
        judge: Judge | Condemned | None,
        result: object = None,
    ) -> Outcome:
        """A call that `admission` let through has raised `error`: record what `judge` makes of it.

        Without a judge it is the breaker's that judges. If it has none either, every `Exception` is a
        failure, and what is none, is ignored.
        """
        if judge is None:
            judge = self.judge
        if judge is not None or not isinstance(error, Exception):
            outcome = IGNORED if judge is None else judge.error(error)
            if outcome is not FAILURE:
                self.ignore(admission) if outcome is IGNORED else self.success(admission)
                return outcome
        next(self._count_failure)
        self._last_failure_at = unix_seconds()
        if admission.failure():
            said = result if error is None else error
            self._record(admission, FAILURE, self._describe(error), said)
        elif self._gate is not LOCAL:
            wait = self._wait_for(result if error is None else error)
            self._gate.tell(admission, FAILURE, self._describe(error), wait)
        if _known_levels.get(DEBUG, True) and logger.isEnabledFor(DEBUG):
            extra = {"circuit": self.name}
            logger.debug("circuit %r: failure: %s", self.name, self._describe(error), extra=extra)
        if self._on_failure:
            self._on_failure.tell(FailureEvent(self.name, error))
        return FAILURE

    def ignore(self, admission: Admission) -> None:
        """A call that `admission` let through has ended without a verdict."""
        self.totals.ignored.add()
        if admission.given_up():
            self._leave_word(admission, IGNORED)

    def left_early(self, admission: Admission) -> None:
        """A stream was left by its consumer: a success, reported from where no lock may be taken.

        The garbage collector closes abandoned streams, and may run while this thread holds the lock.
        """
        next(self.count)
        if admission.run:
            if admission.success():
                self._leave_word(admission, SUCCESS)
            elif self._tells:
                self._untold.append((admission, SUCCESS))
                self._gate.nudge()

    def _leave_word(self, admission: Admission, outcome: Outcome) -> None:
        """An outcome takes a step, and no lock may be taken."""
        if isinstance(admission, Probe):
            self._dropped.append((admission, outcome))
            self._gate.nudge()
        else:
            self._put_off(admission, outcome)

    def _put_off(
        self, admission: Admission, outcome: Outcome, cause: str | None = None, said: object = None
    ) -> None:
        """A step is due, and no lock may be taken: who comes next takes it, and has to come by."""
        self.evidence = self.enter = None
        self._due.append((admission, outcome, cause, said))

    def _take_due(self) -> None:
        with self._lock:  # several threads may come by at once: each step is taken by one of them
            due = [self._due.popleft() for _ in range(len(self._due))]
        for step in due:
            self._record(*step)
        with self._lock:
            self._show(self._circuit)

    def stood_in(self, error: BaseException) -> None:
        """A fallback is about to stand in for `error`."""
        self.totals.fallbacks.add()
        if self._on_fallback:
            self._on_fallback.tell(FallbackEvent(self.name, error))

    def _wait_for(self, said: object) -> float | None:
        """For how long an opening that `said` may bring about would last: drawn now; None is as ever."""
        config = self.config
        if config.backoff is None and config.retry_after is None:
            return None
        return config.wait(self._circuit.openings + 1, said)

    def _limits_for(self, said: object) -> Limits:
        """The limits for an opening that `said` may bring about."""
        wait, limits = self._wait_for(said), self.limits
        return limits if wait is None else limits._replace(timeout_duration=wait)

    def _record(
        self, admission: Admission, outcome: Outcome, cause: str | None = None, said: object = None
    ) -> None:
        """Take a step that an outcome decides; `_sweep` takes it in turn."""
        if self._is_stepping():  # a stream is collected in the midst of a step, and its clean-up has failed
            self._put_off(admission, outcome, cause, said)
            return
        opens = outcome is FAILURE or not isinstance(admission, Probe)
        wait = self._wait_for(said) if opens else None
        now = self._clock()
        with self._lock:
            self._sweep(now)
            limits = self.limits if wait is None else self.limits._replace(timeout_duration=wait)
            if isinstance(admission, Probe):
                self._become(machine.record(self._circuit, limits, admission, outcome, now, cause))
            else:
                self._become(machine.trip(self._circuit, limits, admission.owner, now, cause))
        if self._gate is not LOCAL:
            self._gate.tell(admission, outcome, cause, wait)
        self._announce()
        self._see_to_check()

    def _describe(self, error: BaseException | None) -> str:
        """What `last_failure` says of an error. Runs the user's code, so never under the lock."""
        if error is None:
            return "failure_if: the returned value counts as a failure"
        try:
            text = (self.config.describe_failure or describe)(error)
            return str(text)[:CAUSE_LENGTH]
        except Exception:
            return type(error).__name__

    # -- Reading ---------------------------------------------------------------------------------

    @property
    def state(self) -> CircuitState:
        """The effective state. `open` stays `open` past its deadline until somebody calls."""
        return self._current().state

    @property
    def is_checking(self) -> bool:
        """Whether its health check is at work: it waits for its turn, or is being asked."""
        run = self._run
        return run is not None and not run.is_over

    @property
    def is_as_new(self) -> bool:
        """Whether a new breaker would do the same, but for a streak: takes no lock, tells no listener."""
        circuit = self._circuit
        if circuit.judged is not CircuitState.CLOSED or circuit.state != self.config.initial_state:
            return False
        return not machine.shed_share(circuit, self.limits, self._clock())

    def _current(self) -> Circuit:
        if self._due:
            self._take_due()
        return super()._current()

    def _take_on(self, config: CircuitBreakerConfig) -> None:
        self.judge = Judge.of(config)
        super()._take_on(config)

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
        self._current()
        now = self._clock()
        with self._lock:
            self._sweep(now)
            circuit, limits, totals = self._circuit, self.limits, self.totals
            counters = (totals.successes, totals.failures, totals.ignored)
            successes, failures, ignored = [counter.read() for counter in counters]
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
                last_failure_at=self._last_failure_at,
                retry_after=probing.retry_after(circuit, limits, now),
                shed_share=machine.shed_share(circuit, limits, now),
                shadow_state=circuit.judged if circuit.order is CircuitState.SHADOW else None,
                shadow_rejected=totals.shadow_rejected.read(),
                panic_admitted=totals.panic_admitted.read(),
                verdict="fleet" if circuit.followed or circuit.order is not circuit.mode else "local",
                entered={state.value: times for state, times in totals.entered.items()},
                latency=totals.latency.read() if self.config.latency else None,
            )
        self._announce()
        return snapshot
