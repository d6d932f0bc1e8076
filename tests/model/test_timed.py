"""A circuit that takes the time of its calls does what the reference does, and knows what each took."""

from __future__ import annotations

import pytest

from .comparison import RuledComparison
from .test_model import ALONE_OR_SHARED, RULED, compare
from .timed_driver import TimedDriver

MET = {"closed tripped", "open timed_out", "half_open probe_failed", "waived"}


def test_with_the_time_taken_it_does_what_the_reference_does():
    compare(TimedDriver, MET, max_examples=40)


def test_by_a_rule_too():
    compare(TimedDriver, RULED, kind=RuledComparison, max_examples=30)


@pytest.mark.slow
@ALONE_OR_SHARED
def test_it_does_so_in_the_long_run(shared):
    compare(TimedDriver, shared=shared, max_examples=1000)
