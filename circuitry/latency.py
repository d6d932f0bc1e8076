"""How long calls take: a histogram in O(1) a call and bounded memory, and percentiles read off it.

The buckets are logarithmic, forty to a power of ten from 1 microsecond to 5000 seconds, and 1, 2.5 and 5
times each power of ten are bounds of theirs. None is wider than 6 %, so a percentile, which is shown as the
middle of its bucket, is off by at most `PRECISION`. What is shorter or longer counts in the first or the
last, which have no middle: see `Latency`.

Threads count at once, without a lock: each bucket is an `itertools.count`. The sum and the maximum are
changed in a line that calls nothing, within which CPython lets no other thread in.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

from circuitry.checks import check_number

#: A percentile is off by at most this share of itself.
PRECISION = 0.03


def _bounds() -> Iterator[float]:
    for power in range(-6, 4):
        for first, ratio, steps in (("1", 2.5, 16), ("2.5", 2.0, 12), ("5", 2.0, 12)):
            bound = float(f"{first}e{power}")
            yield from (bound * ratio ** (step / steps) for step in range(steps))


#: What is at most so long, in seconds, and longer than the one before, is in the bucket of this number.
BOUNDS = tuple(bound for bound in _bounds() if bound <= 5000.0)


class Bucket(NamedTuple):
    """How many calls took longer than `above` seconds, and at most `at_most`."""

    above: float
    at_most: float
    calls: int

    def middle(self, longest: float) -> float:
        """What a call in it took, more or less; none took longer than `longest`."""
        if self.at_most == math.inf:
            return longest
        return min(math.sqrt(self.above * self.at_most) if self.above else self.at_most, longest)


class Latency(NamedTuple):
    """How long calls took, in seconds. Percentiles are off by at most 3 %.

    Below 1 microsecond a percentile reads 1 microsecond, above 5000 seconds it reads as the maximum.

    Args:
        calls: how many calls there were.
        total: how long they took together.
        maximum: how long the longest took; 0.0 if there was none, like the percentiles.
        p50: half of the calls took at most so long: the median.
        p90: 90 % of them did.
        p99: 99 % of them did.
        p999: 99.9 % of them did.
        buckets: those with a call in them, the shortest first.
    """

    calls: int
    total: float
    maximum: float
    p50: float
    p90: float
    p99: float
    p999: float
    buckets: tuple[Bucket, ...]

    def percentile(self, percent: float) -> float:
        """So many seconds at most did `percent` % of the calls take.

        Args:
            percent: >= 0 and <= 100; what is beyond a thousandth of one is rounded.

        Raises:
            ConfigurationError: it isn't.
        """
        check_number("percent", percent, 0, 100)
        return _percentile(self.buckets, percent, self.maximum)

    def at_most(self, seconds: float) -> int:
        """How many calls took at most so long: exact for 1, 2.5 and 5 times any power of ten, up to 5000."""
        return sum(bucket.calls for bucket in self.buckets if bucket.at_most <= seconds)


def _percentile(buckets: tuple[Bucket, ...], percent: float, longest: float) -> float:
    """By the nearest rank: the shortest time that so many calls didn't exceed."""
    calls = sum(bucket.calls for bucket in buckets)
    rank = -(calls * round(percent * 1000) // -100_000)  # in whole numbers, rounded up
    for bucket in buckets:
        rank -= bucket.calls
        if rank <= 0:
            return bucket.middle(longest)
    return 0.0


class Histogram:
    """Counts calls by how long they took. Any number of threads may add at once."""

    __slots__ = ("_counts", "longest", "total")

    def __init__(self) -> None:
        #: What counts the calls of a bucket, by its number; made when its first call comes.
        self._counts: dict[int, itertools.count[int]] = {}
        self.total = 0.0
        self.longest = 0.0

    def add(self, seconds: float) -> None:
        """A call took so long."""
        self.total += seconds
        if seconds > self.longest:
            self.longest = seconds
        place = bisect_left(BOUNDS, seconds)
        count = self._counts.get(place)
        if count is None:
            count = self._counts.setdefault(place, itertools.count())  # atomic: threads get the same one
        next(count)

    def read(self) -> Latency:
        """What there is now. The longest is read last: no call may seem to be longer."""
        buckets = tuple(
            Bucket(BOUNDS[place - 1] if place else 0.0, (*BOUNDS, math.inf)[place], _shown(count))
            for place, count in sorted(self._counts.items())
        )
        longest = self.longest
        p50, p90, p99, p999 = (_percentile(buckets, percent, longest) for percent in (50, 90, 99, 99.9))
        calls = sum(bucket.calls for bucket in buckets)
        return Latency(calls, self.total, longest, p50, p90, p99, p999, buckets)


def _shown(count: itertools.count[int]) -> int:
    """The next number, without taking it: "count(3)"."""
    return int(repr(count)[len("count(") : -1])
