"""Prometheus: what a scrape shows of circuits, read back from the real text and over a real socket."""

from __future__ import annotations

import http.client
import importlib
import logging
import re
import sys
from collections.abc import Iterator
from typing import Any

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

import circuitry
from circuitry import CircuitBreaker, CircuitFamily, CircuitOpenError, CircuitRegistry, circuit_of
from circuitry.telemetry.prometheus import CircuitCollector
from circuitry.testing import ManualClock

pytestmark = pytest.mark.core

STATES = ("closed", "open", "half_open", "forced_open", "disabled", "shadow")
OUTCOMES = ("success", "failure", "ignored")
PLAIN = (
    "circuitry_rejections_total",
    "circuitry_fallbacks_total",
    "circuitry_failure_ratio",
    "circuitry_recovery_attempts_total",
    "circuitry_retry_after_seconds",
    "circuitry_shed_ratio",
    "circuitry_shadow_rejections_total",
)

Scraped = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Scrape:
    """The samples of one scrape, found by name and labels."""

    def __init__(self, text: str) -> None:
        self.families = list(text_string_to_metric_families(text))
        self.samples: Scraped = {}
        for family in self.families:
            for sample in family.samples:
                where = (sample.name, tuple(sorted(sample.labels.items())))
                assert where not in self.samples, f"shown twice: {where}"
                self.samples[where] = sample.value

    def __call__(self, name: str, **labels: str) -> float:
        return self.samples[name, tuple(sorted(labels.items()))]

    @property
    def circuits(self) -> set[str]:
        return {dict(labels)["circuit"] for _, labels in self.samples}


def scrape(circuits: Any) -> Scrape:
    exporter = CollectorRegistry()
    exporter.register(CircuitCollector(circuits))
    return Scrape(generate_latest(exporter).decode())


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def breaker(clock: ManualClock) -> CircuitBreaker:
    return CircuitBreaker(
        "netflix", failure_threshold=2, success_threshold=1, timeout_duration=30, clock=clock
    )


def fails() -> None:
    raise TimeoutError("read timed out")


def works() -> int:
    return 0


def fail(breaker: CircuitBreaker, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(TimeoutError):
            breaker.call(fails)


def rejected(breaker: CircuitBreaker) -> None:
    with pytest.raises(CircuitOpenError):
        breaker.call(fails)


def test_all_series_are_there_without_traffic(breaker: CircuitBreaker) -> None:
    shown = scrape([breaker])
    expected = {(name, (("circuit", "netflix"),)): 0.0 for name in PLAIN}
    for state in STATES:
        labels = (("circuit", "netflix"), ("state", state))
        expected["circuitry_state", labels] = float(state == "closed")
        expected["circuitry_transitions_total", labels] = 0.0
    for outcome in OUTCOMES:
        expected["circuitry_calls_total", (("circuit", "netflix"), ("outcome", outcome))] = 0.0
    assert shown.samples == expected


def test_without_circuits_the_names_are_there_and_no_series() -> None:
    shown = scrape([])
    assert len(shown.families) == 10
    assert not shown.samples


def test_calls_are_counted_by_outcome(breaker: CircuitBreaker) -> None:
    breaker.call(works)
    breaker.call(works)
    fail(breaker)
    breaker.acquire().release()
    shown = scrape([breaker])
    counts = [shown("circuitry_calls_total", circuit="netflix", outcome=outcome) for outcome in OUTCOMES]
    assert counts == [2, 1, 1]
    assert shown("circuitry_failure_ratio", circuit="netflix") == pytest.approx(1 / 3)


def test_exactly_one_state_is_1(breaker: CircuitBreaker) -> None:
    fail(breaker, 2)
    for act, state in (
        (lambda: None, "open"),
        (breaker.force_open, "forced_open"),
        (breaker.disable, "disabled"),
        (breaker.shadow, "shadow"),
        (breaker.reset, "closed"),
    ):
        act()
        shown = scrape([breaker])
        series = {name: shown("circuitry_state", circuit="netflix", state=name) for name in STATES}
        assert series == {name: float(name == state) for name in STATES}


def test_an_outage_and_its_end(breaker: CircuitBreaker, clock: ManualClock) -> None:
    fail(breaker, 2)
    rejected(breaker)
    assert breaker.call_with_fallback(fails, works) == 0
    clock.advance(12)
    during = scrape([breaker])
    assert during("circuitry_rejections_total", circuit="netflix") == 2
    assert during("circuitry_fallbacks_total", circuit="netflix") == 1
    assert during("circuitry_retry_after_seconds", circuit="netflix") == 18
    assert during("circuitry_recovery_attempts_total", circuit="netflix") == 0
    clock.advance(18)
    fail(breaker)
    clock.advance(30)
    breaker.call(works)
    after = scrape([breaker])
    assert after("circuitry_recovery_attempts_total", circuit="netflix") == 2
    assert after("circuitry_retry_after_seconds", circuit="netflix") == 0
    assert after("circuitry_failure_ratio", circuit="netflix") == 0
    assert {
        state: after("circuitry_transitions_total", circuit="netflix", state=state) for state in STATES
    } == {"closed": 1, "open": 2, "half_open": 2, "forced_open": 0, "disabled": 0, "shadow": 0}


def test_what_a_shadow_would_have_rejected_is_no_rejection(breaker: CircuitBreaker) -> None:
    breaker.shadow()
    fail(breaker, 3)
    shown = scrape([breaker])
    assert shown("circuitry_shadow_rejections_total", circuit="netflix") == 1
    assert shown("circuitry_rejections_total", circuit="netflix") == 0


def test_a_probe_that_asks_is_no_recovery(breaker: CircuitBreaker, clock: ManualClock) -> None:
    """A scrape looks and never acts: an open circuit past its deadline stays open."""
    fail(breaker, 2)
    clock.advance(31)
    assert scrape([breaker])("circuitry_state", circuit="netflix", state="open") == 1
    assert breaker.state == "open"


def test_the_registry_of_the_process_is_the_default(fresh: CircuitRegistry) -> None:
    fresh.get_or_create("netflix")
    exporter = CollectorRegistry()
    exporter.register(CircuitCollector())
    assert Scrape(generate_latest(exporter).decode()).circuits == {"netflix"}


def test_series_of_vanished_breakers_disappear_and_new_ones_appear() -> None:
    registry = CircuitRegistry()
    exporter = CollectorRegistry()
    exporter.register(CircuitCollector(registry))
    registry.get_or_create("netflix")
    assert Scrape(generate_latest(exporter).decode()).circuits == {"netflix"}
    registry.clear()
    registry.get_or_create("disney")
    assert Scrape(generate_latest(exporter).decode()).circuits == {"disney"}


def test_members_of_families_are_circuits_like_others(fresh: CircuitRegistry) -> None:
    @circuitry.circuit("platform", key=lambda platform: platform)
    def fetch(platform: str) -> str:
        return platform

    fetch("netflix")
    fetch("disney")
    members = {"platform[netflix]", "platform[disney]"}
    assert scrape(fresh).circuits == members
    assert scrape(circuit_of(fetch, CircuitFamily)).circuits == members


@pytest.mark.parametrize("name", ['a "quoted" name', "back\\slash", "naïve ☃ 電路", "a{b=c},d", " "])
def test_any_name_survives_the_text(name: str) -> None:
    assert scrape([CircuitBreaker(name)]).circuits == {name}


class Named:
    """A breaker as far as a scrape goes: it has a name and gives snapshots, and nothing else."""

    def __init__(self, name: str, breaker: CircuitBreaker | None) -> None:
        self.name = name
        self._breaker = breaker

    def metrics(self) -> Any:
        if self._breaker is None:
            raise RuntimeError("no snapshot today")
        return self._breaker.metrics()


def test_a_scrape_asks_for_snapshots_and_nothing_else(breaker: CircuitBreaker) -> None:
    """So no listener, wrapper or setting of a breaker changes, and a closed call costs what it did."""
    assert scrape([Named("netflix", breaker)]).circuits == {"netflix"}


def test_a_name_that_utf_8_cannot_say_does_not_spoil_the_scrape(breaker: CircuitBreaker) -> None:
    odd = Named("half a \ud83d", breaker)
    assert scrape([odd, breaker]).circuits == {"half a \\ud83d", "netflix"}


def test_of_two_breakers_with_one_name_the_last_is_shown(breaker: CircuitBreaker) -> None:
    fail(breaker)
    shown = scrape([CircuitBreaker("netflix"), breaker])
    assert shown("circuitry_calls_total", circuit="netflix", outcome="failure") == 1


def test_a_breaker_whose_snapshot_fails_is_left_out_and_logged(
    breaker: CircuitBreaker, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "circuitry"):
        shown = scrape([Named("broken", None), breaker])
    assert shown.circuits == {"netflix"}
    [record] = caplog.records
    assert "broken" in record.getMessage()
    assert record.circuit == "broken"  # type: ignore[attr-defined]
    assert record.exc_info is not None


def test_names_and_units_keep_to_the_conventions(breaker: CircuitBreaker) -> None:
    """The strict parser of OpenMetrics holds us to `_total`, units and one block for each name."""
    exporter = CollectorRegistry()
    exporter.register(CircuitCollector([breaker]))
    text = openmetrics.generate_latest(exporter).decode()
    for family in parse_openmetrics(text):
        assert re.fullmatch(r"circuitry_[a-z_]+", family.name)
        assert family.documentation.endswith(".")
        assert family.type in ("counter", "gauge")
        labels = {name for sample in family.samples for name in sample.labels}
        assert labels <= {
            "circuit",
            "state",
            "outcome",
        }
    units = {family.name: family.unit for family in parse_openmetrics(text) if family.unit}
    assert units == {
        "circuitry_failure_ratio": "ratio",
        "circuitry_retry_after_seconds": "seconds",
        "circuitry_shed_ratio": "ratio",
    }


def test_registering_asks_no_breaker_and_a_second_collector_is_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    exporter = CollectorRegistry(auto_describe=True)
    exporter.register(CircuitCollector([Named("broken", None)]))  # type: ignore[list-item]
    assert not caplog.records
    with pytest.raises(ValueError, match="circuitry_state"):
        exporter.register(CircuitCollector([]))


@pytest.fixture
def server(breaker: CircuitBreaker) -> Iterator[tuple[str, int]]:
    exporter = CollectorRegistry()
    exporter.register(CircuitCollector([breaker]))
    httpd, thread = prometheus_client.start_http_server(0, addr="127.0.0.1", registry=exporter)
    yield "127.0.0.1", httpd.server_port
    httpd.shutdown()
    httpd.server_close()
    thread.join()


def test_a_real_scrape_over_http(server: tuple[str, int], breaker: CircuitBreaker) -> None:
    fail(breaker, 2)
    rejected(breaker)
    connection = http.client.HTTPConnection(*server, timeout=10)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        assert answer.status == 200
        shown = Scrape(answer.read().decode())
    finally:
        connection.close()
    assert shown("circuitry_state", circuit="netflix", state="open") == 1
    assert shown("circuitry_rejections_total", circuit="netflix") == 1


def test_without_prometheus_client_the_error_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "circuitry.telemetry.prometheus")
    for name in [name for name in sys.modules if name.split(".")[0] == "prometheus_client"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)  # as if it weren't installed
    with pytest.raises(ImportError, match=r"pip install 'circuitry-breaker\[prometheus\]'"):
        importlib.import_module("circuitry.telemetry.prometheus")
