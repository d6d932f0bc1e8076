"""One verdict for a whole fleet, on Redis. Needs the extra `redis`.

from circuitry import CircuitBreaker
from circuitry.redis import RedisStore

store = RedisStore.from_url("redis://localhost:6379")
breaker = CircuitBreaker("netflix", store=store)
"""

from circuitry.redis.health import Report, StoreHealth
from circuitry.redis.store import RedisStore, StoreUnavailableError
from circuitry.redis.views import Transition, View

__all__ = ["RedisStore", "Report", "StoreHealth", "StoreUnavailableError", "Transition", "View"]
