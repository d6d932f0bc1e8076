"""Leave to probe, from a fleet: asked for, granted, held, and given back.

A request is made by a caller and answered by the link's thread; whoever is second, the answer or the
caller's patience, finds out that he is. So a lease that nobody waits for any more is always given back.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from circuitry.gate import ALONE, Leave, Refused
from circuitry.states import Outcome, Probe


class Holder(Protocol):
    """Who sees to leases while they are used, and to their end."""

    def hold(self, lease: Lease, probe: Probe) -> None:
        """A probe goes out with this lease."""
        ...

    def end(self, lease: Lease, outcome: Outcome, cause: str | None) -> None:
        """Its probe has ended, or didn't go out."""
        ...


class Lease(Leave):
    """A probe's slot in the fleet. It `ends` on the monotonic clock, unless it is renewed before."""

    def __init__(self, holder: Holder, token: str, epoch: int, ends: float) -> None:
        self._holder = holder
        self.token = token
        self.epoch = epoch
        self.ends = ends
        self.over_at = ends  # it isn't renewed beyond

    def used_by(self, probe: Probe) -> None:
        """The probe goes out."""
        self._holder.hold(self, probe)

    def give_back(self) -> None:
        """No probe goes out after all."""
        self._holder.end(self, Outcome.IGNORED, None)


class Held:
    """The leases of probes that are out: renewed at a third of their time, while they may hold a slot."""

    def __init__(self) -> None:
        self._leases: dict[Probe, Lease] = {}

    def __len__(self) -> int:
        return len(self._leases)

    def hold(self, lease: Lease, probe: Probe, seconds: float) -> None:
        """This probe goes out, and may hold its slot for so long."""
        lease.over_at = time.monotonic() + seconds
        self._leases[probe] = lease

    def of(self, probe: Probe) -> Lease | None:
        """The lease of a probe; None if it has none."""
        return self._leases.get(probe)

    def let_go(self, probe: Probe) -> None:
        """A probe has ended."""
        self._leases.pop(probe, None)

    def may_run(self) -> bool:
        """Whether there is a probe that may still hold its slot."""
        now = time.monotonic()
        return any(now < lease.over_at for lease in list(self._leases.values()))

    def let_all_go(self) -> list[Lease]:
        """Every one."""
        leases, self._leases = self._leases, {}
        return list(leases.values())

    def due(self, epoch: int, lasts: float) -> list[Lease]:
        """Those of `epoch` whose time to be renewed has come, if each lasts so many seconds."""
        now = time.monotonic()
        return [lease for lease in list(self._leases.values()) if now >= _renewal(lease, epoch, lasts)]

    def next_renewal(self, epoch: int, lasts: float) -> float:
        """When the next one will be due, on the monotonic clock."""
        leases = list(self._leases.values())
        return min((_renewal(lease, epoch, lasts) for lease in leases), default=math.inf)


def _renewal(lease: Lease, epoch: int, lasts: float) -> float:
    """Never, once its epoch is over or it lasts as long as its probe may hold a slot."""
    is_needed = lease.ends < lease.over_at and lease.epoch == epoch
    return lease.ends - lasts * 2 / 3 if is_needed else math.inf


class Request:
    """One caller who wants to probe. Answered once, or given up."""

    def __init__(self, token: str, wake: Callable[[], object] | None) -> None:
        """`wake` tells the caller that the answer is there; it returns False if he is gone."""
        self.token = token
        self._wake = wake
        self._lock = threading.Lock()
        self._answer: Leave | None = None
        self._given_up = False

    @property
    def waits(self) -> bool:
        """Whether somebody waits for this answer; if not, it is for whoever comes next."""
        return self._wake is not None

    @property
    def given_up(self) -> bool:
        """Whether nobody wants it any more."""
        return self._given_up

    def answer(self, leave: Leave) -> bool:
        """Answer it; False if the caller has gone, or it is answered already."""
        with self._lock:
            if self._given_up or self._answer is not None:
                return False
            self._answer = leave
        if self._wake is None or self._wake() is not False:
            return True
        with self._lock:  # his event loop is gone
            self._answer, self._given_up = None, True
        return False

    def settle(self, otherwise: Leave) -> Leave:
        """The answer, if it has come; if not, nobody waits for it from now on."""
        with self._lock:
            if self._answer is not None:
                return self._answer
            self._given_up = True
            return otherwise


class Desk:
    """Where one circuit's callers ask for leases, and the link answers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[Request] = deque()  # not sent yet
        self._asking: set[Request] = set()  # these, and those under way
        self._ready: deque[Lease] = deque()  # granted to nobody in particular
        self._refused_until = 0.0

    def at_once(self, epoch: int) -> Leave | None:
        """What can be said without asking: a lease that lies ready, or that it is of no use to ask."""
        now = time.monotonic()
        with self._lock:
            while self._ready:
                lease = self._ready.popleft()
                if now < lease.ends and lease.epoch == epoch:
                    return lease
            if now < self._refused_until:
                return Refused(self._refused_until - now)
            return None

    def request(self, token: str, wake: Callable[[], object] | None, limit: int) -> Request | None:
        """Ask, without `wake` for whoever comes next; None if `limit` are asking already."""
        request = Request(token, wake)
        with self._lock:
            if len(self._asking) >= limit:
                return None
            self._asking.add(request)
            self._waiting.append(request)
        return request

    def next(self) -> Request | None:
        """The next request to be sent."""
        with self._lock:
            return self._waiting.popleft() if self._waiting else None

    def grant(self, request: Request, lease: Lease) -> None:
        """The fleet gives leave."""
        if not request.waits:
            self._ready.append(lease)
        elif not request.answer(lease):
            lease.give_back()

    def refuse(self, request: Request, seconds: float) -> None:
        """The fleet doesn't, and it is of no use to ask again so soon."""
        self._refused_until = time.monotonic() + seconds
        request.answer(Refused(seconds))

    def done(self, request: Request) -> None:
        """Whatever came of it, it is under way no more."""
        request.answer(ALONE)  # counts only if nothing was answered
        with self._lock:
            self._asking.discard(request)

    def reopen(self) -> None:
        """It may be of use to ask again."""
        self._refused_until = 0.0

    def close(self) -> None:
        """The link is down: who waits is on his own."""
        with self._lock:
            asking, self._asking = self._asking, set()
            self._waiting.clear()
            self._ready.clear()
            self._refused_until = 0.0
        for request in asking:
            request.answer(ALONE)
