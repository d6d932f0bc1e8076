from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from circuitry import CircuitBreaker, CircuitOpenError, CircuitRegistry, last_good
from circuitry.testing import ManualClock

from .doubles import Naive
from .scenes import OURS, in_time

pytestmark = pytest.mark.core

#: What a user does with a circuit, and what must still work after Ctrl-C.
Scene = tuple[Callable[[], object], Callable[[], object]]


class AcquireTryFinally(Naive):
    def __init__(self, *args: Any, **settings: Any) -> None:
        self.lock = threading.Lock()
        super().__init__(*args, **settings)

    def ended(self, admission: Any, error: BaseException | None) -> None:
        self.lock.acquire()
        try:
            super().ended(admission, error)
        finally:
            self.lock.release()


@pytest.fixture(autouse=True)
def _interrupts(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that strikes in a finalizer is printed by Python, and that's all.

    Nothing is logged, for the handlers of `logging` have this bug themselves.
    """
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: None)
    monkeypatch.setattr(logging.getLogger("circuitry"), "disabled", True)


def exhibit(make: Callable[[], Scene], patience: float = 10.0) -> None:
    """Press Ctrl-C at each point of a scene where Python would look for it: a new circuit for each."""
    point = 0
    interrupted = True
    while interrupted:
        step, afterwards = make()
        interrupted = interrupt(step, point)
        in_time(afterwards, f"Ctrl-C left the lock held for ever, at point {point}", patience)
        point += 1
    assert point > 20


def interrupt(step: Callable[[], object], point: int) -> bool:
    """Raise KeyboardInterrupt at a point of our code; False if `step` has fewer of them.

    CPython looks for signals when a Python function begins and when a C function has returned. A
    `with lock:` offers no such point before its `finally` is armed; `lock.acquire()` does.
    """
    passed = 0

    def strike(frame: Any, event: str, arg: object) -> None:
        nonlocal passed
        if event in ("call", "c_return") and frame.f_code.co_filename.startswith((*OURS, __file__)):
            passed += 1
            if passed == point + 1:
                raise KeyboardInterrupt

    before = sys.getprofile()
    sys.setprofile(strike)
    try:
        step()
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(before)
    return passed > point  # it was swallowed by a finalizer


def breaker(kind: Any) -> Scene:
    clock = ManualClock()
    circuit = kind("netflix", failure_threshold=1, success_threshold=1, timeout_duration=9, clock=clock)
    heard: list[str] = []
    circuit.on_transition(lambda event: heard.append(str(event.new_state)))

    def backend(error: Exception | None = None) -> None:
        if error is not None:
            raise error

    def step() -> None:
        circuit.acquire().success()
        with circuit:
            backend()
        for error in (OSError("down"), None):  # opens, rejects
            try:
                circuit.call(backend, error)
            except (OSError, CircuitOpenError):
                pass
        clock.advance(9)
        circuit.call(backend)  # recovers
        circuit.metrics()
        circuit.reset()

    def afterwards() -> None:
        clock.advance(9)
        circuit.call(backend)
        assert circuit.state == "closed"
        heard.clear()
        circuit.acquire().failure(OSError("down"))
        circuit.reset()
        assert heard[-2:] == ["open", "closed"]  # what was interrupted may be told now, too

    return step, afterwards


def registry() -> Scene:
    circuits = CircuitRegistry()
    return lambda: circuits.get_or_create("netflix"), lambda: circuits.get_or_create("netflix")


def family() -> Scene:
    members = CircuitRegistry().get_or_create_family("platform", max_keys=1)
    members["a"]

    def afterwards() -> None:
        names = [members[key].name for key in ("c", "d")]
        assert names == ["platform[c]", "platform[d]"], "no closed member makes room any more"
        assert len(members) == 1

    return lambda: members["b"], afterwards


def memory() -> Scene:
    @CircuitBreaker("netflix", fallback=last_good(max_size=1))
    def fetch(title: str) -> str:
        return title

    return lambda: (fetch("Dark"), fetch("Ozark")), lambda: fetch("1899")


def test_ctrl_c_leaves_no_lock_held() -> None:
    """Found while planning: between `lock.acquire()` and `try` it leaves the lock held for ever."""
    exhibit(lambda: breaker(CircuitBreaker))


@pytest.mark.parametrize("make", [registry, family, memory])
def test_nor_that_of_a_registry_a_family_or_a_memory(make: Callable[[], Scene]) -> None:
    """The same, where it strikes while circuits are made and evicted, and results kept."""
    exhibit(make)


def test_the_faulty_double_is_caught() -> None:
    doubles: list[Any] = []

    def make() -> Scene:
        def double(*args: Any, **settings: Any) -> Naive:
            doubles.append(AcquireTryFinally(*args, **settings))
            return doubles[-1]

        return breaker(double)

    with pytest.raises(AssertionError, match="left the lock held"):
        exhibit(make, patience=0.2)
    doubles[-1].lock.release()  # so its thread ends
