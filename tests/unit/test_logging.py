"""Logger `circuitry`: levels, fields, and no work where it isn't wanted."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from circuitry import CircuitBreaker

pytestmark = pytest.mark.core

logger = logging.getLogger("circuitry")


@pytest.fixture(autouse=True)
def heard(caplog):
    """Everything logged, from DEBUG on."""
    caplog.set_level(logging.DEBUG, logger="circuitry")
    return caplog


def live(breaker, clock, fail):
    """Trip, probe, and recover."""
    fail(breaker, 3)
    clock.advance(10)
    breaker.acquire().success()
    breaker.acquire().success()


def test_failures_are_debug_openings_warning_and_the_rest_info(breaker, clock, fail, heard):
    live(breaker, clock, fail)
    assert [record.levelname for record in heard.records] == [
        "DEBUG",
        "DEBUG",
        "WARNING",
        "DEBUG",
        "INFO",
        "INFO",
    ]


def test_the_messages(breaker, clock, fail, heard):
    live(breaker, clock, fail)
    assert list(dict.fromkeys(record.getMessage() for record in heard.records)) == [
        "circuit 'netflix': failure: OSError: down",
        "circuit 'netflix': closed -> open (tripped, local): OSError: down",
        "circuit 'netflix': open -> half_open (timed_out, local): OSError: down",
        "circuit 'netflix': half_open -> closed (recovered, local)",
    ]


def test_the_extra_fields(breaker, fail, heard):
    fail(breaker, 3)
    failure = heard.records[0]
    assert failure.circuit == "netflix"
    opening = next(record for record in heard.records if record.levelname == "WARNING")
    fields = ("circuit", "old_state", "new_state", "reason", "source", "last_failure")
    assert [getattr(opening, field) for field in fields] == [
        "netflix",
        "closed",
        "open",
        "tripped",
        "local",
        "OSError: down",
    ]
    assert {type(getattr(opening, field)) for field in fields} == {str}, "plain text, for any formatter"


@pytest.mark.parametrize(
    ("administer", "level"), [("force_open", "WARNING"), ("disable", "INFO"), ("shadow", "INFO")]
)
def test_administrative_calls(breaker, heard, administer, level):
    getattr(breaker, administer)()
    (record,) = heard.records
    assert (record.levelname, record.source) == (level, "admin")


def test_a_shadow_that_would_open_is_told_as_such(breaker, fail, heard):
    breaker.shadow()
    heard.clear()
    fail(breaker, 3)
    opening = next(record for record in heard.records if record.levelname != "DEBUG")
    assert opening.source == "shadow"


def test_rejections_and_successes_are_not_logged(breaker, heard):
    breaker.acquire().success()
    breaker.force_open()
    heard.clear()
    breaker.call_with_fallback(len, len, "abc")
    assert heard.records == []


@pytest.mark.parametrize(
    "disable",
    [
        lambda: logger.setLevel(logging.CRITICAL),
        lambda: logging.disable(logging.CRITICAL),
        lambda: setattr(logger, "disabled", True),
    ],
    ids=["level", "logging.disable", "logger.disabled"],
)
def test_no_record_is_built_when_it_is_disabled(breaker, clock, fail, monkeypatch, disable):
    def build(*_args, **_kwargs):
        raise AssertionError("a LogRecord was built")

    monkeypatch.setattr(logger, "disabled", False)
    disable()
    monkeypatch.setattr(logging, "_logRecordFactory", build)
    try:
        live(breaker, clock, fail)
        breaker.force_open()
    finally:
        logging.disable(logging.NOTSET)
        logger.setLevel(logging.NOTSET)
        logger.disabled = False


def test_an_error_is_not_made_to_text_for_a_log_that_is_disabled(breaker, heard):
    heard.set_level(logging.INFO, logger="circuitry")

    class QuietError(Exception):
        def __str__(self):
            pytest.fail("asked for its text")
            return ""

    breaker.acquire().failure(QuietError())


def test_debug_may_be_switched_on_while_it_runs(breaker, fail, heard):
    heard.set_level(logging.WARNING, logger="circuitry")
    fail(breaker)
    heard.set_level(logging.DEBUG, logger="circuitry")
    fail(breaker)
    assert len(heard.records) == 1


def test_an_error_whose_text_raises_is_logged_by_its_name(heard):
    class UnspeakableError(Exception):
        def __str__(self):
            raise ValueError

    CircuitBreaker("netflix").acquire().failure(UnspeakableError())
    assert heard.records[0].getMessage() == "circuit 'netflix': failure: UnspeakableError"


def test_a_program_without_logging_prints_nothing():
    program = """
from circuitry import CircuitBreaker
breaker = CircuitBreaker("netflix", failure_threshold=1)
breaker.on_transition(lambda event: 1 / 0)
breaker.acquire().failure(OSError("down"))
assert breaker.state == "open"
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
