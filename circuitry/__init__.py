"""Circuit breakers for sync and async Python: one decorator for every callable.

from circuitry import circuit

@circuit("netflix", preset="pubnub", fallback=cached_catalogue)
def catalogue(region): ...
"""

from circuitry.config import CircuitBreakerConfig
from circuitry.decorator import circuit, circuit_of
from circuitry.errors import CircuitBreakerError, CircuitOpenError, ConfigurationError, TooManyCallsError
from circuitry.events import FailureEvent, FallbackEvent, RejectionEvent, TransitionEvent
from circuitry.faces import CircuitBreaker
from circuitry.family import CircuitFamily
from circuitry.last_good import last_good
from circuitry.metrics import CircuitBreakerMetrics
from circuitry.permit import Permit
from circuitry.registry import CircuitRegistry, registry
from circuitry.states import CircuitState

__version__ = "0.1.0"

__all__ = [
    "CircuitBreaker",
    "CircuitBreakerConfig",
    "CircuitBreakerError",
    "CircuitBreakerMetrics",
    "CircuitFamily",
    "CircuitOpenError",
    "CircuitRegistry",
    "CircuitState",
    "ConfigurationError",
    "FailureEvent",
    "FallbackEvent",
    "Permit",
    "RejectionEvent",
    "TooManyCallsError",
    "TransitionEvent",
    "circuit",
    "circuit_of",
    "last_good",
    "registry",
]
