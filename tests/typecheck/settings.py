"""Checked by mypy and pyright, never run: the keywords of `circuit` and `CircuitBreaker`, right and wrong."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import assert_type

from circuitry import CircuitBreaker, CircuitBreakerConfig, circuit, registry
from circuitry.decorator import Decoration


def spare(title: str) -> int:
    return 0


def predicate(error: BaseException) -> bool:
    return isinstance(error, OSError)


def shard(title: str) -> str:
    return title[0]


# -- Right -----------------------------------------------------------------------------------------------

assert_type(circuit("x"), Decoration)
circuit("x", preset="pubnub", failure_threshold=10)
circuit("x", config=CircuitBreakerConfig.pubnub())
circuit("x", success_threshold=1, half_open_max_calls=1, initial_state="shadow")
circuit("x", timeout_duration=5, probe_timeout=timedelta(minutes=1))
circuit("x", timeout_duration=0.5, probe_timeout=None)
circuit("x", ramp_up=30.0)
circuit("x", ramp_up=timedelta(seconds=30))
circuit("x", exclude=OSError, include=(ValueError, KeyError), exclude_as="success")
circuit("x", exclude=[OSError], include=predicate)
circuit("x", failure_if=lambda status: status >= 500, describe_failure=str)
circuit("x", fallback=spare, fallback_on=(OSError, ValueError))
circuit("x", fallback_value=None)
circuit("x", key=shard, max_keys=10)
circuit("x", clock=time.monotonic, store=None)
circuit(failure_threshold=3)

assert_type(CircuitBreaker("x"), CircuitBreaker)
CircuitBreaker("x", CircuitBreakerConfig(timeout_duration=timedelta(seconds=5)), clock=time.monotonic)
CircuitBreaker("x", preset="pubnub", fallback=spare, store=None)
CircuitBreaker("x", failure_threshold=3, exclude=OSError)

assert_type(CircuitBreakerConfig(failure_threshold=3).replace(success_threshold=2), CircuitBreakerConfig)
assert_type(registry.get_or_create("x", CircuitBreakerConfig.platform_api()), CircuitBreaker)
assert_type(registry.get_or_create("x", failure_threshold=3), CircuitBreaker)


# -- Wrong -----------------------------------------------------------------------------------------------

circuit("x", failure_treshold=3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
circuit("x", failure_threshold="3")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
circuit("x", timeout_duration="30")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
circuit("x", exclude=5)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
circuit("x", fallback="spare")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
circuit("x", key="platform")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
circuit("x", CircuitBreakerConfig())  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
circuit(spare, failure_threshold=3)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
circuit(5)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]

CircuitBreaker()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
CircuitBreaker(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
CircuitBreaker("x", "pubnub")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
CircuitBreaker("x", failure_treshold=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
CircuitBreaker("x", failure_threshold="3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
CircuitBreaker("x", key=str)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

CircuitBreakerConfig(failure_treshold=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
CircuitBreakerConfig(failure_threshold="3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
CircuitBreakerConfig(5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
CircuitBreakerConfig().failure_threshold = 3  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
