"""How long calls took: which calls are timed, by which clock, and what is said of it."""

from __future__ import annotations

import gc
import itertools
import math
import os
import pickle
import types
from itertools import pairwise

import anyio
import pytest

from circuitry import CircuitBreaker, CircuitBreakerConfig, CircuitOpenError, ConfigurationError, circuit_of
from circuitry.latency import BOUNDS, PRECISION, Bucket, Histogram, Latency
from circuitry.policies import SlowCallRate, last
from circuitry.states import Probe
from circuitry.stopwatch import Clocked

pytestmark = pytest.mark.core


@pytest.fixture
def timed(make_breaker):
    """A breaker that takes the time of its calls; 2 failures open it, 1 success closes it."""

    def make(**given):
        return make_breaker(**{"failure_threshold": 2, "success_threshold": 1, "latency": True, **given})

    return make


def lasting(breaker, clock, seconds, how="success"):
    permit = breaker.acquire()
    clock.advance(seconds)
    getattr(permit, how)()


def taken(breaker):
    """How many calls, and how long they took together."""
    latency = breaker.metrics().latency
    return latency.calls, latency.total


# -- What is asked for -------------------------------------------------------------------------------


def test_where_nobody_asks_for_it_there_is_none(breaker):
    breaker.call(lambda: None)
    assert breaker.metrics().latency is None


def test_before_the_first_call_all_is_nothing(timed):
    assert timed().metrics().latency == Latency(0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, ())


def test_it_shows_percentiles_sum_and_maximum(timed, clock):
    breaker = timed()
    for seconds in [0.1] * 50 + [0.5] * 40 + [2.0] * 9 + [8.0]:
        lasting(breaker, clock, seconds)
    latency = breaker.metrics().latency
    assert (latency.calls, latency.maximum) == (100, pytest.approx(8.0))
    assert latency.total == pytest.approx(5 + 20 + 18 + 8)
    shown = (latency.p50, latency.p90, latency.p99, latency.p999)
    assert shown == pytest.approx((0.1, 0.5, 2.0, 8.0), rel=PRECISION)
    assert latency.p999 <= latency.maximum


def test_any_percentile_can_be_asked_for(timed, clock):
    breaker = timed()
    for seconds in range(1, 21):
        lasting(breaker, clock, seconds)
    latency = breaker.metrics().latency
    assert latency.percentile(95) == pytest.approx(19, rel=PRECISION)
    assert latency.percentile(0) == latency.percentile(5) == pytest.approx(1, rel=PRECISION)
    assert latency.percentile(100) == pytest.approx(20, rel=PRECISION)
    assert latency.percentile(99.9) == latency.p999


@pytest.mark.parametrize("percent", [-1, 100.1, True, "p99", math.nan, None])
def test_a_percentile_that_is_none_is_refused(timed, percent):
    with pytest.raises(ConfigurationError, match=r"^percent=.* must be a number >= 0 and <= 100$"):
        timed().metrics().latency.percentile(percent)


@pytest.mark.parametrize("value", [1, 0, None, "true", 0.5])
def test_what_is_neither_true_nor_false_is_refused(value):
    with pytest.raises(ConfigurationError, match=r"^latency=.* must be True or False$"):
        CircuitBreakerConfig(latency=value)


def test_a_snapshot_pickles_and_stays_what_it_was(timed, clock):
    breaker = timed()
    lasting(breaker, clock, 0.3)
    before = breaker.metrics().latency
    lasting(breaker, clock, 0.3)
    assert before.calls == 1
    assert pickle.loads(pickle.dumps(before)) == before


# -- Buckets -----------------------------------------------------------------------------------------


def test_no_bucket_is_wider_than_the_precision_allows():
    assert all(math.sqrt(above / below) - 1 <= PRECISION for below, above in pairwise(BOUNDS))
    assert (BOUNDS[0], BOUNDS[-1]) == (1e-6, 5000.0)
    assert list(BOUNDS) == sorted(set(BOUNDS))
    assert len(BOUNDS) < 400


def test_the_round_numbers_are_bounds():
    rounds = [float(f"{first}e{power}") for power in range(-6, 3) for first in ("1", "2.5", "5")]
    assert set(rounds) <= set(BOUNDS)


def test_at_a_bound_a_call_is_in_the_bucket_that_ends_there():
    histogram = Histogram()
    for seconds in (0.1, 0.1000001, 0.25, 0.3):
        histogram.add(seconds)
    latency = histogram.read()
    assert [latency.at_most(bound) for bound in (0.05, 0.1, 0.25, 0.5, math.inf)] == [0, 1, 3, 4, 4]


def test_what_is_very_short_or_long_is_in_the_first_and_the_last():
    histogram = Histogram()
    for seconds in (0.0, 1e-9, 1e-6):
        histogram.add(seconds)
    assert histogram.read().buckets == (Bucket(0.0, 1e-6, 3),)
    assert histogram.read().p50 == histogram.read().maximum == 1e-6
    histogram.add(7200.0)
    latency = histogram.read()
    assert latency.buckets[-1] == Bucket(5000.0, math.inf, 1)
    assert latency.p999 == latency.maximum == 7200.0


def test_a_clock_that_is_out_of_its_mind_harms_no_call(make_breaker):
    breaker = make_breaker(clock=lambda: math.nan, latency=True)
    assert breaker.call(lambda: "served") == "served"
    assert breaker.metrics().latency.calls == 1


def test_its_memory_is_bounded_and_made_when_needed():
    histogram = Histogram()
    for bound in (*BOUNDS, 1e9):
        histogram.add(bound)
        histogram.add(bound)
    assert len(histogram._counts) == len(BOUNDS) + 1
    assert len(Histogram()._counts) == 0


def test_of_two_threads_that_come_first_to_a_bucket_both_count(monkeypatch):
    histogram, between = Histogram(), [0.125]

    def count():
        if between:
            histogram.add(between.pop())  # another thread, at the worst moment
        return itertools.count()

    monkeypatch.setattr("circuitry.latency.itertools", types.SimpleNamespace(count=count))
    histogram.add(0.125)
    assert histogram.read().calls == 2


# -- Which calls -------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["success", "failure", "release"])
def test_a_call_is_timed_however_it_ends(timed, clock, how):
    breaker = timed()
    lasting(breaker, clock, 0.5, how)
    assert taken(breaker) == (1, 0.5)


@pytest.mark.parametrize("error", [OSError, LookupError, KeyboardInterrupt])
def test_also_what_is_excluded_or_interrupted(timed, clock, error, colour):
    breaker = timed(exclude=LookupError)

    @breaker
    @colour.function
    def fetch():
        clock.advance(0.5)
        raise error

    with pytest.raises(error):
        colour.run(fetch)
    assert taken(breaker) == (breaker.metrics().calls, 0.5) == (1, 0.5)


def test_a_block_a_function_and_what_it_returns_are_timed_whole(timed, clock, colour):
    breaker = timed()
    fetch = breaker(colour.function(lambda: clock.advance(0.5)))
    colour.run(fetch)
    colour.block(breaker, lambda _: clock.advance(0.25))

    async def later():
        clock.advance(2.0)

    if colour.is_async:
        colour.run(breaker(lambda: later()))
    assert taken(breaker) == ((3, 2.75) if colour.is_async else (2, 0.75))


def test_a_stream_lasts_as_long_as_it_is_read(timed, clock, colour):
    breaker = timed()

    @breaker
    @colour.stream
    def pages():
        for _ in range(3):
            yield clock.advance(0.5)

    colour.collect(pages)
    assert taken(breaker) == (1, 1.5)


def test_a_stream_left_early_is_timed_until_then(timed, clock):
    breaker = timed()

    @breaker
    def pages():
        while True:
            yield clock.advance(0.5)

    for _ in pages():
        break
    gc.collect()
    assert taken(breaker) == (1, 0.5)


@pytest.mark.anyio
async def test_a_call_that_is_cancelled_is_timed_until_then(timed, clock):
    breaker = timed()

    @breaker
    async def hangs():
        clock.advance(0.5)
        await anyio.sleep_forever()

    with anyio.move_on_after(0):
        await hangs()
    with anyio.move_on_after(0.01):
        await hangs()
    metrics = breaker.metrics()
    assert metrics.ignored == metrics.latency.calls == 2
    assert taken(breaker)[1] == 1.0


@pytest.mark.anyio
async def test_a_call_that_is_out_of_time_is_timed_until_then(timed, clock):
    breaker = timed(call_timeout=0.01)

    @breaker
    async def hangs():
        clock.advance(0.5)
        await anyio.sleep_forever()

    with pytest.raises(TimeoutError):
        await hangs()
    assert taken(breaker) == (1, 0.5)
    assert breaker.metrics().failures == 1


def test_a_permit_that_is_dropped_is_timed_until_then(timed, clock):
    breaker = timed()
    permit = breaker.acquire()
    clock.advance(0.5)
    with breaker._lock:  # as if the collector ran in the midst of a step
        del permit
        gc.collect()
    assert taken(breaker) == (1, 0.5)


@pytest.mark.parametrize("how", ["success", "failure", "release"])
def test_a_probe_is_timed_once_however_it_ends(timed, clock, fail, how):
    breaker = timed()
    fail(breaker, 2)
    clock.advance(10)
    lasting(breaker, clock, 0.5, how)
    assert taken(breaker) == (3, 0.5)


def test_a_probe_that_is_dropped_is_timed_until_then_and_not_until_it_is_noticed(timed, clock, fail):
    breaker = timed()
    fail(breaker, 2)
    clock.advance(10)
    permit = breaker.acquire()
    clock.advance(0.5)
    del permit
    gc.collect()
    clock.advance(5)
    assert taken(breaker) == (3, 0.5)


def test_a_stream_that_probes_and_is_left_is_timed_once(timed, clock, fail):
    breaker = timed()

    @breaker
    def pages():
        while True:
            yield clock.advance(0.5)

    fail(breaker, 2)
    clock.advance(10)
    for _ in pages():
        break
    gc.collect()
    assert breaker.state == "closed"
    assert taken(breaker) == (3, 0.5)


def test_what_is_rejected_is_not_timed(timed, clock, fail):
    breaker = timed()
    fail(breaker, 2)
    with pytest.raises(CircuitOpenError):
        breaker.call(lambda: None)
    assert taken(breaker) == (2, 0.0)


def test_what_a_shadow_or_a_disabled_circuit_lets_go_is_timed_like_all(timed, clock, fail):
    breaker = timed()
    breaker.shadow()
    fail(breaker, 2)
    lasting(breaker, clock, 0.5)
    assert breaker.metrics().shadow_rejected == 1
    breaker.disable()
    lasting(breaker, clock, 0.25)
    assert taken(breaker) == (4, 0.75)


def test_a_family_takes_the_time_of_each_member_by_itself(fresh, clock):
    from circuitry import circuit

    @circuit("shard", key=lambda shard, seconds: shard, latency=True, clock=clock)
    def fetch(shard, seconds):
        clock.advance(seconds)

    for shard, seconds in [("eu", 0.5), ("us", 2.0), ("eu", 0.5)]:
        fetch(shard, seconds)
    assert [taken(breaker) for breaker in circuit_of(fetch)] == [(2, 1.0), (1, 2.0)]


# -- The judgement is what it would be ---------------------------------------------------------------


def test_a_probe_is_the_same_probe_to_who_compares_them(timed, clock, fail):
    breaker = timed()
    fail(breaker, 2)
    clock.advance(10)
    probe = breaker.admit()
    assert probe == Probe(probe.generation, probe.number)
    assert hash(probe) == hash(Probe(probe.generation, probe.number))
    breaker.success(probe)
    assert breaker.state == "closed"


def test_slow_calls_trip_it_as_ever_and_those_in_flight_too(timed, clock):
    rule = SlowCallRate(0.5, slower_than=2.0, window=last(4), minimum_calls=2)
    breaker = CircuitBreaker("netflix", trip=rule, latency=True, clock=clock)
    held = [breaker.acquire() for _ in range(2)]
    clock.advance(2.5)
    with pytest.raises(CircuitOpenError):
        breaker.acquire()
    for permit in held:
        permit.release()
    assert breaker.state == "open"
    assert taken(breaker) == (2, 5.0)


def test_a_stream_whose_end_trips_it_where_no_lock_may_be_taken(timed, clock):
    rule = SlowCallRate(0.5, slower_than=2.0, window=last(4), minimum_calls=1)
    breaker = CircuitBreaker("netflix", trip=rule, latency=True, clock=clock)
    permit = breaker.acquire()
    clock.advance(2.5)
    with breaker._lock:
        del permit
        gc.collect()
    assert breaker.state == "open"
    assert taken(breaker) == (1, 2.5)


# -- Which clock -------------------------------------------------------------------------------------


def test_a_circuit_that_takes_no_time_reads_no_clock(make_breaker):
    reads = []
    breaker = make_breaker(clock=lambda: reads.append(1) or 0.0)
    reads.clear()
    breaker.call(lambda: None)
    assert reads == []
    breaker.reconfigure(latency=True)
    reads.clear()
    breaker.call(lambda: None)
    assert len(reads) == 2


# -- Over the breaker's life -------------------------------------------------------------------------


def test_a_reset_keeps_it_like_all_totals(timed, clock):
    breaker = timed()
    lasting(breaker, clock, 0.5)
    breaker.reset()
    assert taken(breaker) == (1, 0.5)


def test_it_can_be_asked_for_and_given_up_at_run_time(timed, clock):
    breaker = timed(latency=False)
    early = breaker.acquire()
    breaker.reconfigure(latency=True)
    lasting(breaker, clock, 0.5)
    early.success()  # nobody knows when it began
    assert taken(breaker) == (1, 0.5)
    late = breaker.acquire()
    breaker.reconfigure(latency=False)
    assert breaker.metrics().latency is None
    clock.advance(0.25)
    late.success()
    lasting(breaker, clock, 3)
    breaker.reconfigure(latency=True)
    assert taken(breaker) == (2, 0.75)


def test_an_operator_can_ask_for_it(fresh, clock, tmp_path, monkeypatch):
    breaker = fresh.get_or_create("netflix", clock=clock)
    file = tmp_path / "circuits.toml"
    file.write_text("[circuits.netflix]\nlatency = true\n", encoding="utf-8")
    fresh.load(file)
    lasting(breaker, clock, 0.5)
    assert taken(breaker) == (1, 0.5)
    monkeypatch.setenv("CIRCUITRY_NETFLIX__LATENCY", "False")
    fresh.load(file)
    assert breaker.metrics().latency is None
    file.write_text("[circuits.netflix]\nlatency = 1\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"\[circuits.netflix\] latency: latency=1 is not allowed"):
        fresh.load(file)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_child_goes_on_with_it(timed, clock):
    breaker = timed()
    lasting(breaker, clock, 0.5)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            lasting(breaker, clock, 0.25)
            code = 0 if taken(breaker) == (2, 0.75) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert taken(breaker) == (1, 0.5)


def test_an_admission_that_knows_its_time_counts_where_the_machine_said(timed):
    admission = timed().admit()
    assert isinstance(admission, Clocked)
    assert admission.owner is admission.inner
