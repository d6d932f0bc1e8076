"""A health check at the end of a program: each way is a program of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, sys, threading, time
from circuitry import CircuitBreaker

begun = threading.Event()

def check():
    begun.set()
    time.sleep(60 if {hangs} else 0)
    return False

async def check_async():
    begun.set()
    await asyncio.sleep(60 if {hangs} else 0)
    return False

breaker = CircuitBreaker("netflix", failure_threshold=1, timeout_duration=0.001, health_check_interval=0.001,
                         health_check={check})

async def trip():
    breaker.acquire().failure(OSError("down"))
    while not begun.is_set():
        await asyncio.sleep(0.001)

def asyncio_run():
    asyncio.run(trip())

def closed_loop():
    loop = asyncio.new_event_loop()
    loop.run_until_complete(trip())
    loop.close()

def open_loop():
    global loop
    loop = asyncio.new_event_loop()
    loop.run_until_complete(trip())
    sys.unraisablehook = lambda told: "unclosed event loop" in str(told) or print(told, file=sys.stderr)

def trio_run():
    import trio
    async def trip():
        breaker.acquire().failure(OSError("down"))
        while not begun.is_set():
            await trio.sleep(0.001)
    global asyncio
    asyncio.sleep = trio.sleep
    trio.run(trip)

def no_loop():
    breaker.acquire().failure(OSError("down"))
    assert begun.wait(15)

{way}()
print(breaker.is_checking)
"""

#: The check, whether it hangs, where it runs, and whether it is still at work after that.
WAYS = [
    ("check", True, "no_loop", True),
    ("check", False, "asyncio_run", True),
    ("check_async", True, "no_loop", True),
    ("check_async", True, "asyncio_run", False),
    ("check_async", False, "closed_loop", True),
    ("check_async", True, "closed_loop", True),
    ("check_async", True, "open_loop", True),
    ("check_async", False, "trio_run", False),
]


@pytest.mark.parametrize(("check", "hangs", "way", "goes_on"), WAYS)
def test_it_never_holds_up_the_end_of_the_program_and_says_nothing(check, hangs, way, goes_on):
    program = PROGRAM.format(check=check, way=way, hangs=hangs)
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=30
    )
    assert (ended.returncode, ended.stderr, ended.stdout) == (0, "", f"{goes_on}\n")
