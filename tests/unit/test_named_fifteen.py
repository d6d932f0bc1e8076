"""Fifteen facts by name, each through the public face of a breaker, in both colours where both apply."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from circuitry import (
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitOpenError,
    CircuitState,
    TooManyCallsError,
    circuit,
    circuit_of,
)
from circuitry.integrations.normalizers import (
    CircuitBreakerNormalizer,
    InMemoryCatalogCache,
    ServiceUnavailableError,
)

pytestmark = pytest.mark.core


class Backend:
    """A dependency that is healthy until it is told to be sick."""

    def __init__(self):
        self.sick = False
        self.calls = 0

    def fetch(self):
        self.calls += 1
        if self.sick:
            raise ConnectionError("refused")
        return "fresh"


@pytest.fixture
def backend():
    return Backend()


@pytest.fixture
def call(colour, breaker, backend):
    """Call the backend through the breaker (3 failures, 10 s, 2 of 2 probes), in each colour."""
    guarded = breaker(colour.function(backend.fetch))
    return lambda: colour.run(guarded)


@pytest.fixture
def fails(call, backend):
    """Let calls fail: `fails(times)`."""

    def failing(times):
        backend.sick = True
        for _ in range(times):
            with pytest.raises(ConnectionError):
                call()
        backend.sick = False

    return failing


def test_allows_calls_when_closed(call, breaker, backend):
    assert [call() for _ in range(10)] == ["fresh"] * 10
    assert (backend.calls, breaker.state) == (10, "closed")


def test_opens_after_threshold_failures(fails, breaker):
    fails(2)
    assert breaker.state == "closed"
    fails(1)
    assert breaker.state == "open"


def test_rejects_when_open(call, fails, breaker, backend):
    fails(3)
    for _ in range(5):
        with pytest.raises(CircuitOpenError) as caught:
            call()
    assert (backend.calls, breaker.metrics().rejected) == (3, 5)
    rejection = caught.value
    assert (rejection.circuit_name, rejection.state, rejection.retry_after) == ("netflix", "open", 10.0)
    assert rejection.last_failure == "ConnectionError: refused"


def test_half_open_after_the_timeout(call, fails, breaker, clock):
    fails(3)
    clock.advance(9.99)
    with pytest.raises(CircuitOpenError):
        call()
    clock.advance(0.01)
    assert breaker.state == "open", "nobody has called"
    assert call() == "fresh"
    assert breaker.state == "half_open"


def test_closes_after_recovery(call, fails, breaker, clock):
    fails(3)
    clock.advance(10)
    call()
    assert breaker.state == "half_open"
    call()
    assert (breaker.state, breaker.failure_count, breaker.success_count) == ("closed", 0, 0)


def test_reopens_on_half_open_failure(call, fails, breaker, clock):
    fails(3)
    clock.advance(10)
    call()
    fails(1)
    assert (breaker.state, breaker.metrics().opened) == ("open", 2)
    clock.advance(9)
    with pytest.raises(CircuitOpenError) as caught:
        call()
    assert caught.value.retry_after == 1.0, "the timer has started anew"


def test_limits_half_open_concurrent_calls(colour, call, fails, breaker, clock, backend):
    fails(3)
    clock.advance(10)
    probes = [colour.acquire(breaker), colour.acquire(breaker)]
    with pytest.raises(TooManyCallsError):
        call()
    assert backend.calls == 3
    probes[0].success()
    assert call() == "fresh"
    assert breaker.state == "closed"


def test_fallback_used_when_open(colour, make_breaker, backend):
    breaker = make_breaker(fallback=lambda: "cached")
    guarded = breaker(colour.function(backend.fetch))
    breaker.force_open()
    assert colour.run(guarded) == "cached"
    assert (backend.calls, breaker.metrics().fallbacks) == (0, 1)
    assert colour.run(breaker.call_with_fallback, colour.function(backend.fetch), lambda: "other") == "other"


def test_primary_used_when_closed(colour, make_breaker, backend):
    breaker = make_breaker(fallback=lambda: "cached")
    guarded = breaker(colour.function(backend.fetch))
    assert colour.run(guarded) == "fresh"
    backend.sick = True
    with pytest.raises(ConnectionError):
        colour.run(guarded)
    assert breaker.metrics().fallbacks == 0


def test_failure_count_resets_on_success(call, fails, breaker):
    for _ in range(5):
        fails(2)
        assert breaker.failure_count == 2
        call()
        assert breaker.failure_count == 0
    assert breaker.state == "closed"


def test_reset(call, fails, breaker):
    fails(3)
    heard = []
    breaker.on_transition(heard.append)
    breaker.reset()
    assert (breaker.state, breaker.failure_count) == ("closed", 0)
    assert call() == "fresh"
    metrics = breaker.metrics()
    assert (metrics.failures, metrics.opened) == (3, 1), "totals stay"
    assert [(str(event.old_state), str(event.new_state)) for event in heard] == [("open", "closed")]


def test_metrics_snapshot_is_accurate(call, fails, breaker, clock):
    for _ in range(4):
        call()
    fails(3)
    for _ in range(2):
        with pytest.raises(CircuitOpenError):
            call()
    clock.advance(4)
    metrics = breaker.metrics()
    counted = ("calls", "successes", "failures", "ignored", "rejected", "fallbacks", "opened")
    assert [getattr(metrics, name) for name in counted] == [7, 4, 3, 0, 2, 0, 1]
    assert (metrics.name, metrics.state, metrics.retry_after) == ("netflix", "open", 6.0)
    assert metrics.failure_rate == pytest.approx(3 / 7)
    clock.advance(6)
    call()
    metrics = breaker.metrics()
    assert (metrics.state, metrics.success_count, metrics.recovery_attempts) == ("half_open", 1, 1)


@pytest.mark.parametrize(
    ("preset", "numbers"),
    [
        ("platform_api", (5, 3, 30.0, 3)),
        ("pubnub", (3, 2, 10.0, 2)),
        ("embedding_service", (5, 3, 60.0, 3)),
    ],
)
def test_preset_values(fresh, preset, numbers):
    named = circuit_of(circuit("named", preset=preset)(len)).config
    constructed = getattr(CircuitBreakerConfig, preset)()
    own = CircuitBreaker("own", preset=preset).config
    assert named == constructed == own
    names = ("failure_threshold", "success_threshold", "timeout_duration", "half_open_max_calls")
    assert tuple(getattr(constructed, name) for name in names) == numbers
    if preset == "platform_api":
        assert circuit_of(circuit("default")(len)).config == constructed


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (CircuitState.CLOSED, "closed"),
        (CircuitState.OPEN, "open"),
        (CircuitState.HALF_OPEN, "half_open"),
        (CircuitState.FORCED_OPEN, "forced_open"),
        (CircuitState.DISABLED, "disabled"),
        (CircuitState.SHADOW, "shadow"),
    ],
)
def test_state_display(state, text):
    assert str(state) == f"{state}" == state.value == text
    assert state == text
    assert CircuitState(text) is state
    assert len(CircuitState) == 6


class Netflix:
    """A normalizer of a platform that can be sick."""

    platform_id = "netflix"

    def __init__(self):
        self.sick = False

    async def fetch_catalog_delta(self, since, region):
        if self.sick:
            raise ConnectionError("refused")
        return [{"id": "n1", "region": region}]

    def normalize(self, raw):
        return raw["id"]

    def generate_deep_link(self, content_id):
        return f"https://www.netflix.com/title/{content_id}"

    def rate_limit_config(self):
        return {"per_second": 5}


@pytest.mark.anyio
async def test_normalizers():
    """Pass when closed, serve the cache when open, and say who is unavailable without a cache."""
    since = datetime(2026, 1, 1, tzinfo=UTC)
    platform = Netflix()
    config = CircuitBreakerConfig(failure_threshold=2)
    bare = CircuitBreakerNormalizer(platform, config)
    cached = CircuitBreakerNormalizer(platform, config).with_cache(InMemoryCatalogCache())
    fresh_catalogue = [{"id": "n1", "region": "eu"}]

    for normalizer in (bare, cached):
        assert await normalizer.fetch_catalog_delta(since, "eu") == fresh_catalogue
        assert normalizer.normalize({"id": "n1"}) == "n1"
        assert normalizer.circuit_breaker.name == "normalizer-netflix"

    platform.sick = True
    for normalizer in (bare, cached):
        for _ in range(2):
            with pytest.raises(ConnectionError):
                await normalizer.fetch_catalog_delta(since, "eu")
        assert normalizer.circuit_breaker.state == "open"

    assert await cached.fetch_catalog_delta(since, "eu") == fresh_catalogue
    with pytest.raises(ServiceUnavailableError, match="netflix") as caught:
        await bare.fetch_catalog_delta(since, "eu")
    assert isinstance(caught.value.__cause__, CircuitOpenError)
