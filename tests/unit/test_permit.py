"""`acquire()`: leave to make one call, resolved exactly once."""

from __future__ import annotations

import gc
import threading

import anyio
import pytest

from circuitry import CircuitOpenError, Permit, TooManyCallsError

pytestmark = pytest.mark.core

RESOLVING = {
    "success": lambda permit: permit.success(),
    "failure": lambda permit: permit.failure(OSError("down")),
    "failure without an error": lambda permit: permit.failure(),
    "release": lambda permit: permit.release(),
    "ended": lambda permit: permit.ended(OSError("down"), None),
}


def counts(breaker):
    metrics = breaker.metrics()
    return metrics.successes, metrics.failures, metrics.ignored


@pytest.mark.parametrize(
    ("resolve", "counted"),
    [
        ("success", (1, 0, 0)),
        ("failure", (0, 1, 0)),
        ("failure without an error", (0, 1, 0)),
        ("release", (0, 0, 1)),
        ("ended", (0, 1, 0)),
    ],
)
def test_each_way_to_resolve_it_counts_once(colour, breaker, resolve, counted):
    permit = colour.acquire(breaker)
    assert isinstance(permit, Permit)
    assert (permit.resolved, counts(breaker)) == (False, (0, 0, 0))
    RESOLVING[resolve](permit)
    assert (permit.resolved, counts(breaker)) == (True, counted)


@pytest.mark.parametrize("first", RESOLVING)
@pytest.mark.parametrize("then", RESOLVING)
def test_resolving_it_twice_is_an_error_and_counts_nothing(breaker, first, then):
    permit = breaker.acquire()
    RESOLVING[first](permit)
    before = counts(breaker)
    with pytest.raises(RuntimeError, match="this permit of circuit 'netflix' is resolved already"):
        RESOLVING[then](permit)
    assert counts(breaker) == before


def test_an_open_circuit_gives_none(colour, breaker, fail):
    fail(breaker, 3)
    with pytest.raises(CircuitOpenError):
        colour.acquire(breaker)
    assert breaker.metrics().rejected == 1


def test_in_half_open_it_is_a_probe(colour, breaker, clock, fail):
    fail(breaker, 3)
    clock.advance(10)
    probes = [colour.acquire(breaker), colour.acquire(breaker)]
    with pytest.raises(TooManyCallsError):
        colour.acquire(breaker)
    probes[0].release()
    probes.append(colour.acquire(breaker))
    for probe in probes[1:]:
        probe.success()
    assert breaker.state == "closed"


def test_its_failure_is_told_in_the_rejections(breaker):
    for _ in range(3):
        breaker.acquire().failure(TimeoutError("read timed out"))
    with pytest.raises(CircuitOpenError) as caught:
        breaker.acquire()
    assert caught.value.last_failure == "TimeoutError: read timed out"


def test_one_that_is_dropped_is_ignored(breaker):
    breaker.acquire()
    gc.collect()
    assert counts(breaker) == (0, 0, 1)


def test_a_dropped_probe_gives_its_slot_back(breaker, clock, fail):
    fail(breaker, 3)
    clock.advance(10)
    for _ in range(5):
        breaker.acquire()
        gc.collect()
    metrics = breaker.metrics()
    assert (metrics.half_open_calls, metrics.ignored, metrics.state) == (0, 5, "half_open")


def test_one_dropped_in_a_cycle_is_ignored_when_it_is_collected(breaker):
    cycle = {"permit": breaker.acquire()}
    cycle["cycle"] = cycle
    del cycle
    gc.collect()
    assert counts(breaker) == (0, 0, 1)


def test_a_resolved_one_that_is_dropped_counts_no_more(breaker):
    breaker.acquire().success()
    gc.collect()
    assert counts(breaker) == (1, 0, 0)


def test_another_thread_may_resolve_it(breaker):
    permit = breaker.acquire()
    thread = threading.Thread(target=permit.failure)
    thread.start()
    thread.join()
    assert breaker.failure_count == 1


def test_of_many_threads_that_resolve_it_one_does(breaker):
    permit, start, refused = breaker.acquire(), threading.Barrier(4, timeout=10), []

    def resolve():
        start.wait()
        try:
            permit.success()
        except RuntimeError as error:
            refused.append(error)

    threads = [threading.Thread(target=resolve) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(refused), breaker.metrics().successes) == (3, 1)


@pytest.mark.anyio
async def test_one_event_loop_may_take_it_and_a_thread_resolve_it(breaker):
    permit = await breaker.acquire_async()
    await anyio.to_thread.run_sync(permit.success)
    assert counts(breaker) == (1, 0, 0)


class TestAsABlock:
    def test_leaving_it_is_a_success(self, breaker):
        with breaker.acquire() as permit:
            assert not permit.resolved
        assert counts(breaker) == (1, 0, 0)

    @pytest.mark.parametrize(
        ("error", "counted"),
        [(OSError("down"), (0, 1, 0)), (LookupError(), (0, 0, 1)), (KeyboardInterrupt(), (0, 0, 1))],
    )
    def test_an_exception_is_judged_as_the_breaker_does(self, make_breaker, error, counted):
        breaker = make_breaker(exclude=LookupError)
        with pytest.raises(type(error)), breaker.acquire():
            raise error
        assert counts(breaker) == counted

    def test_what_the_block_said_itself_holds(self, breaker):
        with breaker.acquire() as permit:
            permit.failure(OSError("a bad answer"))
        with pytest.raises(OSError), breaker.acquire() as permit:
            permit.success()
            raise OSError
        assert counts(breaker) == (1, 1, 0)


def test_it_shows_its_circuit_and_whether_it_is_resolved(breaker):
    permit = breaker.acquire()
    assert repr(permit) == "<Permit of circuit 'netflix'>"
    permit.release()
    assert repr(permit) == "<Permit of circuit 'netflix', resolved>"


class TestLate:
    """A result counts only in the generation that admitted the call."""

    @pytest.mark.parametrize("resolve", RESOLVING)
    def test_news_from_before_the_opening_is_no_news(self, breaker, clock, fail, resolve):
        late = [breaker.acquire() for _ in range(6)]
        fail(breaker, 3)
        for permit in late[:3]:
            RESOLVING[resolve](permit)
        assert (breaker.state, breaker.metrics().retry_after) == ("open", 10.0)
        clock.advance(10)
        probe = breaker.acquire()
        for permit in late[3:]:
            RESOLVING[resolve](permit)
        metrics = breaker.metrics()
        assert (metrics.state, metrics.success_count, metrics.half_open_calls) == ("half_open", 0, 1)
        assert (metrics.calls, metrics.opened) == (9, 1)
        probe.success()

    @pytest.mark.parametrize("resolve", RESOLVING)
    def test_a_probe_of_another_round_decides_nothing(self, breaker, clock, fail, resolve):
        fail(breaker, 3)
        clock.advance(10)
        late = breaker.acquire()
        breaker.acquire().failure()
        clock.advance(10)
        probe = breaker.acquire()
        RESOLVING[resolve](late)
        assert (breaker.state, breaker.success_count) == ("half_open", 0)
        assert breaker.metrics().half_open_calls == 1
        probe.release()

    def test_a_probe_that_lost_its_slot_still_counts_in_its_generation(self, make_breaker, clock, fail):
        breaker = make_breaker(half_open_max_calls=1, probe_timeout=5)
        fail(breaker, 3)
        clock.advance(10)
        lost = breaker.acquire()
        clock.advance(5)
        other = breaker.acquire()
        lost.success()
        metrics = breaker.metrics()
        assert (metrics.success_count, metrics.half_open_calls) == (1, 1)
        other.success()
        assert breaker.state == "closed"

    @pytest.mark.parametrize("administer", ["reset", "force_open", "disable", "shadow"])
    def test_news_from_before_an_administrative_call_is_no_news(self, breaker, administer):
        late = [breaker.acquire() for _ in range(3)]
        getattr(breaker, administer)()
        before = breaker.state
        for permit in late:
            permit.failure()
        assert (breaker.state, breaker.failure_count, breaker.metrics().failures) == (before, 0, 3)
