"""One circuit's part in its fleet: the gate between a breaker and the link.

The breaker's own machine always runs. Here is what comes from the fleet to it (`receive`), and what goes
from it to the fleet (`send`). Both run in the link's thread; all else runs in the callers', and only
`ask` ever waits there.
"""

from __future__ import annotations

import itertools
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from circuitry.events import waker
from circuitry.gate import ALONE, Leave, Refused
from circuitry.locked import LockedCircuit
from circuitry.machine import (
    ADMINISTRATIVE,
    Admission,
    CircuitState,
    FleetVerdict,
    Limits,
    Outcome,
    Probe,
    Reason,
)
from circuitry.redis.leases import Desk, Lease, Request
from circuitry.redis.outbox import OUTCOME_AGE, Ended, Outbox, Runs
from circuitry.redis.script import Command, Rules, Subject
from circuitry.redis.views import Verdict, View
from circuitry.windows import Evidence, Streak

if TYPE_CHECKING:
    from circuitry.redis.link import Link
    from circuitry.redis.store import RedisStore

NEVER = float("inf")


class Speaker(Protocol):
    """Who says things to the server, while it is there."""

    def ask(self, command: Command) -> View:
        """Run a command of the script, and read the reply."""
        ...

    def server_time(self, at: float) -> int | None:
        """A moment of our monotonic clock on the server's, in microseconds."""
        ...


class SharedGate:
    """A breaker's gate to its fleet."""

    def __init__(self, store: RedisStore, link: Link, breaker: LockedCircuit) -> None:
        self.name = breaker.name
        self.asleep = True
        self.governs = False
        self.verdict: FleetVerdict | None = None
        self.view: View | None = None
        self.outbox = Outbox()
        self.desk = Desk()
        self.poked = False  # whether it waits for the link's attention
        self._store = store  # lives as long as a breaker needs it
        self._link = link
        self._breaker = weakref.ref(breaker)
        self._subject: Subject | None = None
        self._limits: Limits = breaker.config.limits  # the latest; `_subject` is made of them
        self._joined_at: float | None = None
        self._tokens = itertools.count(1)
        self._leases: dict[Probe, Lease] = {}
        link.naming.keys(self.name)  # a name that can't be one of keys is refused at once

    # -- What the breaker says: in the callers' threads ---------------------------------------------

    def wake(self) -> None:
        """The circuit is used: join the fleet."""
        self.asleep = False
        self._link.join(self)

    def tell(self, admission: Admission, outcome: Outcome, cause: str | None) -> None:
        """Hand an outcome to the link."""
        if isinstance(admission, Probe):
            lease = self._leases.pop(admission, None)
            if lease is not None:  # else it was this process's own probe
                self.end(lease, outcome, cause)
        elif isinstance(admission, Streak):
            self.outbox.count(admission.epoch, outcome, cause)
            self.nudge()

    def end(self, lease: Lease, outcome: Outcome, cause: str | None) -> None:
        """Hand the end of a leased probe to the link."""
        self.outbox.end(lease, outcome, cause)
        self.nudge()

    def order(self, reason: Reason) -> None:
        """Hand an operator's word to the link. Until the fleet has it, nothing of the fleet is followed."""
        self.outbox.order(reason)
        self.governs = False
        self.nudge()

    def nudge(self) -> None:
        """Ask for the link's attention. Takes no lock, so finalizers may call it."""
        self._link.poke(self)

    def tag(self, evidence: Evidence | None) -> None:
        """Calls are counted in `evidence` from now on: in the fleet's present epoch."""
        view = self.view
        if not isinstance(evidence, Streak):
            return
        evidence.epoch = 0 if view is None or self.outbox.ordered else view.epoch
        if view is not None and view.failures and view.state is CircuitState.CLOSED:
            evidence.run = True  # somebody's streak stands: the next success is news

    def hold(self, lease: Lease, probe: Probe) -> None:
        """A leased probe goes out: the link renews its slot while it runs, up to its `probe_timeout`."""
        lease.over_at = time.monotonic() + self.limits.probe_timeout
        self._leases[probe] = lease
        self.nudge()

    def ask(self) -> Leave:
        """Ask the fleet for a lease: one round trip at most, and none in a thread with an event loop."""
        leave = self._at_once()
        if leave is not None:
            return leave
        if in_event_loop():
            self._request(None)
            return Refused()
        answered = threading.Event()
        request = self._request(answered.set)
        try:
            answered.wait(self._link.patience)
        except BaseException:
            request.settle(ALONE).give_back()
            raise
        return request.settle(self._unanswered())

    async def ask_async(self) -> Leave:
        """The same, awaited."""
        import anyio

        leave = self._at_once()
        if leave is not None:
            return leave
        answered = anyio.Event()
        request = self._request(waker(answered.set))
        try:
            with anyio.move_on_after(self._link.patience):
                await answered.wait()
        except BaseException:
            request.settle(ALONE).give_back()
            raise
        return request.settle(self._unanswered())

    def _at_once(self) -> Leave | None:
        if not self.governs:
            return ALONE
        return self.desk.at_once(self.limits.half_open_max_calls, self.epoch)

    def _request(self, wake: Callable[[], object] | None) -> Request:
        request = self.desk.request(f"{self._link.member}:{id(self)}:{next(self._tokens)}", wake)
        self.nudge()
        return request

    def _unanswered(self) -> Leave:
        """The answer took too long: a slow server refuses, a lost one leaves each process to itself."""
        return Refused() if self.governs else ALONE

    # -- What goes to the fleet: in the link's thread -------------------------------------------------

    def send(self, speaker: Speaker) -> None:
        """Say all that waits, in the order in which the fleet has to hear it.

        Raises:
            Exception: the server didn't take it. What was said is not said again, but for an order.
        """
        breaker = self._breaker()  # it may be gone: what it has said is said all the same
        if breaker is not None:
            breaker._take_in()
        while order := self.outbox.ordered:
            self._carry_out(order.reason, speaker)
            self.outbox.carried_out(order)
            self.outbox.learn(self.epoch)
            if breaker is not None:
                self.tag(breaker._circuit.evidence)
            self.mind()
        while ended := self.outbox.take_ended():
            self.receive(speaker.ask(self._done(ended)))
        if runs := self.outbox.take_runs():
            self.receive(speaker.ask(self._batch(runs, speaker)))
        while request := self.desk.next():
            self._lease(request, speaker)
        self._renew(speaker)

    def _carry_out(self, reason: Reason, speaker: Speaker) -> None:
        """An order's own view isn't followed: this circuit did what it says when it was given."""
        script, actor = self._link.script, self._link.member
        if reason is Reason.RESET:
            view = speaker.ask(script.reset(self.subject, self.version, actor))
        else:
            view = speaker.ask(script.force(self.subject, self.version, ADMINISTRATIVE[reason], actor))
        if view.version > self.version:
            self._keep(view)

    def _done(self, ended: Ended) -> Command:
        lease, outcome, cause, _ = ended
        return self._link.script.done(self.subject, self.version, lease.epoch, lease.token, outcome, cause)

    def _batch(self, runs: Runs, speaker: Speaker) -> Command:
        return self._link.script.batch(
            self.subject,
            self.version,
            runs.epoch or self.epoch,
            runs.runs,
            runs.cause,
            settled=self._is_settled(),
            best_before=speaker.server_time(runs.since + OUTCOME_AGE),
        )

    def _lease(self, request: Request, speaker: Speaker) -> None:
        try:
            if request.given_up:
                return
            view = speaker.ask(self._link.script.acquire(self.subject, self.version, request.token))
            self.receive(view)
            if view.verdict is Verdict.PROBE:
                ends = time.monotonic() + self.rules.lease_ms / 1000
                self.desk.grant(request, Lease(self, request.token, view.epoch, ends))
            elif view.verdict in (Verdict.FULL, Verdict.REJECTED):
                self.desk.refuse(request, view.remaining_ms / 1000)
        finally:
            self.desk.done(request)

    def _renew(self, speaker: Speaker) -> None:
        """Leases are renewed at a third of their time, while their probe runs and may hold a slot."""
        now = time.monotonic()
        due = [lease for lease in list(self._leases.values()) if now >= self._renewal_of(lease)]
        if not due:
            return
        for lease in due:  # before it is said: what is refused is tried again a third later, not at once
            lease.ends = now + self.rules.lease_ms / 1000
        tokens = [lease.token for lease in due]
        self.receive(speaker.ask(self._link.script.renew(self.subject, self.version, self.epoch, tokens)))

    def _renewal_of(self, lease: Lease) -> float:
        """When a lease has to be renewed; never, once its epoch is over or its probe has had its time."""
        at = lease.ends - self.rules.lease_ms / 1500
        return NEVER if at >= lease.over_at or lease.epoch != self.epoch else at

    @property
    def next_renewal(self) -> float:
        """When the link has to come back, on the monotonic clock."""
        return min(map(self._renewal_of, list(self._leases.values())), default=NEVER)

    # -- What comes from the fleet: in the link's thread ------------------------------------------------

    def receive(self, view: View, *, resync: bool = False) -> None:
        """Take in a view, if it is news. `resync`: the link was lost, and this is where the fleet stands."""
        breaker = self._breaker()
        if breaker is None:
            return
        if view.verdict in (Verdict.NEWER, Verdict.ERROR):
            self._unreadable(view)
            return
        known, is_new = self.view, view.version > self.version
        begins = is_new and (known is None or view.epoch != known.epoch)
        if is_new:
            self._keep(view)
        is_elsewhere = view.state is not CircuitState.CLOSED and not breaker._circuit.followed
        if begins or (resync and is_elsewhere):
            self._follow(breaker)
        if is_new or resync:
            self.outbox.learn(self.epoch)
            self.tag(breaker._circuit.evidence)
        self.mind()
        if begins and view.rules and view.rules != self.rules.fingerprint:
            detail = f"ours {self.rules.fingerprint}, theirs {view.rules}"
            self._link.report("settings_differ", self.name, detail)

    def _follow(self, breaker: LockedCircuit) -> None:
        self.desk.reopen()
        if self.verdict is not None and not self.outbox.ordered:
            breaker._follow(self.verdict)
            self._link.announce(breaker)

    def _keep(self, view: View) -> None:
        self.view = view
        if self._joined_at is None:
            self._joined_at = time.monotonic()
        if view.live_probes < self.rules.half_open_max_calls and view.verdict is not Verdict.FULL:
            self.desk.reopen()
        breaker = self._breaker()
        deadline = (breaker._clock() if breaker is not None else 0.0) + view.remaining_ms / 1000
        self.verdict = FleetVerdict(view.state, view.mode, view.reason, deadline, view.cause)

    def mind(self) -> None:
        """See whether the fleet is to be asked for probes."""
        is_probing = self.view is not None and self.view.state is not CircuitState.CLOSED
        self.governs = is_probing and self._link.is_up and not self.outbox.ordered

    def _unreadable(self, view: View) -> None:
        self.governs = False
        kind = "newer_protocol" if view.verdict is Verdict.NEWER else "unreadable"
        self._link.report(kind, self.name, view.cause or "")

    def lost(self) -> None:
        """The link is down: each process is on its own."""
        self.governs = False
        self.desk.close()

    # -- What it goes by ----------------------------------------------------------------------------------

    def _is_settled(self) -> bool:
        """Whether it may take itself for the last one left: see `Script.batch`."""
        if self.view is not None and self.view.peers > 1:
            return True
        presence = self.rules.presence_ms / 1000
        return self._joined_at is not None and time.monotonic() - self._joined_at >= presence

    @property
    def version(self) -> int:
        """The version of the latest view; 0 if there is none."""
        return self.view.version if self.view is not None else 0

    @property
    def epoch(self) -> int:
        """The epoch of the latest view; 0 if there is none."""
        return self.view.epoch if self.view is not None else 0

    @property
    def limits(self) -> Limits:
        """The circuit's present limits."""
        breaker = self._breaker()
        return breaker.config.limits if breaker is not None else self._limits

    @property
    def subject(self) -> Subject:
        """The circuit as the script knows it, under its present limits."""
        limits = self.limits
        if self._subject is None or limits is not self._limits:
            self._limits = limits
            quorum = self._store.quorum_of(self._breaker())
            rules = Rules.of(limits, quorum=quorum, check_period=self._link.check_period)
            self._subject = self._link.script.subject(self.name, rules)
        return self._subject

    @property
    def rules(self) -> Rules:
        """The circuit's limits as the script takes them."""
        return self.subject.rules

    def rearm(self) -> None:
        """A forked child joins anew when it first uses the circuit; its parent's probes aren't its own."""
        self.asleep, self.governs, self.poked = True, False, False
        self._joined_at = None
        self._leases = {}
        self.outbox = Outbox()
        self.desk = Desk()


def in_event_loop() -> bool:
    """Whether this thread runs an event loop, which nothing here may hold up."""
    asyncio, trio = sys.modules.get("asyncio"), sys.modules.get("trio")
    if asyncio is not None and asyncio._get_running_loop() is not None:
        return True
    return trio is not None and trio.lowlevel.in_trio_run()
