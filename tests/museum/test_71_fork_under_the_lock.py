from __future__ import annotations

import os
import signal
import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from circuitry import CircuitBreaker, CircuitRegistry, last_good

from .doubles import Naive
from .scenes import at_each_line

pytestmark = [
    pytest.mark.core,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here, and so no such bug"),
]

#: What another thread is at when the process forks, and what the child then has to get through.
Scene = tuple[Callable[[], object], Callable[[], object]]


class InheritsTheLock(Naive):
    def __init__(self, *args: Any, **settings: Any) -> None:
        self.lock = threading.Lock()
        super().__init__(*args, **settings)

    def ended(self, admission: Any, error: BaseException | None) -> None:
        with self.lock:
            super().ended(admission, error)

    def reset(self) -> None:
        with self.lock:
            super().reset()


def exhibit(make: Callable[[], Scene], patience: float = 30.0) -> None:
    """Fork while threads stand at each line of the step, one at each, with a circuit of its own."""
    lines: list[object] = []
    step, _ = make()
    with at_each_line(lambda: lines.append(None)):
        step()
    scenes = [make() for _ in lines]
    go_on = threading.Event()
    threads = [stopped(step, number, go_on) for number, (step, _) in enumerate(scenes)]
    try:
        through = forked([in_child for _, in_child in scenes], patience)
    finally:
        go_on.set()
        for thread in threads:
            thread.join(10)
    assert len(lines) > 3
    assert through, "the child waits for a lock that nobody holds"


def stopped(step: Callable[[], object], number: int, go_on: threading.Event) -> threading.Thread:
    """A thread that stands at the line of this number, of a step's new lines, until it may go on."""
    stands = threading.Event()
    lines: list[object] = []

    def line() -> None:
        lines.append(None)
        if len(lines) == number + 1:
            stands.set()
            go_on.wait(60)

    def run() -> None:
        with at_each_line(line):
            step()

    thread = threading.Thread(target=run)
    thread.start()
    assert stands.wait(10), "the step took another way this time"
    return thread


def forked(steps: list[Callable[[], object]], patience: float) -> bool:
    """Whether a forked child gets through, in time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the threads are what this is about
        child = os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, patience)
            for step in steps:
                step()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def breaker(kind: Any) -> Scene:
    circuit = kind("netflix", failure_threshold=1)
    heard: list[str] = []
    circuit.on_transition(lambda event: heard.append(str(event.new_state)))

    def step() -> None:
        circuit.acquire().failure(OSError("down"))
        circuit.reset()

    def in_child() -> None:
        circuit.reset()
        heard.clear()
        circuit.acquire().failure(OSError("down"))
        assert (str(circuit.state), heard) == ("open", ["open"])

    return step, in_child


def registry() -> Scene:
    circuits = CircuitRegistry()
    return lambda: circuits.get_or_create("netflix"), lambda: circuits.get_or_create("netflix")


def family() -> Scene:
    registry = CircuitRegistry()
    members = registry.get_or_create_family("platform", max_keys=2)

    def step() -> None:
        for key in range(3):
            members[key]

    def in_child() -> None:
        for key in range(3, 6):
            members[key]
        assert len(members) <= 2
        assert registry.family("platform") is members

    return step, in_child


def memory() -> Scene:
    @CircuitBreaker("netflix", fallback=last_good(max_size=1))
    def fetch(title: str) -> str:
        return title

    return lambda: (fetch("Dark"), fetch("Ozark")), lambda: fetch("1899")


def test_a_forked_child_inherits_no_held_lock() -> None:
    """Found while planning: a child that is forked while another thread is in a step waits for ever."""
    exhibit(lambda: breaker(CircuitBreaker))


@pytest.mark.parametrize("make", [registry, family, memory])
def test_nor_one_of_a_registry_a_family_or_a_memory(make: Callable[[], Scene]) -> None:
    """The same, where the other thread comes with a new name or key, or keeps a good result."""
    exhibit(make)


def test_the_faulty_double_is_caught() -> None:
    with pytest.raises(AssertionError, match="a lock that nobody holds"):
        exhibit(lambda: breaker(InheritsTheLock), patience=0.3)
