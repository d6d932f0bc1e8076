"""The circuit breakers of PyPI, each used as its own documentation says.

Where a peer needs two of its parts for one of our features (a fallback is often a
policy of its own), the two together are measured: that is what its users pay.
"""

from __future__ import annotations

from typing import Any

from .contenders import AN_HOUR, NEVER, Contender, Fn, Timed


class Resilix(Contender):
    """A decorator; no block, no registry, no families."""

    name = package = module = "resilix"

    def guard(self, fn: Fn) -> Fn:
        guarded: Fn = self.lib.protect.circuit()(fn)
        return guarded

    def with_fallback(self, fn: Fn, fallback: Fn) -> Fn:
        rejected = self.lib.CircuitOpenError
        guarded: Fn = self.lib.protect.when(rejected, fallback=fallback)(self.guard(fn))
        return guarded

    def never_trips(self, fn: Fn) -> Fn:
        guarded: Fn = self.lib.protect.circuit(failures=NEVER)(fn)
        return guarded

    def trips_at_once(self, fn: Fn) -> Fn:
        guarded: Fn = self.lib.protect.circuit(failures=1, reset_timeout=AN_HOUR)(fn)
        return guarded


class Circuitbreaker(Contender):
    """A decorator. Its `with` counts but never rejects, so it is no block."""

    name = package = module = "circuitbreaker"

    def guard(self, fn: Fn) -> Fn:
        guarded: Fn = self.lib.circuit(fn)
        return guarded

    def with_fallback(self, fn: Fn, fallback: Fn) -> Fn:
        guarded: Fn = self.lib.circuit(fallback_function=fallback)(fn)
        return guarded

    def never_trips(self, fn: Fn) -> Fn:
        guarded: Fn = self.lib.circuit(failure_threshold=NEVER)(fn)
        return guarded

    def trips_at_once(self, fn: Fn) -> Fn:
        settings = {"failure_threshold": 1, "recovery_timeout": AN_HOUR}
        guarded: Fn = self.lib.circuit(**settings)(fn)
        return guarded


class Pybreaker(Contender):
    """A decorator and a block, both sync (async needs tornado); no fallback."""

    name = package = module = "pybreaker"

    def guard(self, fn: Fn) -> Fn:
        guarded: Fn = self.lib.CircuitBreaker()(fn)
        return guarded

    def guard_async(self, fn: Fn) -> Fn | None:
        return None

    def never_trips(self, fn: Fn) -> Fn:
        guarded: Fn = self.lib.CircuitBreaker(fail_max=NEVER)(fn)
        return guarded

    def trips_at_once(self, fn: Fn) -> Fn:
        breaker = self.lib.CircuitBreaker(fail_max=1, reset_timeout=AN_HOUR)
        guarded: Fn = breaker(fn)
        return guarded

    def block(self) -> Timed:
        return Timed(self.lib.CircuitBreaker(), "with op.calling(): pass")


class Nopanic(Contender):
    """Decorator, block and families, over a time window; a fallback is a policy."""

    name = package = module = "nopanic"

    def guard(self, fn: Fn) -> Fn:
        guarded: Fn = self.lib.circuit_breaker()(fn)
        return guarded

    def with_fallback(self, fn: Fn, fallback: Fn) -> Fn:
        # Its fallback is handed the exception, not the arguments of the call.
        substitute = self.lib.fallback(lambda exc: None, on=self.lib.CircuitOpen)
        guarded: Fn = self.lib.compose(substitute, self.lib.circuit_breaker())(fn)
        return guarded

    def never_trips(self, fn: Fn) -> Fn:
        guarded: Fn = self.lib.circuit_breaker(min_calls=NEVER)(fn)
        return guarded

    def trips_at_once(self, fn: Fn) -> Fn:
        breaker = self.lib.circuit_breaker(min_calls=1, reset_timeout=AN_HOUR)
        guarded: Fn = breaker(fn)
        return guarded

    def block(self) -> Timed:
        return Timed(self.lib.circuit_breaker(), "with op.guard(): pass")

    def async_block(self) -> Timed:
        return Timed(self.lib.circuit_breaker(), "async with op.guard(): pass")

    def keyed(self, fn: Fn) -> Fn:
        def create(key: str) -> Any:
            return self.lib.circuit_breaker(name=key)

        family = self.lib.keyed(create, key=lambda platform: platform)
        guarded: Fn = family(fn)
        return guarded


class Interlock(Contender):
    """Decorator, blocks and a registry, over a count window."""

    name = "interlock"
    package = "interlock-cb"
    module = "interlock"

    def _breaker(self, **settings: Any) -> Any:
        config = self.lib.Config(**settings)
        return self.lib.CircuitBreaker(name="bench", config=config)

    def guard(self, fn: Fn) -> Fn:
        guarded: Fn = self._breaker()(fn)
        return guarded

    def with_fallback(self, fn: Fn, fallback: Fn) -> Fn:
        substitute = self.lib.FallbackStrategy(lambda exc: None, on=(self.lib.CircuitOpenError,))
        inner = self.lib.CircuitBreakerStrategy(self._breaker())
        guarded: Fn = self.lib.Pipeline(substitute, inner)(fn)
        return guarded

    def never_trips(self, fn: Fn) -> Fn:
        guarded: Fn = self._breaker(minimum_number_of_calls=NEVER)(fn)
        return guarded

    def trips_at_once(self, fn: Fn) -> Fn:
        settings = {"minimum_number_of_calls": 1, "wait_duration_in_open": AN_HOUR}
        guarded: Fn = self._breaker(**settings)(fn)
        return guarded

    def block(self) -> Timed:
        return Timed(self._breaker(), "with op: pass")

    def async_block(self) -> Timed:
        return Timed(self._breaker(), "async with op: pass")

    def named_block(self) -> Timed:
        return Timed(self.lib.Registry().get, 'with op("netflix"): pass')


PEERS = (Resilix, Circuitbreaker, Pybreaker, Nopanic, Interlock)
