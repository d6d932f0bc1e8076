"""A family: one circuit a key, so that one sick shard, tenant or platform is cut off alone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from threading import Lock
from typing import Any

from circuitry.breaker import Breaker
from circuitry.config import CircuitBreakerConfig
from circuitry.faces import CircuitBreaker
from circuitry.machine import CircuitState
from circuitry.metrics import CircuitBreakerMetrics

MAX_KEYS = 1000


class CircuitFamily:
    """The circuits of one name, by key. Its members are named `family[key]`.

    The bound on members is hard. When it is reached, the least recently used closed member goes;
    if none is closed, new keys share the member `family[*]` until one is: an outage is never
    forgotten to make room.

    Safe to use from any number of threads and tasks at once.
    """

    def __init__(
        self,
        name: str,
        config: CircuitBreakerConfig,
        make: Callable[[str], CircuitBreaker],
        max_keys: int = MAX_KEYS,
    ) -> None:
        self.name = name
        self.config = config
        self.max_keys = max_keys
        self._make = make
        self._members: OrderedDict[Hashable, CircuitBreaker] = OrderedDict()
        self._shared: CircuitBreaker | None = None
        self._lock = Lock()

    def __getitem__(self, key: Hashable) -> CircuitBreaker:
        """The circuit of a key; it is made if it isn't there."""
        members = self._members
        try:
            members.move_to_end(key)
            return members[key]
        except KeyError:
            return self._add(key)

    def get(self, key: Hashable) -> CircuitBreaker | None:
        """The circuit of a key, or None; doesn't count as use."""
        return self._members.get(key)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._members

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[CircuitBreaker]:
        """The circuits there are, the one for surplus keys last."""
        members = list(self._members.values())
        return iter(members if self._shared is None else [*members, self._shared])

    def _add(self, key: Hashable) -> CircuitBreaker:
        """A circuit for a new key, if there is room or room can be made."""
        with self._lock:
            if key in self._members:
                return self._members[key]
            if len(self._members) >= self.max_keys and not self._evict():
                if self._shared is None:
                    self._shared = self._make(f"{self.name}[*]")
                return self._shared
            breaker = self._members[key] = self._make(f"{self.name}[{_text(key)}]")
            return breaker

    def _evict(self) -> bool:
        """Let the least recently used closed member go."""
        for key, breaker in self._members.items():
            if breaker.state is CircuitState.CLOSED:
                del self._members[key]
                return True
        return False

    def chooser(self, key: Callable[..., Hashable]) -> Callable[..., Breaker]:
        """What finds the member for a call by its arguments."""
        members, add = self._members, self._add
        use = members.move_to_end

        def choose(*args: Any, **kwargs: Any) -> Breaker:
            found = key(*args, **kwargs)
            try:
                use(found)
                return members[found]
            except KeyError:
                return add(found)

        return choose

    def metrics(self) -> dict[str, CircuitBreakerMetrics]:
        """A snapshot of each member, by its name."""
        return {breaker.name: breaker.metrics() for breaker in self}

    def reset_all(self) -> None:
        """Close each member."""
        for breaker in self:
            breaker.reset()

    def __repr__(self) -> str:
        return f"<CircuitFamily {self.name!r}: {len(self)} circuits>"


def _text(key: Hashable) -> str:
    """A key as part of a name: names have no control characters."""
    text = str(key)
    return text if text.isprintable() else ascii(text)
