"""The rules by which Hypothesis plays with a circuit and with the reference at once.

After each move everything that can be seen of the two must be the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from circuitry.states import CircuitState, Outcome, Reason

from .drivers import START, Driver, End, rule_as_described
from .reference import (
    CLOSED,
    DISABLED,
    FORCED_OPEN,
    HALF_OPEN,
    OPEN,
    ORDERS,
    SHADOW,
    Reference,
    Rejected,
    Rules,
)

#: Moments are multiples of this, so that sums of them are exact and equal instants are frequent.
TICK = 0.125

rules = st.builds(
    Rules,
    failure_threshold=st.integers(1, 4),
    success_threshold=st.sampled_from([2, 3, 1, 4]),
    timeout_duration=st.sampled_from([2.0, 1.0, 5.0, TICK]),
    half_open_max_calls=st.sampled_from([2, 3, 1]),
    probe_timeout=st.sampled_from([1.0, 2.0, TICK, 5.0]),
    trip=st.none(),
    why=st.none(),
    ramp_up=st.just(0.0),
)
initial_states = st.sampled_from([CLOSED, CLOSED, CLOSED, SHADOW, SHADOW, FORCED_OPEN, DISABLED])
durations = st.sampled_from([TICK, 0.5, 1.0, 2.0, 5.0])
outcomes = st.sampled_from(list(Outcome))
numbers = st.integers(0, 11)
#: What a fleet may say; a reset can be said again and again, as by an operator.
decisions = st.tuples(
    st.sampled_from([CLOSED, CLOSED, OPEN, HALF_OPEN]),
    st.sampled_from([None, None, None, SHADOW, FORCED_OPEN, DISABLED]),
    st.sampled_from(["recovered", "healed", "lost", "reset"]),
    durations,
    st.sampled_from(["refused", None]),
)

#: A lot that a call is let through with wherever any is.
HIGH = 0.9999

#: What the moves of all runs have met, to show that they aren't idle.
met: set[str] = set()


class Comparison(RuleBasedStateMachine):
    """One circuit and its reference; `shared`, as one of a fleet."""

    driver: Driver | None = None

    def __init__(self, make: Callable[[Rules, CircuitState], Driver], shared: bool = False) -> None:
        super().__init__()
        self.make = make
        self.shared = shared
        self.pending: list[tuple[int, End]] = []
        self.lot = HIGH  # what is drawn for each call

    @initialize(
        rules=rules, initial=initial_states, way=numbers, before=st.sampled_from(["probes", "open", "new"])
    )
    def begin_anew(self, rules: Rules, initial: CircuitState, way: int, before: str) -> None:
        self.reference = Reference(rules, initial, START)
        self.driver = self.make(rules, initial)
        self.a_call_begins(way)
        if before != "new":
            self.an_outage(way)
        if before == "probes":
            self._advance(rules.timeout_duration)
            for _ in range(rules.half_open_max_calls):
                self.a_call_begins(way)

    # -- Moves ---------------------------------------------------------------------------------------

    @rule(seconds=durations)
    def time_passes(self, seconds: float) -> None:
        self._advance(seconds)

    @rule(which=st.sampled_from(["timeout_duration", "probe_timeout"]))
    def as_much_time_passes_as_somebody_waits(self, which: str) -> None:
        self._advance(getattr(self.reference.rules, which))

    @precondition(lambda self: self._wait() > 0)
    @rule(early=st.sampled_from([0.0, 0.0, TICK]))
    def the_deadline_comes(self, early: float) -> None:
        self._advance(self._wait() - early)

    @rule(way=numbers)
    def a_call_begins(self, way: int) -> None:
        verdict = self.driver.begin(self.driver.ways[way % len(self.driver.ways)])
        self._called(verdict)

    @precondition(lambda self: self.reference.story().here.judged is not CLOSED)
    @rule(way=numbers)
    def all_calls_hang(self, way: int) -> None:
        for _ in range(self.reference.rules.half_open_max_calls):
            self.a_call_begins(way)
        self._advance(self.reference.rules.probe_timeout)

    @precondition(lambda self: self.pending)
    @rule(which=numbers, outcome=outcomes, cause=st.sampled_from(["refused", "timed out"]))
    def a_call_ends(self, which: int, outcome: Outcome, cause: str) -> None:
        self._end(which % len(self.pending), outcome, cause)

    @precondition(lambda self: self.pending)
    @rule(outcome=outcomes)
    def all_calls_end(self, outcome: Outcome) -> None:
        while self.pending:
            self._end(0, outcome, "gone")
            self.driver.facts()  # a stream that was left closes the circuit at the next look, not before

    @precondition(lambda self: self.pending)
    @rule(which=numbers, outcome=st.sampled_from([Outcome.IGNORED, Outcome.SUCCESS]), way=numbers)
    def a_call_takes_the_place_of_another(self, which: int, outcome: Outcome, way: int) -> None:
        """Nobody looks in between: what one leaves behind, the next has to find."""
        self._end(which % len(self.pending), outcome, "down")
        self.a_call_begins(way)

    @rule(way=numbers, outcome=outcomes)
    def a_whole_call(self, way: int, outcome: Outcome) -> None:
        self._whole(way, outcome)

    @rule(way=numbers)
    def an_outage(self, way: int) -> None:
        for _ in range(self.reference.rules.failure_threshold):
            self._whole(way, Outcome.FAILURE)

    @rule(way=numbers)
    def all_is_well(self, way: int) -> None:
        for _ in range(self.reference.rules.success_threshold):
            self._whole(way, Outcome.SUCCESS)

    @precondition(lambda self: len(self.reference.history) % 6 == 5)  # seldom
    @rule(reason=st.sampled_from(list(ORDERS)))
    def an_operator_speaks(self, reason: Reason) -> None:
        self.driver.administer(reason)
        self.reference.administer(reason)

    @precondition(lambda self: self.shared and len(self.reference.history) % 6 == 2)
    @rule(reason=st.sampled_from(list(ORDERS)))
    def an_operator_speaks_to_all(self, reason: Reason) -> None:
        self.driver.administer_all(reason)
        self.reference.administer(reason, to_all=True)

    @precondition(lambda self: self.shared)
    @rule(decision=decisions)
    def the_fleet_decides(self, decision: tuple[Any, ...]) -> None:
        state, stays = self.reference.story().here.state, len(self.reference.story().stays)
        self.driver.follow(*decision)
        self.reference.follow(*decision)
        followed = "follows" if len(self.reference.story().stays) > stays else "stays"
        said = f"{followed} {decision[1] or decision[0]}"
        met.update((said, f"{state} {said}"))

    # -- What has to hold --------------------------------------------------------------------------------

    @invariant()
    def both_show_the_same(self) -> None:
        seen, expected = self.driver.facts(), self.reference.facts()
        assert seen == {name: expected[name] for name in seen}
        met.update(f"{old} {reason}" for old, _, reason, *_ in expected["events"])

    def teardown(self) -> None:
        if self.driver is not None:
            self.pending.clear()
            self.driver.stop()

    # -- How -------------------------------------------------------------------------------------------

    def _wait(self) -> float:
        wait: float = self.reference.facts()["retry_after"]
        return wait

    def _advance(self, seconds: float) -> None:
        self.driver.advance(seconds)
        self.reference.advance(seconds)

    def _called(self, verdict: Rejected | End) -> None:
        number = self._asked(verdict if isinstance(verdict, Rejected) else None)
        if not isinstance(verdict, Rejected):
            self.pending.append((number, verdict))

    def _whole(self, way: int, outcome: Outcome) -> None:
        verdict = self.driver.run(self.driver.short[way % len(self.driver.short)], outcome, "down")
        number = self._asked(verdict)
        if verdict is None:
            self.reference.end(number, outcome, "down")

    def _asked(self, told: Rejected | None) -> int:
        """The reference asks for a call too, and must be told the same."""
        number, rejected = self.reference.call(self.lot)
        assert told == rejected
        met.update(["shed"] * (rejected is not None and rejected.state is CLOSED))
        met.update(["waived"] * self.reference.story().calls[number].waived)
        return number

    def _end(self, place: int, outcome: Outcome, cause: str) -> None:
        call, end = self.pending.pop(place)
        self._remember(call, outcome)
        end(outcome, cause)
        self.reference.end(call, outcome, cause)

    def _remember(self, number: int, outcome: Outcome) -> None:
        story = self.reference.story()
        call = story.calls[number]
        if call.stay is not story.here:
            met.add(f"late {outcome.value}")
        elif story.here.judged is CircuitState.HALF_OPEN and call not in story.holding(self.reference.now):
            met.add(f"lapsed {outcome.value}")


windows = st.sampled_from(
    [("last", 3), ("last", 4), ("last", 6), ("within", 30 * TICK), ("within", 60 * TICK)]
)
shares = st.sampled_from([0.5, 0.3, 1.0])
leaves = (
    st.tuples(st.just("rate"), shares, windows, st.integers(1, 3))
    | st.tuples(st.just("slow"), shares, st.sampled_from([0.5, TICK, 1.0]), windows, st.integers(1, 3))
    | st.tuples(st.just("row"), st.integers(1, 3))
)
trips = st.one_of(
    leaves.filter(lambda leaf: leaf[0] != "row"),  # that one alone is a streak
    st.tuples(st.just("any"), leaves, leaves),
    st.tuples(st.just("all"), leaves, leaves),
    st.tuples(st.just("any"), leaves, st.tuples(st.just("all"), leaves, leaves)),
)


class RuledComparison(Comparison):
    """The same, for circuits that go by a rule."""

    @initialize(rules=rules, trip=trips, initial=initial_states)
    def begin_anew(self, rules: Rules, trip: tuple[object, ...], initial: CircuitState) -> None:
        rules = rules._replace(trip=trip, why=repr(rule_as_described(trip)))
        self.reference = Reference(rules, initial, START)
        self.driver = self.make(rules, initial)
        met.update(["slow"] * ("slow" in str(trip)))

    @rule(ways=st.lists(numbers, min_size=2, max_size=4), late=st.booleans())
    def calls_hang_for_a_while(self, ways: list[int], late: bool) -> None:
        for way in ways:
            self.a_call_begins(way)
        self._advance(1.0 + TICK * late)
        self.a_call_begins(ways[0])


mostly_closed = st.sampled_from([CLOSED, CLOSED, CLOSED, CLOSED, SHADOW])
lots = st.sampled_from([HIGH, 0.0, 0.17, 0.39, 0.71])
adaptives = st.tuples(st.just("adaptive"), st.sampled_from([2.0, 1.0, 1.5]), windows, st.just(1))


class SheddingComparison(Comparison):
    """The same, for circuits that shed calls while they are closed: by their rule, or in a ramp."""

    def __init__(self, make: Callable[[Rules, CircuitState], Driver], shared: bool = False) -> None:
        super().__init__(make, shared)
        self._random = mock.patch("random.random", self._drawn)
        self._random.start()

    def _drawn(self) -> float:
        return self.lot

    @initialize(rules=rules, how=st.sampled_from([2.0, 1.0, 5.0]) | adaptives, initial=mostly_closed)
    def begin_anew(self, rules: Rules, how: float | tuple[Any, ...], initial: CircuitState) -> None:
        if isinstance(how, float):
            rules = rules._replace(ramp_up=how)
        else:
            rules = rules._replace(trip=how, why=repr(rule_as_described(how)))
        self.reference = Reference(rules, initial, START)
        self.driver = self.make(rules, initial)
        self.it_comes_back(0)

    @rule(way=numbers)
    def it_comes_back(self, way: int) -> None:
        self.an_outage(way)
        self._advance(self.reference.rules.timeout_duration)
        self.all_is_well(way)

    @rule(lot=lots)
    def the_lot_falls(self, lot: float) -> None:
        self.lot = lot

    @rule(way=numbers, drawn=st.lists(st.tuples(lots, outcomes), min_size=2, max_size=6))
    def calls_are_drawn(self, way: int, drawn: list[tuple[float, Outcome]]) -> None:
        for self.lot, outcome in drawn:
            self._whole(way, outcome)

    @precondition(lambda self: self.reference.rules.ramp_up)
    @rule(part=st.sampled_from([0.25, 0.5, 1.0]))
    def the_ramp_goes_on(self, part: float) -> None:
        self._advance(part * self.reference.rules.ramp_up)

    @invariant()
    def what_it_sheds_is_met(self) -> None:
        if self.reference.facts()["shed_share"]:
            met.add("ramps" if self.reference.rules.ramp_up else "throttles")

    def teardown(self) -> None:
        super().teardown()
        self._random.stop()
