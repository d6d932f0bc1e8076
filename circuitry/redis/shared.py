"""One circuit's part in its fleet: the gate between a breaker and the link.

The breaker's own machine always runs. Here is what comes from the fleet to it (`receive`), and what goes
from it to the fleet (`send`). Both run in the link's thread; all else runs in the callers', and only
`ask` ever waits there.
"""

from __future__ import annotations

import itertools
import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from circuitry.events import in_event_loop, loop_event, wait_at_most, waker
from circuitry.gate import ALONE, Leave, Refused
from circuitry.locked import LockedCircuit
from circuitry.machine import ADMINISTRATIVE, Admission
from circuitry.redis.company import Company
from circuitry.redis.leases import Desk, Held, Lease, Request
from circuitry.redis.outbox import OUTCOME_AGE, Order, Outbox, Speaker
from circuitry.redis.pooling import Pooling, Trip
from circuitry.redis.terms import Terms
from circuitry.redis.views import Verdict, View
from circuitry.states import CircuitState, FleetVerdict, Outcome, Probe, Reason
from circuitry.watches import Ruled
from circuitry.windows import Evidence, Streak

if TYPE_CHECKING:
    from circuitry.redis.link import Link
    from circuitry.redis.store import RedisStore

UNREADABLE = {Verdict.NEWER: "newer_protocol", Verdict.ERROR: "unreadable"}

_seats = itertools.count(1)  # of this process: several circuits of one name tell their windows each
_tokens = itertools.count(1)  # of this process: with the member's name they are of one request only


class SharedGate:
    """A breaker's gate to its fleet."""

    def __init__(self, store: RedisStore, link: Link, breaker: LockedCircuit) -> None:
        self.name = breaker.name
        self.view: View | None = None
        self.terms = Terms(store, link, breaker)
        self._seat = next(_seats)
        self._link = link
        self._shares = weakref.ref(breaker)
        self._verdict = FleetVerdict(CircuitState.CLOSED, None, "", 0.0, None)  # what `view` says
        self._is_readable = True  # whether the last that came could be understood
        self._begin()
        link.naming.keys(self.name)  # a name that can't be one of keys is refused at once

    def _begin(self) -> None:
        """This process has yet to take part."""
        self.asleep = True
        self.governs = False
        self.poked = False  # whether it waits for the link's attention
        self.outbox = Outbox()
        self.desk = Desk()
        self.pooling = Pooling(weakref.WeakMethod(self.nudge))
        self._company = Company()
        self._held = Held()
        self._answers = False  # a leased probe has ended since the fleet was last followed

    def rearm(self) -> None:
        """A forked child joins anew when it first uses the circuit; its parent's probes aren't its own."""
        self._begin()

    def _breaker(self) -> LockedCircuit | None:
        """Whose gate it is; None if that is dropped, or has another gate by now."""
        breaker = self._shares()
        return breaker if breaker is not None and breaker._gate is self else None

    # -- What the breaker says: in the callers' threads ---------------------------------------------

    def wake(self) -> None:
        """The circuit is used: join the fleet."""
        self.asleep = False
        self._link.join(self)

    def tell(
        self, admission: Admission, outcome: Outcome, cause: str | None, wait: float | None = None
    ) -> None:
        """Hand an outcome to the link."""
        if isinstance(admission, Probe):
            lease = self._held.of(admission)
            if lease is not None:  # else it was this process's own probe
                self._answers = True
                self.outbox.end(lease, outcome, cause, wait)
                self._held.let_go(admission)  # only now: at no moment all seems to be told
                self.nudge()
            return
        evidence = admission.owner
        if isinstance(evidence, Streak):
            self.outbox.count(evidence.epoch, outcome, cause, wait)
            self.nudge()
        elif isinstance(evidence, Ruled) and outcome is Outcome.FAILURE:
            latest = Trip(cause or "", wait)
            if self.pooling.touch(evidence, latest):
                self.nudge()

    def end(self, lease: Lease, outcome: Outcome, cause: str | None) -> None:
        """Hand the end of a leased probe to the link."""
        self.outbox.end(lease, outcome, cause)
        self.nudge()

    @property
    def verdict(self) -> FleetVerdict | None:
        """What the fleet says; None if nothing is known, or an order of ours goes before it."""
        return None if self.view is None or self.outbox.ordered else self._verdict

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
        epoch = self.outbox.unknown if view is None or self.outbox.ordered else view.epoch
        if self.pooling.count_in(evidence, epoch):
            self.nudge()
        if isinstance(evidence, Streak):
            evidence.epoch = epoch
            if self._is_failing:
                evidence.run = True  # somebody's streak stands: the next success is news

    def hold(self, lease: Lease, probe: Probe) -> None:
        """A leased probe goes out: the link renews its slot while it runs, up to its `probe_timeout`."""
        self._held.hold(lease, probe, self.terms.limits.probe_timeout)
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
        if request is None:
            return Refused()
        try:
            answered.wait(self._link.patience)
        except BaseException:
            request.settle(ALONE).give_back()
            raise
        return request.settle(self._unanswered())

    async def ask_async(self) -> Leave:
        """The same, awaited."""
        leave = self._at_once()
        if leave is not None:
            return leave
        answered = loop_event()
        request = self._request(waker(answered.set))
        if request is None:
            return Refused()
        try:
            await wait_at_most(answered, self._link.patience)
        except BaseException:
            request.settle(ALONE).give_back()
            raise
        return request.settle(self._unanswered())

    def _at_once(self) -> Leave | None:
        return self.desk.at_once(self.epoch) if self.governs else ALONE

    def _request(self, wake: Callable[[], object] | None) -> Request | None:
        """Ask; None if no more may ask at once."""
        token = f"{self._link.member}:{next(_tokens)}"
        request = self.desk.request(token, wake, self.terms.limits.half_open_max_calls)
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
        self._take_in()
        try:
            self._say(speaker)
        except Exception:
            self.desk.close()  # nobody waits for what isn't asked any more
            raise
        finally:
            self._retag()

    def _take_in(self) -> None:
        """Take in what came where no lock may be taken. A circuit that is gone has no more to say."""
        breaker = self._breaker()
        if breaker is None:
            for lease in self._held.let_all_go():
                lease.give_back()
            self.pooling.lost()
            return
        breaker._take_in()
        if breaker._news:
            self._link.announce(breaker)

    def _say(self, speaker: Speaker) -> None:
        while order := self.outbox.ordered:
            if not self._carry_out(order, speaker):
                return
        script, subject = self._link.script, self.terms.subject
        while ended := self.outbox.take_ended():
            self.receive(speaker.ask(ended.said(script, subject, self.version)))
        if (runs := self.outbox.take_runs()) and runs.epoch >= self.epoch:  # else it would be stale
            until = speaker.server_time(runs.since + OUTCOME_AGE)
            is_settled = self._company.is_settled(self.terms.rules)
            self.receive(speaker.ask(runs.said(script, subject, self.version, is_settled, until)))
        while request := self.desk.next():
            self._lease(request, speaker)
        self._renew(speaker)
        self._pool(speaker)
        self._come_back()

    def _carry_out(self, order: Order, speaker: Speaker) -> bool:
        """Whether the fleet has it. Its view isn't followed: this circuit did so when it was given."""
        script, actor = self._link.script, self._link.member
        if order.reason is Reason.RESET:
            view = speaker.ask(script.reset(self.terms.subject, self.version, actor))
        else:
            mode = ADMINISTRATIVE[order.reason]
            view = speaker.ask(script.force(self.terms.subject, self.version, mode, actor))
        if not self._understand(view):
            return False
        self._keep(view)
        self.outbox.carried_out(order, self.epoch)
        self._retag()
        self.mind()
        return True

    def _lease(self, request: Request, speaker: Speaker) -> None:
        try:
            if request.given_up:
                return
            ends = time.monotonic() + self.terms.rules.lease
            view = speaker.ask(self._link.script.acquire(self.terms.subject, self.version, request.token))
            self.receive(view)
            if view.verdict is Verdict.PROBE:
                self.desk.grant(request, Lease(self, request.token, view.epoch, ends))
            elif view.verdict in (Verdict.FULL, Verdict.REJECTED):
                self.desk.refuse(request, view.remaining_ms / 1000)
        finally:
            self.desk.done(request)

    def _renew(self, speaker: Speaker) -> None:
        lasts, now = self.terms.rules.lease, time.monotonic()
        due = self._held.due(self.epoch, lasts)
        for lease in due:  # before it is said: what is refused is tried again a third later, not at once
            lease.ends = now + lasts
        if due:
            tokens, script = [lease.token for lease in due], self._link.script
            self.receive(speaker.ask(script.renew(self.terms.subject, self.version, self.epoch, tokens)))

    def _pool(self, speaker: Speaker) -> None:
        """Tell what the windows hold, if it is time; and trip for all, if those of all demand it."""
        script, terms = self._link.script, self.terms
        told = self.pooling.due(terms.policy, self.epoch, self._is_failing, terms.rules.presence_ms)
        if told is None:
            return
        until = speaker.server_time(time.monotonic() + OUTCOME_AGE)
        view = speaker.ask(told.said(script, terms.subject, self.version, self.epoch, until, self._seat))
        self.receive(view)
        trip = self.pooling.answered(view, self._company.needed(terms.rules, view))
        if trip is not None:
            wait = terms.wait(view.openings + 1) if trip.wait is None else trip.wait
            said = terms.subject, self.version, self.epoch, trip.cause
            self.receive(speaker.ask(script.trip(*said, best_before=until, wait=wait)))

    @property
    def _is_failing(self) -> bool:
        """Whether somebody's calls fail."""
        return self.view is not None and self.view.state is CircuitState.CLOSED and self.view.failures > 0

    @property
    def next_due(self) -> float:
        """When the link has to come back, on the monotonic clock."""
        return min(self.pooling.look_at, self._held.next_renewal(self.epoch, self.terms.rules.lease))

    # -- What comes from the fleet: in the link's thread ------------------------------------------------

    def receive(self, view: View, *, resync: bool = False) -> None:
        """Take in a view, if it is news. `resync`: the link was lost, and this is where the fleet stands."""
        breaker = self._breaker()
        if breaker is None or not self._understand(view):
            return
        known, is_new = self.view, view.version > self.version
        begins = is_new and (known is None or view.epoch != known.epoch)
        if is_new:
            self._keep(view)
        # A reset from before this process came isn't said to it.
        is_word = begins and not (known is None and view.shown is CircuitState.CLOSED)
        if is_word or (resync and self._is_elsewhere(breaker)):
            self._follow(breaker)
        else:
            self._come_back()
        self.outbox.learn(self.epoch)
        self._retag()
        self.mind()
        if self.outbox.ordered or (resync and self._held):
            self.nudge()  # what the last stay with the server left undone
        if self.pooling.mind(self._is_failing):
            self.nudge()
        if begins and view.rules and view.rules != self.terms.rules.fingerprint:
            detail = f"ours {self.terms.rules.fingerprint}, theirs {view.rules}"
            self._link.report("settings_differ", self.name, detail)

    def _understand(self, view: View) -> bool:
        """Whether there is something to understand; if not, there is no verdict."""
        self._is_readable = view.verdict not in UNREADABLE
        if not self._is_readable:
            self.mind()
            self._link.report(UNREADABLE[view.verdict], self.name, view.cause or "")
            return False
        self._company.learn(view)
        return True

    def _is_elsewhere(self, breaker: LockedCircuit) -> bool:
        """Whether this circuit went its own way, while the fleet's open or half-open holds."""
        is_closed = self.view is None or self.view.state is CircuitState.CLOSED
        return not is_closed and not breaker._circuit.followed

    def _come_back(self) -> None:
        """Follow the fleet again, if all is told and it still isn't closed.

        By its own count this circuit may have closed, while the fleet has missed one of its probes.
        """
        breaker = self._breaker()
        is_told = self._answers and not self._held.may_run() and not len(self.outbox)
        if is_told and breaker is not None and self._is_elsewhere(breaker):
            self._follow(breaker)

    def _follow(self, breaker: LockedCircuit) -> None:
        self._answers = False
        self.desk.reopen()
        breaker._follow(self._verdict, unless=lambda: self.outbox.ordered)
        self._link.announce(breaker)

    def _retag(self) -> None:
        """Under the circuit's lock, so that no other evidence takes the place of this one meanwhile."""
        breaker = self._breaker()
        if breaker is not None:
            with breaker._lock:
                self.tag(breaker._circuit.counted)

    def _keep(self, view: View) -> None:
        self.view = view
        if view.live_probes < self.terms.rules.half_open_max_calls and view.verdict is not Verdict.FULL:
            self.desk.reopen()
        breaker = self._breaker()
        deadline = (breaker._clock() if breaker is not None else 0.0) + view.remaining_ms / 1000
        said = view.state, view.mode, view.reason, deadline, view.cause, view.openings
        self._verdict = FleetVerdict(*said)

    def mind(self) -> None:
        """See whether the fleet is to be asked for probes."""
        is_probing = self.view is not None and self.view.state is not CircuitState.CLOSED
        is_heard = self._link.is_up and self._is_readable
        self.governs = is_probing and is_heard and not self.outbox.ordered

    def lost(self) -> None:
        """The link is down: each process is on its own. Who else is there has to be found out anew."""
        self.governs = False
        self._company = Company()
        self.desk.close()
        self.pooling.lost()
        if self.outbox.ordered:
            self.nudge()  # an order is said again when the server is back

    # -- What it goes by ----------------------------------------------------------------------------------

    @property
    def version(self) -> int:
        """The version of the latest view; 0 if there is none."""
        return self.view.version if self.view is not None else 0

    @property
    def epoch(self) -> int:
        """The epoch of the latest view; 0 if there is none."""
        return self.view.epoch if self.view is not None else 0
