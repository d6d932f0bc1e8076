"""The histogram against a list that is sorted anew."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuitry.latency import BOUNDS, PRECISION, Histogram

pytestmark = pytest.mark.core

#: As long as calls take: of every magnitude, and close to the bounds of buckets.
within = st.one_of(
    st.floats(1e-6, 5000.0),
    st.floats(math.log(1e-6), math.log(5000.0)).map(math.exp),
    st.sampled_from(BOUNDS),
    st.sampled_from(BOUNDS[:-1]).map(lambda bound: math.nextafter(bound, math.inf)),
).map(lambda seconds: min(max(seconds, 1e-6), 5000.0))
beyond = st.one_of(st.floats(0.0, 1e-6), st.floats(5000.0, 1e9))
percents = st.sampled_from(["50", "90", "99", "99.9", "0.001", "100"]) | st.decimals(
    "0.001", "100", places=3
).map(str)


def filled(durations):
    histogram = Histogram()
    for seconds in durations:
        histogram.add(seconds)
    return histogram.read()


def by_rank(durations, percent):
    """The shortest of them that so many don't exceed."""
    rank = math.ceil(len(durations) * Fraction(percent) / 100)
    return sorted(durations)[rank - 1]


@given(st.lists(within, min_size=1, max_size=200), percents)
def test_a_percentile_is_that_of_the_list_but_for_the_precision(durations, percent):
    shown, exact = filled(durations).percentile(float(percent)), by_rank(durations, percent)
    assert abs(shown - exact) <= exact * PRECISION * (1 + 1e-9)
    assert shown <= max(durations)


@given(st.lists(within | beyond, min_size=1, max_size=100))
def test_what_is_counted_is_counted_exactly(durations):
    latency = filled(durations)
    assert latency.calls == len(durations) == sum(bucket.calls for bucket in latency.buckets)
    assert latency.maximum == max(durations)
    assert latency.total == pytest.approx(math.fsum(durations))
    for bucket in latency.buckets:
        assert bucket.calls == sum(
            bucket.above < seconds <= bucket.at_most or bucket.above == seconds == 0 for seconds in durations
        )


@given(st.lists(within | beyond, max_size=100), st.integers(-6, 2), st.sampled_from("1 2.5 5".split()))
def test_how_many_took_at_most_so_long_is_exact_for_round_numbers(durations, power, first):
    bound = float(f"{first}e{power}")
    assert filled(durations).at_most(bound) == sum(seconds <= bound for seconds in durations)


@given(st.lists(within | beyond, min_size=1, max_size=100))
def test_percentiles_are_in_order_also_beyond_the_buckets(durations):
    latency = filled(durations)
    shown = [latency.p50, latency.p90, latency.p99, latency.p999, latency.maximum]
    assert shown == sorted(shown)
