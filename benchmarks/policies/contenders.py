"""The policies, by name. Each is the default, but for what its settings say."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from circuitry import CircuitBreaker, CircuitBreakerConfig, CircuitFamily
from circuitry.policies import Adaptive, Exponential, within

from .world import ALL, SHARDS


@dataclass(frozen=True)
class Policy:
    """How a process guards its calls."""

    name: str
    settings: Mapping[str, Any] | None
    """Of `CircuitBreakerConfig`; None for no breaker at all."""
    is_keyed: bool = False
    """One circuit a shard, rather than one for all."""
    is_adaptive: bool = False
    """It rejects a share of the calls while the circuit stays closed."""

    @property
    def code(self) -> str:
        """The settings, as they are written."""
        keyed = ["key=shard"] if self.is_keyed else []
        return ", ".join([*keyed, *(f"{name}={value!r}" for name, value in (self.settings or {}).items())])

    def guarded(self, shard: int) -> frozenset[int]:
        """The shards that are guarded by the circuit of this one."""
        return frozenset([shard]) if self.is_keyed else ALL

    def circuits(self, name: str, clock: Callable[[], float]) -> list[CircuitBreaker] | None:
        """The circuits of one process: which one guards each shard. None if nothing does."""
        if self.settings is None:
            return None
        config = CircuitBreakerConfig(**self.settings)

        def make(name: str, *_: Hashable) -> CircuitBreaker:
            return CircuitBreaker(name, config, clock=clock)

        if not self.is_keyed:
            return [make(name)] * SHARDS
        family = CircuitFamily(name, config, make)
        return [family[shard] for shard in range(SHARDS)]


#: What it is about: a policy that can't tell itself from this one is worth nothing.
NOTHING = Policy("nothing", None)

#: What sees a hang before callers give up, beside what the default sees.
SLOW = {"failure_threshold": 5, "slow_call_rate_threshold": 0.3, "slow_call_duration": 0.5}

POLICIES = (
    NOTHING,
    Policy("classic 20 %", {"failure_rate_threshold": 0.2, "timeout_duration": 10.0}),
    Policy("default", {}),
    Policy("rate 50 %", {"failure_rate_threshold": 0.5}),
    Policy("backoff", {"timeout_duration": 2.0, "backoff": Exponential(factor=2.0, maximum=60.0)}),
    Policy("ramp-up", {"ramp_up": 30.0}),
    Policy("slow calls", {**SLOW, "window": 20, "minimum_calls": 10}),
    Policy("keyed", {}, is_keyed=True),
    Policy("keyed, 10 s", {"timeout_duration": 10.0}, is_keyed=True),
    Policy(
        "keyed, slow calls, 10 s",
        {"timeout_duration": 10.0, **SLOW, "window": 10, "minimum_calls": 3},
        is_keyed=True,
    ),
    Policy("adaptive", {"trip": Adaptive(k=2.0, window=within(30.0))}, is_adaptive=True),
    Policy("adaptive, k=1.1", {"trip": Adaptive(k=1.1, window=within(30.0))}, is_adaptive=True),
    Policy("adaptive, 10 s", {"trip": Adaptive(k=2.0, window=within(10.0))}, is_adaptive=True),
)
