"""The script behind the verbs of the model: one circuit on a server, called by two members.

With a quorum of one it makes no difference which member calls, and a probe's lease is what its slot
is to a circuit on its own. So what holds for one machine has to hold for a fleet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from circuitry.redis.views import Verdict, View
from circuitry.states import CircuitState, Outcome, Reason

from ..model.reference import ORDERS, Rejected
from ..model.reference import Rules as Settings
from .model_fleet import Fleet, Probe

End = Callable[[Outcome, str], None]

RUNS = {Outcome.SUCCESS: 0, Outcome.FAILURE: 1}


class FleetDriver:
    """A circuit in Redis, as `tests/model` plays with one."""

    ways = short = ("a", "b")

    def __init__(self, settings: Settings, initial: CircuitState, make_fleet: Callable[..., Fleet]) -> None:
        self.settings = settings
        self.fleet = make_fleet(
            failure_threshold=settings.failure_threshold,
            success_threshold=settings.success_threshold,
            timeout_ms=round(settings.timeout_duration * 1000),
            half_open_max_calls=settings.half_open_max_calls,
            lease_ms=round(settings.probe_timeout * 1000),
        )
        self.fleet.sync()
        if initial is not CircuitState.CLOSED:
            self.fleet.force(initial)
        self.epochs = [self.fleet.peek().epoch]

    def advance(self, seconds: float) -> None:
        self.fleet.advance(seconds)

    def begin(self, way: Any) -> Rejected | End:
        token = self.fleet.new_token()
        view = self._note(self.fleet.acquire(way, token))
        if view.verdict is Verdict.PROBE:
            return self._probe(Probe(self.fleet, way, token, view))
        if view.verdict is Verdict.CLOSED:
            return self._call(way, view)
        if view.mode is CircuitState.SHADOW:
            return lambda outcome, cause: None
        assert view.verdict is (Verdict.FULL if view.state is CircuitState.HALF_OPEN else Verdict.REJECTED)
        return Rejected(view.shown, self._retry_after(view), view.cause)

    def _probe(self, probe: Probe) -> End:
        def end(outcome: Outcome, cause: str) -> None:
            self._note(self.fleet.done(probe, outcome, cause))

        return end

    def _call(self, member: str, admitted: View) -> End:
        def end(outcome: Outcome, cause: str) -> None:
            if outcome in RUNS:
                run = RUNS[outcome]
                self._note(self.fleet.batch(run, member=member, epoch=admitted.epoch, cause=cause))

        return end

    def run(self, way: Any, outcome: Outcome, cause: str) -> Rejected | None:
        verdict = self.begin(way)
        return verdict if isinstance(verdict, Rejected) else verdict(outcome, cause)

    def administer(self, reason: Reason) -> None:
        if reason is Reason.RESET:
            self._note(self.fleet.reset())
        else:
            self._note(self.fleet.force(ORDERS[reason]))

    def facts(self) -> dict[str, Any]:
        view = self._note(self.fleet.peek())
        return {
            "state": view.shown,
            "failure_count": view.failures,
            "success_count": view.successes,
            "half_open_calls": view.live_probes,
            "retry_after": self._retry_after(view),
            "shadow_state": view.state if view.mode is CircuitState.SHADOW else None,
            "cause": view.cause,
            "generation": len(self.epochs) - 1,
        }

    def stop(self) -> None:
        self.fleet.clean()

    def _note(self, view: View) -> View:
        if view.epoch != self.epochs[-1]:
            self.epochs.append(view.epoch)
        return view

    def _retry_after(self, view: View) -> float:
        if view.mode is not None:
            return self.settings.timeout_duration if view.mode is CircuitState.FORCED_OPEN else 0.0
        return view.remaining_ms / 1000
