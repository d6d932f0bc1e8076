"""Who is measured: the shape every contender has, the yardsticks, and ourselves.

A contender says how it is used in each cell, the way its own documentation would. What
it can't do it leaves out: the base class answers None, and the table says n/a.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from importlib import metadata
from typing import Any, ClassVar, NamedTuple

Fn = Callable[..., Any]

NEVER = 10**9
AN_HOUR = 3600.0


class Role(Enum):
    """What a contender is there for."""

    OURS = "ours"
    YARDSTICK = "yardstick"
    PEER = "peer"


class Timed(NamedTuple):
    """What a loop repeats: a statement about `op`."""

    op: Any
    statement: str


def fetch(platform: str) -> str:
    return platform


async def fetch_async(platform: str) -> str:
    return platform


def fetch_cached(platform: str) -> str:
    return platform


def fetch_down(platform: str) -> str:
    raise ValueError("down")


class Contender:
    """One way to guard calls. Every method is a feature that may be missing."""

    name: ClassVar[str]
    role: ClassVar[Role] = Role.PEER
    package: ClassVar[str]
    """The distribution on PyPI."""
    module: ClassVar[str]

    def __init__(self) -> None:
        self.lib: Any = importlib.import_module(self.module)

    @classmethod
    def version(cls) -> str:
        return metadata.version(cls.package)

    def guard(self, fn: Fn) -> Fn | None:
        """`fn` under a circuit of its own with default settings."""
        return None

    def guard_async(self, fn: Fn) -> Fn | None:
        return self.guard(fn)

    def with_fallback(self, fn: Fn, fallback: Fn) -> Fn | None:
        return None

    def never_trips(self, fn: Fn) -> Fn | None:
        """A circuit that counts failures and stays closed."""
        return None

    def trips_at_once(self, fn: Fn) -> Fn | None:
        """A circuit that opens at the first failure, for an hour."""
        return None

    def rejecting(self) -> Fn | None:
        """A guarded function whose circuit is open."""
        guarded = self.trips_at_once(fetch_down)
        if guarded is not None:
            with suppress(Exception):
                guarded("netflix")
        return guarded

    def block(self) -> Timed | None:
        return None

    def async_block(self) -> Timed | None:
        return None

    def named_block(self) -> Timed | None:
        """A block under the circuit of that name, looked up each time."""
        return None

    def keyed(self, fn: Fn) -> Fn | None:
        """One circuit a key, the key being the first argument."""
        return None

    def keyed_with_panic(self, fn: Fn) -> Fn | None:
        """The same; where too many of them are open, calls are let through."""
        return None

    def with_window(self, fn: Fn) -> Fn | None:
        """A rate of failures in the last 100 calls."""
        return None

    def with_failing_window(self, fn: Fn) -> Fn | None:
        """The same; there is always a failure in it."""
        return None

    def with_time_window(self, fn: Fn) -> Fn | None:
        """A rate of failures in the last minute."""
        return None

    def with_slow_calls(self, fn: Fn) -> Fn | None:
        """A rate of slow calls in the last 100, those in flight among them."""
        return None

    def with_shedding(self, fn: Fn) -> Fn | None:
        """A circuit that sheds a share of its calls when too many fail; none does."""
        return None

    def with_ramp(self, fn: Fn) -> Fn | None:
        """A circuit that will come back slowly."""
        return None

    def with_latency(self, fn: Fn) -> Fn | None:
        """A histogram of how long calls take."""
        return None

    def with_backoff(self, fn: Fn) -> Fn | None:
        """A circuit that waits longer each time."""
        return None

    def with_check(self, fn: Fn) -> Fn | None:
        """A circuit that has something to ask while it isn't closed."""
        return None

    def with_deadline(self, fn: Fn) -> Fn | None:
        """Calls that are cancelled after a while."""
        return None


class Bare(Contender):
    """What the call costs by itself. It guards nothing, so every cell is the same."""

    name = "bare call"
    role = Role.YARDSTICK
    package = module = ""

    def __init__(self) -> None:
        """Nothing to import."""

    @classmethod
    def version(cls) -> str:
        return ""

    def guard(self, fn: Fn) -> Fn:
        return fn

    def with_fallback(self, fn: Fn, fallback: Fn) -> Fn:
        return self.guard(fn)

    def never_trips(self, fn: Fn) -> Fn:
        return self.guard(fn)

    def rejecting(self) -> Fn:
        return self.guard(fetch_down)

    def named_block(self) -> Timed:
        return Timed(self.guard(fetch), 'op("netflix")')

    def with_window(self, fn: Fn) -> Fn:
        return self.guard(fn)

    def with_failing_window(self, fn: Fn) -> Fn:
        return self.guard(fn)

    def with_time_window(self, fn: Fn) -> Fn:
        return self.guard(fn)

    def with_slow_calls(self, fn: Fn) -> Fn:
        return self.guard(fn)

    def with_shedding(self, fn: Fn) -> Fn:
        return self.guard(fn)

    def with_ramp(self, fn: Fn) -> Fn:
        return self.guard(fn)

    def with_latency(self, fn: Fn) -> Fn:
        return self.guard(fn)

    def with_backoff(self, fn: Fn) -> Fn:
        return self.guard(fn)

    def with_check(self, fn: Fn) -> Fn:
        return self.guard(fn)

    def with_deadline(self, fn: Fn) -> Fn:
        return self.guard(fn)

    def keyed(self, fn: Fn) -> Fn:
        return self.guard(fn)

    def keyed_with_panic(self, fn: Fn) -> Fn:
        return self.guard(fn)


class Wraps(Bare):
    """A decorator that only passes on, written by hand."""

    name = "functools.wraps"

    def guard(self, fn: Fn) -> Fn:
        if inspect.iscoroutinefunction(fn):

            @functools.wraps(fn)
            async def async_wrapper(*args: Any, **kwargs: Any) -> Any:
                return await fn(*args, **kwargs)

            return async_wrapper

        @functools.wraps(fn)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return fn(*args, **kwargs)

        return wrapper


class Wrapt(Bare):
    """The yardstick of every call: stock wrapt, passing through."""

    name = "wrapt"
    package = module = "wrapt"

    def __init__(self) -> None:
        self.lib = importlib.import_module(self.module)

    @classmethod
    def version(cls) -> str:
        return metadata.version(cls.package)

    def guard(self, fn: Fn) -> Fn:
        wrapper: Fn = self.lib.FunctionWrapper(fn, lambda w, i, a, k: w(*a, **k))
        return wrapper


class Empty:
    """The yardstick of every block: a class that enters and leaves, in both colours."""

    def __enter__(self) -> Empty:
        return self

    def __exit__(self, exc_type: object, exc: object, traceback: object) -> None:
        return None

    async def __aenter__(self) -> Empty:
        return self

    async def __aexit__(self, exc_type: object, exc: object, traceback: object) -> None:
        return None


class EmptyBlock(Contender):
    """It has only blocks, so every other cell is n/a."""

    name = "empty block"
    role = Role.YARDSTICK
    package = module = ""

    def __init__(self) -> None:
        """Nothing to import."""

    @classmethod
    def version(cls) -> str:
        return ""

    def block(self) -> Timed:
        return Timed(Empty(), "with op: pass")

    def async_block(self) -> Timed:
        return Timed(Empty(), "async with op: pass")


class Circuitry(Contender):
    name = "circuitry"
    role = Role.OURS
    package = "circuitry-breaker"
    module = "circuitry"

    def __init__(self) -> None:
        super().__init__()
        if not hasattr(self.lib, "circuit"):
            raise ImportError("the package `circuitry` found here is not this one")

    @classmethod
    def version(cls) -> str:
        try:
            return metadata.version(cls.package)
        except metadata.PackageNotFoundError:
            return "checkout"

    def guard(self, fn: Fn) -> Fn:
        guarded: Fn = self.lib.circuit(fn)
        return guarded

    def with_fallback(self, fn: Fn, fallback: Fn) -> Fn:
        guarded: Fn = self.lib.circuit(fallback=fallback)(fn)
        return guarded

    def never_trips(self, fn: Fn) -> Fn:
        guarded: Fn = self.lib.circuit(failure_threshold=NEVER)(fn)
        return guarded

    def trips_at_once(self, fn: Fn) -> Fn:
        settings = {"failure_threshold": 1, "timeout_duration": AN_HOUR}
        guarded: Fn = self.lib.circuit(**settings)(fn)
        return guarded

    def block(self) -> Timed:
        return Timed(self.lib.CircuitBreaker("block"), "with op: pass")

    def async_block(self) -> Timed:
        return Timed(self.lib.CircuitBreaker("block"), "async with op: pass")

    def named_block(self) -> Timed:
        return Timed(self.lib.circuit, 'with op("netflix"): pass')

    def keyed(self, fn: Fn) -> Fn:
        guarded: Fn = self.lib.circuit("platform", key=lambda platform: platform)(fn)
        return guarded

    def keyed_with_panic(self, fn: Fn) -> Fn:
        settings = {"key": lambda platform: platform, "max_open_fraction": 0.5}
        guarded: Fn = self.lib.circuit("panicking platform", **settings)(fn)
        return guarded

    def with_window(self, fn: Fn) -> Fn:
        guarded: Fn = self.lib.circuit(failure_rate_threshold=0.5, window=100, minimum_calls=20)(fn)
        return guarded

    def with_failing_window(self, fn: Fn) -> Fn:
        """A failure stays among so many calls that none of those that are timed drives it out."""
        settings = {"failure_rate_threshold": 0.5, "window": 2_000_000, "minimum_calls": 20}
        breaker = self.lib.CircuitBreaker("failing", **settings)
        breaker.acquire().failure()
        guarded: Fn = breaker(fn)
        return guarded

    def with_time_window(self, fn: Fn) -> Fn:
        policies = importlib.import_module("circuitry.policies")
        guarded: Fn = self.lib.circuit(failure_rate_threshold=0.5, window=policies.within(60))(fn)
        return guarded

    def with_slow_calls(self, fn: Fn) -> Fn:
        settings = {"slow_call_rate_threshold": 0.5, "slow_call_duration": 2.0, "window": 100}
        guarded: Fn = self.lib.circuit(**settings)(fn)
        return guarded

    def with_shedding(self, fn: Fn) -> Fn:
        policies = importlib.import_module("circuitry.policies")
        guarded: Fn = self.lib.circuit(trip=policies.Adaptive())(fn)
        return guarded

    def with_ramp(self, fn: Fn) -> Fn:
        guarded: Fn = self.lib.circuit(ramp_up=30.0)(fn)
        return guarded

    def with_latency(self, fn: Fn) -> Fn:
        guarded: Fn = self.lib.circuit(latency=True)(fn)
        return guarded

    def with_backoff(self, fn: Fn) -> Fn:
        policies = importlib.import_module("circuitry.policies")
        settings = {"backoff": policies.Exponential(), "retry_after": policies.retry_after_header}
        guarded: Fn = self.lib.circuit(**settings)(fn)
        return guarded

    def with_check(self, fn: Fn) -> Fn:
        guarded: Fn = self.lib.circuit(health_check=lambda: None)(fn)
        return guarded

    def with_deadline(self, fn: Fn) -> Fn:
        guarded: Fn = self.lib.circuit(call_timeout=60.0)(fn)
        return guarded
