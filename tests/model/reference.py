"""What a circuit has to do, in the plainest words there are.

The reference keeps one list, of what happened to the circuit and when. Whatever is asked of it,
it tells the whole story again from that list: no counters, no deadlines, no slots that are given
back, nothing that could be forgotten or kept too long. It is slow, and that is its point: it
shares no idea with the implementation that it is held against.

From circuitry it takes the names of things, and nothing else.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

from circuitry.states import CircuitState, Outcome, Reason

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
FORCED_OPEN, DISABLED, SHADOW = CircuitState.FORCED_OPEN, CircuitState.DISABLED, CircuitState.SHADOW
SUCCESS, FAILURE, IGNORED = Outcome.SUCCESS, Outcome.FAILURE, Outcome.IGNORED

#: What an operator may say, and where the circuit then is.
ORDERS = {
    Reason.RESET: CLOSED,
    Reason.FORCED_OPEN: FORCED_OPEN,
    Reason.DISABLED: DISABLED,
    Reason.SHADOWED: SHADOW,
}


class Rules(NamedTuple):
    """The settings of a circuit."""

    failure_threshold: int
    success_threshold: int
    timeout_duration: float
    half_open_max_calls: int
    probe_timeout: float
    trip: tuple[Any, ...] | None = None  # in place of the threshold: see `Story.holds`
    why: str | None = None  # that rule as text
    ramp_up: float = 0.0  # so long only a part of the calls is let through, after it has recovered


# -- What can happen -----------------------------------------------------------------------------


class Called(NamedTuple):
    """Somebody asked to make a call. Calls are numbered as they come."""

    at: float
    lot: float = 1.0  # what was drawn for it: a small one is let through only where all are


class Ended(NamedTuple):
    """A call that had been let through came to its end."""

    at: float
    call: int
    outcome: Outcome
    cause: str | None


class Ordered(NamedTuple):
    """An operator spoke: to this circuit alone, or to its fleet."""

    at: float
    reason: Reason
    to_all: bool = False


class Decided(NamedTuple):
    """Its fleet has decided."""

    at: float
    state: CircuitState
    mode: CircuitState | None  # what an operator has said to the fleet
    reason: str
    wait: float  # if it is open: so long from now
    cause: str | None


class HeardAgain(NamedTuple):
    """What its fleet says now came to it once more, as when an operator takes back what he said here."""

    at: float


Happening = Called | Ended | Ordered | Decided | HeardAgain


# -- The story that is told of it ------------------------------------------------------------------


class Rejected(NamedTuple):
    """What a call that isn't let through is told."""

    state: CircuitState
    retry_after: float
    cause: str | None


@dataclass
class Call:
    """A call: when it came, in which stay, and what it was told."""

    at: float
    stay: Stay
    waived: bool = False  # only a shadow would have rejected it
    rejected: Rejected | None = None
    ended: bool = False
    found: set[float] = field(default_factory=set)  # limits by which it was found to be slow


@dataclass
class Stay:
    """One stay in one state: a generation."""

    mode: CircuitState | None  # what an operator said here
    word: CircuitState | None  # what an operator had said to all when it began
    judged: CircuitState
    reason: str
    since: float
    cause: str | None
    ends_before: int  # how many calls had ended when it began
    wait: float  # while it is open
    of_fleet: bool = False  # begun by the fleet
    news_of: float = 0.0  # when the fleet decided it
    admitted: list[Call] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)  # of calls admitted in it, ended in it
    said: list[tuple[float, bool]] = field(default_factory=list)  # when, and whether it was bad news
    took: dict[float, list[tuple[float, bool]]] = field(default_factory=dict)  # by limit: whether it was slow

    @property
    def order(self) -> CircuitState | None:
        """Who is nearer is heard first."""
        return self.mode or self.word

    @property
    def state(self) -> CircuitState:
        return self.order or self.judged


class Story:
    """Everything that came of a list of happenings."""

    def __init__(self, rules: Rules, initial: CircuitState, history: list[Happening]) -> None:
        self.rules = rules
        self.words: list[CircuitState | None] = [None]  # what operators said to all
        self.decisions: list[Decided] = []
        self.calls: list[Call] = []
        self.ends: list[Outcome] = []
        self.stays: list[Stay] = []
        reason = next(reason for reason, state in ORDERS.items() if state is initial)
        self.obey(Ordered(0.0, reason))
        tell = {Called: self.call, Ended: self.end, Ordered: self.obey, Decided: self.decided}
        tell[HeardAgain] = self.hear_again
        for happening in history:
            tell[type(happening)](happening)

    @property
    def here(self) -> Stay:
        return self.stays[-1]

    def go(self, judged: CircuitState, reason: Reason, at: float, cause: str | None = None) -> None:
        self.stay(self.here.mode, judged, reason, at, cause, self.rules.timeout_duration)

    def stay(
        self,
        mode: CircuitState | None,
        judged: CircuitState,
        reason: str,
        at: float,
        cause: str | None,
        wait: float,
        of_fleet: bool = False,
    ) -> None:
        ends = len(self.ends)
        news_of = self.decisions[-1].at if of_fleet else at
        self.stays.append(
            Stay(mode, self.words[-1], judged, reason, at, cause, ends, wait, of_fleet, news_of)
        )

    # -- What happens -----------------------------------------------------------------------------

    def obey(self, order: Ordered) -> None:
        state = ORDERS[order.reason]
        said = None if state is CLOSED else state
        if order.to_all:
            self.words.append(said)
            shown = OPEN if said is FORCED_OPEN else CLOSED
            self.decisions.append(Decided(order.at, shown, said, order.reason, 0.0, None))
        self.stay(None if order.to_all else said, CLOSED, order.reason, order.at, None, 0.0)

    def decided(self, decided: Decided) -> None:
        self.decisions.append(decided)
        self.heed(decided, decided.at)

    def hear_again(self, heard: HeardAgain) -> None:
        if self.decisions:
            self.heed(self.decisions[-1], heard.at)

    def heed(self, decided: Decided, at: float) -> None:
        """Do as the fleet does, unless what was said or seen here speaks against it."""
        here, known = self.here, self.words[-1]
        self.words.append(decided.mode)
        if here.mode in (FORCED_OPEN, DISABLED):
            return
        judges = decided.mode not in (FORCED_OPEN, DISABLED)
        if judges and decided.state is not CLOSED:
            wait = decided.at + decided.wait - at
            self.stay(here.mode, decided.state, decided.reason, at, decided.cause, wait, of_fleet=True)
            return
        is_order = decided.reason == "reset" or decided.mode is not known
        was_fleets = here.of_fleet and here.judged is not CLOSED
        if is_order or was_fleets:
            self.stay(here.mode, CLOSED, decided.reason, at, None, 0.0, of_fleet=True)

    def call(self, called: Called) -> None:
        at = called.at
        if self.here.judged is OPEN and at >= self.here.since + self.here.wait:
            self.go(HALF_OPEN, Reason.TIMED_OUT, at, self.here.cause)
        is_early = called.lot < self.ramp_sheds(at)
        if not is_early and self.find_slow(at) and self.holds(self.rules.trip, at):
            self.go(OPEN, Reason.TRIPPED, at, self.rules.why)
        call = Call(at, self.here)
        self.calls.append(call)
        if not is_early and self.lets_through(at, called.lot):
            self.here.admitted.append(call)
        elif self.here.order is SHADOW:
            call.waived = True
        else:
            call.rejected = Rejected(self.here.state, self.retry_after(at), self.here.cause)

    def lets_through(self, at: float, lot: float) -> bool:
        if self.here.order is FORCED_OPEN or self.here.judged is OPEN:
            return False
        if lot < self.rule_sheds(at):
            self.here.said.append((at, True))
            return False
        return self.here.judged is not HALF_OPEN or len(self.holding(at)) < self.rules.half_open_max_calls

    def end(self, ended: Ended) -> None:
        call = self.calls[ended.call]
        call.ended = True
        self.ends.append(ended.outcome)
        here = self.here
        if call.waived or call.stay is not here or here.order is DISABLED:
            return
        here.outcomes.append(ended.outcome)
        if here.judged is CLOSED and self.trips(call, ended):
            self.go(OPEN, Reason.TRIPPED, ended.at, ended.cause or self.rules.why)
        elif here.judged is HALF_OPEN and ended.outcome is FAILURE:
            self.go(OPEN, Reason.PROBE_FAILED, ended.at, ended.cause)
        elif here.judged is HALF_OPEN and self.probes_succeeded() >= self.rules.success_threshold:
            self.go(CLOSED, Reason.RECOVERED, ended.at)

    # -- When to trip ------------------------------------------------------------------------------

    def trips(self, call: Call, ended: Ended) -> bool:
        """Whether the end of a closed call opens the circuit."""
        rules, here, is_ignored = self.rules, self.here, ended.outcome is IGNORED
        if rules.trip is None:
            return self.streak() >= rules.failure_threshold
        is_news = not is_ignored
        for limit in limits_in(rules.trip):
            slow = ended.at - call.at > limit
            if limit not in call.found and (slow or not is_ignored):
                here.took.setdefault(limit, []).append((ended.at, slow))
                is_news |= slow
        if not is_ignored:
            here.said.append((ended.at, ended.outcome is FAILURE))
        return is_news and self.holds(rules.trip, ended.at)

    def find_slow(self, at: float) -> bool:
        """Count the closed calls in flight that are slow by now, the oldest first; whether there are any."""
        if self.here.judged is not CLOSED or self.here.order is DISABLED or self.rules.trip is None:
            return False
        is_news = False
        for limit in limits_in(self.rules.trip):
            for call in self.here.admitted:
                if not call.ended and limit not in call.found and at - call.at > limit:
                    call.found.add(limit)
                    self.here.took.setdefault(limit, []).append((at, True))
                    is_news = True
        return is_news

    def holds(self, rule: Any, now: float) -> bool:
        """Whether a rule holds: ("row", n), ("rate", share, window, minimum), ("slow", share, limit, window,
        minimum), ("any" or "all", rule, rule, ...), or ("adaptive", k, window, 1), which never does. A window
        is ("last", n) or ("within", seconds).
        """
        kind, *parts = rule
        if kind in ("any", "all"):
            held = [self.holds(part, now) for part in parts]
            return any(held) if kind == "any" else all(held)
        if kind == "row":
            return self.streak() >= parts[0]
        if kind == "adaptive":
            return False
        share, minimum, latest = parts[0], parts[-1], self.latest(rule, now)
        return len(latest) >= minimum and sum(latest) / len(latest) >= share

    def latest(self, rule: Any, now: float) -> list[bool]:
        """What is in the window of a rate."""
        came = self.here.took.get(rule[2], []) if rule[0] == "slow" else self.here.said
        kind, size = rule[-2]
        if kind == "last":
            return [bad for _, bad in came[-size:]]
        width = size / 30
        return [bad for at, bad in came if at // width > now // width - 30]

    def standing(self, rule: Any, now: float) -> int:
        """How many failures stand against a closed circuit."""
        if self.here.judged is not CLOSED or self.here.order in (DISABLED, FORCED_OPEN):
            return 0
        if rule is None or rule[0] == "row":
            return self.streak()
        if rule[0] in ("any", "all"):
            return max(self.standing(part, now) for part in rule[1:])
        return 0 if rule[0] == "slow" else sum(self.latest(rule, now))

    # -- What to shed ------------------------------------------------------------------------------

    def ramp_sheds(self, now: float) -> float:
        """The share of calls that come too early after a recovery."""
        here, rules = self.here, self.rules
        if here.judged is not CLOSED or here.order in (DISABLED, FORCED_OPEN) or here.reason != "recovered":
            return 0.0
        if here.of_fleet and here.word in (DISABLED, FORCED_OPEN):  # what closed it was an operator
            return 0.0
        left = rules.ramp_up - (now - here.news_of)
        return 0.9 * left / rules.ramp_up if left > 0 else 0.0

    def rule_sheds(self, now: float) -> float:
        """The share of calls that a rule ("adaptive", k, window, 1) sheds."""
        rule, here = self.rules.trip, self.here
        if here.judged is not CLOSED or here.order in (DISABLED, FORCED_OPEN):
            return 0.0
        if rule is None or rule[0] != "adaptive":
            return 0.0
        latest = self.latest(rule, now)
        return max(0.0, (len(latest) - rule[1] * latest.count(False)) / (len(latest) + 1))

    # -- What is the case --------------------------------------------------------------------------

    def streak(self) -> int:
        """Failures of closed calls, back to the last success."""
        if self.here.judged is not CLOSED:
            return 0
        said = [outcome for outcome in self.here.outcomes if outcome is not IGNORED]
        since = [place for place, outcome in enumerate(said, 1) if outcome is SUCCESS]
        return len(said) - max(since, default=0)

    def probes_succeeded(self) -> int:
        return self.here.outcomes.count(SUCCESS) if self.here.judged is HALF_OPEN else 0

    def holding(self, now: float) -> list[Call]:
        """The probes that hold a slot."""
        if self.here.judged is not HALF_OPEN:
            return []
        return [
            call for call in self.here.admitted if not call.ended and now < call.at + self.rules.probe_timeout
        ]

    def retry_after(self, now: float) -> float:
        here = self.here
        if here.order is not None:
            return self.rules.timeout_duration if here.order is FORCED_OPEN else 0.0
        if here.judged is OPEN:
            return max(0.0, here.since + here.wait - now)
        holding = self.holding(now)
        if here.judged is CLOSED or len(holding) < self.rules.half_open_max_calls:
            return 0.0
        return min(call.at + self.rules.probe_timeout for call in holding) - now

    def failure_rate(self) -> float:
        """Among the calls that ended since a generation last began closed."""
        begun = max(stay.ends_before for stay in self.stays if stay.judged is CLOSED)
        failed, succeeded = (self.ends[begun:].count(outcome) for outcome in (FAILURE, SUCCESS))
        return failed / (failed + succeeded) if failed else 0.0

    def events(self) -> list[tuple[Any, ...]]:
        """What listeners have heard: old state, new state, reason, source, cause."""
        heard: list[tuple[Any, ...]] = []
        for old, new in pairwise(self.stays):
            if old.state is not new.state:
                source = "admin" if new.reason in ORDERS else "local"
                source = "fleet" if new.of_fleet else source
                heard.append((old.state, new.state, new.reason, source, new.cause))
            elif new.order is SHADOW and old.judged is not new.judged:
                heard.append((old.judged, new.judged, new.reason, "shadow", new.cause))
        return heard

    def verdict(self) -> str:
        """Whose word it is that the circuit is in this state."""
        here = self.here
        return "fleet" if here.of_fleet or (here.word is not None and here.mode is None) else "local"

    def facts(self, now: float) -> dict[str, Any]:
        """Everything that can be seen of the circuit from outside."""
        events = self.events()
        entered = Counter(str(event[1]) for event in events if event[3] != "shadow")
        return {
            "state": self.here.state,
            "failure_count": self.standing(self.rules.trip, now),
            "success_count": self.probes_succeeded(),
            "half_open_calls": len(self.holding(now)),
            "failure_rate": self.failure_rate(),
            "recovery_attempts": entered["half_open"],
            "calls": len(self.ends),
            "successes": self.ends.count(SUCCESS),
            "failures": self.ends.count(FAILURE),
            "ignored": self.ends.count(IGNORED),
            "rejected": sum(call.rejected is not None for call in self.calls),
            "opened": entered["open"],
            "retry_after": self.retry_after(now),
            "shed_share": self.ramp_sheds(now) or self.rule_sheds(now),
            "shadow_state": self.here.judged if self.here.order is SHADOW else None,
            "shadow_rejected": sum(call.waived for call in self.calls),
            "entered": dict(entered),
            "events": events,
            "generation": len(self.stays) - 1,
            "cause": self.here.cause,
            "verdict": self.verdict(),
            "word": self.words[-1],
        }


def limits_in(rule: Any) -> set[float]:
    """The times after which a call is slow, by the parts of a rule."""
    if rule[0] in ("any", "all"):
        return set().union(*(limits_in(part) for part in rule[1:]))
    return {rule[2]} if rule[0] == "slow" else set()


class Reference:
    """The list of what happened, and the time."""

    def __init__(self, rules: Rules, initial: CircuitState = CLOSED, now: float = 0.0) -> None:
        self.rules = rules
        self.initial = initial
        self.now = now
        self.history: list[Happening] = []
        self._told = (-1, Story(rules, initial, []))  # the story of so many happenings

    def story(self) -> Story:
        if self._told[0] != len(self.history):
            self._told = len(self.history), Story(self.rules, self.initial, self.history)
        return self._told[1]

    def advance(self, seconds: float) -> None:
        self.now += seconds

    def call(self, lot: float = 1.0) -> tuple[int, Rejected | None]:
        """The number of the call; and what it is told, if it isn't let through."""
        self.history.append(Called(self.now, lot))
        calls = self.story().calls
        return len(calls) - 1, calls[-1].rejected

    def end(self, call: int, outcome: Outcome, cause: str | None = None) -> None:
        self.history.append(Ended(self.now, call, outcome, cause if outcome is FAILURE else None))

    def administer(self, reason: Reason, to_all: bool = False) -> None:
        self.history.append(Ordered(self.now, reason, to_all))
        if reason is Reason.RESET and not to_all:
            self.history.append(HeardAgain(self.now))

    def follow(
        self, state: CircuitState, mode: CircuitState | None, reason: str, wait: float, cause: str | None
    ) -> None:
        self.history.append(Decided(self.now, state, mode, reason, wait, cause))

    def facts(self) -> dict[str, Any]:
        return self.story().facts(self.now)
