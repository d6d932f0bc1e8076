"""Many threads at once, also with the interpreter switching between them at every chance."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

THREADS = 8


@pytest.fixture(params=[None, 1e-6], ids=["usual switching", "fine switching"])
def switching(request: pytest.FixtureRequest) -> Iterator[None]:
    """How often the interpreter lets another thread run."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(request.param or usual)
    yield
    sys.setswitchinterval(usual)


@pytest.fixture
def hammer(switching: None) -> Callable[..., list[Any]]:
    """Run `work(number)` in each of some threads, all at once, and give what they return, in order."""

    def run(work: Callable[[int], Any], threads: int = THREADS) -> list[Any]:
        start = threading.Barrier(threads, timeout=60)
        results: dict[int, Any] = {}
        errors: list[BaseException] = []

        def one(number: int) -> None:
            try:
                start.wait()
                results[number] = work(number)
            except BaseException as error:
                errors.append(error)

        running = [threading.Thread(target=one, args=(number,), daemon=True) for number in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join(120)
        assert not any(thread.is_alive() for thread in running), "a thread hangs"
        if errors:
            raise errors[0]
        return [results[number] for number in range(threads)]

    return run
