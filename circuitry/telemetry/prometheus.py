"""Circuits as Prometheus series, on prometheus-client. Needs the extra `prometheus`.

    from prometheus_client import REGISTRY
    from circuitry.telemetry.prometheus import CircuitCollector

    REGISTRY.register(CircuitCollector())

The series are made of snapshots, at the moment of a scrape. So a call costs what it did before,
every series is there before the first call, and those of a breaker that is gone are gone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, TypeAlias

try:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
    from prometheus_client.registry import Collector
except ModuleNotFoundError as missing:
    raise ImportError(
        "circuitry.telemetry.prometheus needs prometheus-client: pip install 'circuitry-breaker[prometheus]'"
    ) from missing

from circuitry import CircuitBreaker, CircuitBreakerMetrics, CircuitState, registry

__all__ = ["CircuitCollector"]

logger = logging.getLogger("circuitry")

Family: TypeAlias = GaugeMetricFamily | CounterMetricFamily

#: The value of a series' own label, where it has one, and the series' value.
Samples: TypeAlias = Mapping[str, float]


class Series(NamedTuple):
    """The series of one name: how they are called, and what they show of a snapshot."""

    kind: type[GaugeMetricFamily] | type[CounterMetricFamily]
    name: str
    help: str
    read: Callable[[CircuitBreakerMetrics], Samples]
    label: str | None = None  # beside `circuit`
    unit: str = ""

    def family(self) -> Family:
        """The series, with nothing in them."""
        labels = ["circuit"] if self.label is None else ["circuit", self.label]
        return self.kind(self.name, self.help, labels=labels, unit=self.unit)

    def add(self, family: Family, name: str, metrics: CircuitBreakerMetrics) -> None:
        """Add those of one circuit."""
        for own, value in self.read(metrics).items():
            family.add_metric([name] if self.label is None else [name, own], value)


def _one(read: Callable[[CircuitBreakerMetrics], float]) -> Callable[[CircuitBreakerMetrics], Samples]:
    """What a name with one series a circuit shows."""
    return lambda metrics: {"": read(metrics)}


def _states(metrics: CircuitBreakerMetrics) -> Samples:
    return {state.value: float(state is metrics.state) for state in CircuitState}


def _outcomes(metrics: CircuitBreakerMetrics) -> Samples:
    return {"success": metrics.successes, "failure": metrics.failures, "ignored": metrics.ignored}


def _entered(metrics: CircuitBreakerMetrics) -> Samples:
    return {state.value: metrics.entered.get(state, 0) for state in CircuitState}


ALL = (
    Series(
        GaugeMetricFamily, "circuitry_state", "1 for the state the circuit is in, else 0.", _states, "state"
    ),
    Series(
        CounterMetricFamily,
        "circuitry_calls",
        "Admitted calls that have ended, by outcome.",
        _outcomes,
        "outcome",
    ),
    Series(
        CounterMetricFamily,
        "circuitry_rejections",
        "Calls that were not admitted.",
        _one(lambda metrics: metrics.rejected),
    ),
    Series(
        CounterMetricFamily,
        "circuitry_fallbacks",
        "How often a fallback stood in.",
        _one(lambda metrics: metrics.fallbacks),
    ),
    Series(
        CounterMetricFamily,
        "circuitry_transitions",
        "How often the circuit came to a state, by that state.",
        _entered,
        "state",
    ),
    Series(
        GaugeMetricFamily,
        "circuitry_failure_ratio",
        "Failures / (successes + failures) since the circuit last closed; 0 if there were none.",
        _one(lambda metrics: metrics.failure_rate),
        unit="ratio",
    ),
    Series(
        CounterMetricFamily,
        "circuitry_recovery_attempts",
        "How often the circuit came to half_open.",
        _one(lambda metrics: metrics.recovery_attempts),
    ),
    Series(
        GaugeMetricFamily,
        "circuitry_retry_after_seconds",
        "Seconds until a call may be admitted; 0 when one would be.",
        _one(lambda metrics: metrics.retry_after),
        unit="seconds",
    ),
    Series(
        GaugeMetricFamily,
        "circuitry_shed_ratio",
        "The share of calls that the circuit rejects while it is closed.",
        _one(lambda metrics: metrics.shed_share),
        unit="ratio",
    ),
    Series(
        CounterMetricFamily,
        "circuitry_shadow_rejections",
        "Calls that a circuit in shadow would have rejected.",
        _one(lambda metrics: metrics.shadow_rejected),
    ),
)


class CircuitCollector(Collector):
    """A custom collector for `prometheus_client`: `REGISTRY.register(CircuitCollector())`.

    Args:
        registry: whose circuits to show: a `CircuitRegistry` (by default the one of this
            process), a `CircuitFamily`, or any collection of breakers, such as a list of those
            that are in no registry. It is gone through again at each scrape.

    A breaker whose snapshot raises is logged and left out of that scrape. Of several breakers with
    one name the last is shown: a name is one set of series.

    Safe to use from any number of threads at once.
    """

    def __init__(self, registry: Iterable[CircuitBreaker] = registry) -> None:
        self._registry = registry

    def describe(self) -> Iterator[Family]:
        """The names, for `register` to find out whether they are taken. Asks no breaker."""
        return (series.family() for series in ALL)

    def collect(self) -> Iterator[Family]:
        """The series of every circuit there is at this moment."""
        snapshots = self._snapshots()
        for series in ALL:
            family = series.family()
            for name, metrics in snapshots.items():
                series.add(family, name, metrics)
            yield family

    def _snapshots(self) -> dict[str, CircuitBreakerMetrics]:
        snapshots: dict[str, CircuitBreakerMetrics] = {}
        for breaker in self._registry:
            try:
                snapshots[_text(breaker.name)] = breaker.metrics()
            except Exception:
                text = "circuit %r: no snapshot for Prometheus"
                logger.exception(text, breaker.name, extra={"circuit": breaker.name})
        return snapshots


def _text(name: str) -> str:
    """A name as a label: what UTF-8 can't say (a lone surrogate) would spoil the whole scrape."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
