from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from circuitry import CircuitBreaker
from circuitry.policies import FailureRate, SlowCallRate, last, within
from circuitry.testing import ManualClock

from .doubles import Naive
from .scenes import at_each_line, python_calls

pytestmark = pytest.mark.core


def exhibit(make: Callable[[int], Any]) -> None:
    """What a call costs, with a window of 10 and with one of 10,000 full of mixed outcomes."""
    small, large = [steps_of_a_call(make(size), size) for size in (10, 10_000)]
    assert large <= small + 5, "a call costs more, the larger the window is"


def steps_of_a_call(breaker: Any, size: int) -> int:
    """Functions called, of Python and of C, and lines and items that a failing call goes through."""
    for number in range(size):
        permit = breaker.acquire()
        permit.success() if number % 2 else permit.failure(OSError("down"))

    def call() -> None:
        breaker.acquire().failure(OSError("down"))

    lines: list[None] = []
    calls = python_calls(call)
    with at_each_line(lambda: lines.append(None)):
        call()
    return len(calls) + len(lines)


class Walks(Naive):
    """Counts its window anew at each call."""

    def __init__(self, *args: Any, size: int, **settings: Any) -> None:
        self.window: deque[bool] = deque(maxlen=size)
        super().__init__(*args, **settings)

    def failed(self) -> None:
        self.window.append(True)
        if sum(int(bad) for bad in self.window) > len(self.window):
            self.enter("open")

    def succeeded(self) -> None:
        self.window.append(False)


def with_rule(rule: Any) -> Callable[[int], Any]:
    return lambda size: CircuitBreaker("netflix", trip=rule(size), clock=ManualClock())


@pytest.mark.parametrize(
    "rule",
    [
        lambda size: FailureRate(0.9, window=last(size), minimum_calls=size),
        lambda size: FailureRate(0.9, window=within(size), minimum_calls=2 * size),
        lambda size: SlowCallRate(0.9, slower_than=1.0, window=last(size), minimum_calls=size),
    ],
    ids=["last", "within", "slow"],
)
def test_a_call_costs_the_same_however_large_the_window_is(rule: Any) -> None:
    """opossum sorts its window's latencies at each failure, pyresilience walks its window at each call."""
    exhibit(with_rule(rule))


def test_the_faulty_double_is_caught() -> None:
    with pytest.raises(AssertionError, match="the larger the window"):
        exhibit(lambda size: Walks("netflix", size=size))
