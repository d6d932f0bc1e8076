"""Timed loops, and the three ways to drive them: alone, in four threads, in asyncio.

This file knows nothing of circuits: it takes a statement about `op` and says what one
execution of it costs.
"""

from __future__ import annotations

import asyncio
import gc
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from functools import partial
from itertools import cycle, islice
from textwrap import indent
from time import perf_counter_ns
from typing import Any

UNROLL = 10
THREADS = 4
WARM_UP = 100
SAMPLE_AT_MOST_NS = 20_000_000
KEYS = ("netflix", "prime", "disney")

Span = tuple[int, int]
Sampler = Callable[[], float]
Samples = dict[str, list[float]]

LOOP = """\
{colour}def loop(iterations, op=op, clock=clock):
    start = clock()
    for _ in range(iterations):
{body}
    return start, clock()
"""


class Drive(Enum):
    """How a loop is run."""

    SYNC = "sync"
    ASYNC = "async"
    THREADS = "threads"


def compile_loop(statement: str, op: Any, drive: Drive) -> Callable[[int], Any]:
    """A loop over `statement`, ten times an iteration; `$key` takes turns."""
    keys = islice(cycle(KEYS), UNROLL)
    body = "\n".join(statement.replace("$key", key) for key in keys)
    colour = "async " if drive is Drive.ASYNC else ""
    source = LOOP.format(colour=colour, body=indent(body, " " * 8))
    scope: dict[str, Any] = {"op": op, "clock": perf_counter_ns}
    exec(compile(source, "<timed loop>", "exec"), scope)
    loop: Callable[[int], Any] = scope["loop"]
    return loop


def _alone(loop: Callable[[int], Span], iterations: int) -> Span:
    return loop(iterations)


def _crowd(loop: Callable[[int], Span], iterations: int) -> Span:
    """The same loop in four threads at once; from the first start to the last end."""
    ready = threading.Barrier(THREADS)
    spans: list[Span] = []

    def work() -> None:
        ready.wait()
        spans.append(loop(iterations))

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(spans) != THREADS:
        raise RuntimeError("a thread of the benchmark died")
    return min(start for start, _ in spans), max(end for _, end in spans)


def _affordable(run: Callable[[int], Span], wanted: int, width: int) -> int:
    """Iterations in one sample: fewer for the slow, after a warm-up for everybody."""
    run(WARM_UP)
    start, end = run(WARM_UP)
    cost = max(1, (end - start) // (WARM_UP * width))
    return max(1, min(wanted, SAMPLE_AT_MOST_NS // cost))


def sampler(statement: str, op: Any, drive: Drive, calls: int, runner: asyncio.Runner) -> Sampler:
    """A function that takes one sample: nanoseconds a call."""
    loop = compile_loop(statement, op, drive)
    run: Callable[[int], Span]
    match drive:
        case Drive.SYNC:
            run, width = partial(_alone, loop), 1
        case Drive.THREADS:
            run, width = partial(_crowd, loop), THREADS
        case Drive.ASYNC:
            run, width = (lambda iterations: runner.run(loop(iterations))), 1
    # A thread has to outlive the switch interval (5 ms), or the four take turns.
    iterations = _affordable(run, max(1, calls * width // UNROLL), width)
    total = iterations * UNROLL * width

    def sample() -> float:
        start, end = run(iterations)
        return (end - start) / total

    return sample


@contextmanager
def frozen_gc() -> Iterator[None]:
    """No collection, and nothing older to look at, while samples are taken."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def interleave(samplers: Mapping[str, Sampler], rounds: int) -> Samples:
    """`rounds` samples of each, in a new order every round; the first is thrown away."""
    order = list(samplers)
    shuffle = random.Random(rounds).shuffle
    samples: Samples = {name: [] for name in order}
    with frozen_gc():
        for number in range(rounds + 1):
            shuffle(order)
            for name in order:
                cost = samplers[name]()
                if number:
                    samples[name].append(cost)
            gc.collect()  # between rounds: failures may leave cycles behind
    return samples
