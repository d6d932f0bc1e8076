"""A family: one circuit a key, so that one sick shard, tenant or platform is cut off alone."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Hashable, Iterator
from typing import Any

from circuitry.config import CircuitBreakerConfig
from circuitry.events import PanicEvent
from circuitry.faces import CircuitBreaker
from circuitry.forking import LockHolder, rearm_after_fork
from circuitry.metrics import CircuitBreakerMetrics
from circuitry.panic import Panic

MAX_KEYS = 1000


class CircuitFamily(LockHolder):
    """The circuits of one name, by key. Its members are named `family[key]`.

    The bound on members is hard. When it is reached, the least recently used closed member goes (in
    shadow it is the judgement that has to be closed); if none is, new keys share the member
    `family[*]` meanwhile: an outage is never forgotten to make room. Nor is one that is closed and sheds
    a share of its calls.

    Safe to use from any number of threads and tasks at once.
    """

    def __init__(
        self,
        name: str,
        config: CircuitBreakerConfig,
        make: Callable[..., CircuitBreaker],
        max_keys: int = MAX_KEYS,
        max_open_fraction: float | None = None,
        taken: Callable[[str], bool] = lambda _: False,
    ) -> None:
        super().__init__()
        self.name = name
        self.config = config
        self.max_keys = max_keys
        self.max_open_fraction = max_open_fraction
        self._panic = Panic(name, max_open_fraction)
        self._make = make
        self._taken = taken  # whether a name is that of a circuit outside
        self._tick = itertools.count().__next__  # numbers the uses, so that the latest is the highest
        self._members: dict[Hashable, CircuitBreaker] = {}  # read without the lock, written under it
        self._names = {f"{name}[*]"}
        self._uses: list[tuple[int, Hashable]] = []  # a heap: a use of each member, mostly not its latest
        self._shared: CircuitBreaker | None = None
        rearm_after_fork(self)

    def __getitem__(self, key: Hashable) -> CircuitBreaker:
        """The circuit of a key; it is made if it isn't there."""
        breaker = self._members.get(key)
        if breaker is None:
            return self._add(key)
        breaker.used = self._tick()
        return breaker

    def chooser(self, key: Callable[..., Hashable]) -> Callable[..., CircuitBreaker]:
        """What finds the member for a call, by the call's arguments."""
        find, tick, add = self._members.get, self._tick, self._add

        def choose(*args: Any, **kwargs: Any) -> CircuitBreaker:
            found = key(*args, **kwargs)
            breaker = find(found)
            if breaker is None:
                return add(found)
            breaker.used = tick()
            return breaker

        return choose

    def _add(self, key: Hashable) -> CircuitBreaker:
        """A circuit for a new key, if there is room or room can be made."""
        text = str(key)  # runs the key's own code: not under the lock
        text = text if text.isprintable() else ascii(text)
        evicted: object = None  # outlives the lock: what is dropped may have a finalizer
        with self._lock:
            breaker = self._members.get(key)
            if breaker is None and len(self._members) >= self.max_keys:
                evicted = self._evict()
                if evicted is None:
                    breaker = self._shared = self._shared or self._member(
                        f"{self.name}[*]"
                    )  # which has no key
            if breaker is None:
                breaker = self._members[key] = self._member(self._free(text), key)
                breaker.used = self._tick()
                self._names.add(breaker.name)
                heapq.heappush(self._uses, (breaker.used, key))
        self._panic._announce()  # one more member may have ended a panic
        return breaker

    def _member(self, name: str, *key: Hashable) -> CircuitBreaker:
        breaker = self._make(name, *key)
        breaker._panic = self._panic.member()
        return breaker

    def _evict(self) -> object:
        """Let the least recently used closed member go: what is to be dropped, or None.

        The heap knows of a use that may not be the latest: what comes up with an old one goes back
        with its latest, so the work is paid for by the uses themselves.
        """
        if len(self._uses) != len(self._members):  # Ctrl-C came between two steps
            self._uses = [(breaker.used, key) for key, breaker in self._members.items()]
            heapq.heapify(self._uses)
        kept: list[tuple[int, Hashable]] = []
        evicted: object = None
        while self._uses and evicted is None:
            use = heapq.heappop(self._uses)
            breaker = self._members[use[1]]
            if breaker.used != use[0]:
                heapq.heappush(self._uses, (breaker.used, use[1]))
            elif breaker.is_as_new:
                del self._members[use[1]]
                self._names.discard(breaker.name)
                if breaker._panic is not None:
                    breaker._panic.leave()
                evicted = (use, breaker)
            else:
                kept.append(use)
        for use in kept:
            heapq.heappush(self._uses, use)
        return evicted

    def _free(self, text: str) -> str:
        """`family[text]`, or with a number where another circuit reads the same: 1 and "1" do."""
        numbered = (f"{self.name}[{text}#{number}]" for number in itertools.count(2))
        names = itertools.chain([f"{self.name}[{text}]"], numbered)
        return next(name for name in names if name not in self._names and not self._taken(name))

    def get(self, key: Hashable) -> CircuitBreaker | None:
        """The circuit of a key, or None; doesn't count as use."""
        return self._members.get(key)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._members

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[CircuitBreaker]:
        """The circuits there are, the one for surplus keys last."""
        with self._lock:
            members = list(self._members.values())
        return iter(members if self._shared is None else [*members, self._shared])

    @property
    def is_panicking(self) -> bool:
        """Whether more than `max_open_fraction` of the members, and two at least, are open or half-open."""
        return self._panic.is_on

    def on_panic(self, listener: Callable[[PanicEvent], object]) -> Callable[[], None]:
        """Call `listener(event)` when the family begins to panic, and when it does no more.

        It runs in the thread that caused or found the change, outside every lock; one event at a time and
        in order. What it raises is logged. Without `max_open_fraction` there is never an event.

        Returns:
            A function that unsubscribes it; calling it again does nothing.

        Raises:
            TypeError: the listener isn't callable, or async.
        """
        return self._panic.listen(listener)

    def _keyed(self) -> list[tuple[CircuitBreaker, tuple[Hashable, ...]]]:
        """The same with their keys; the one for surplus keys has none."""
        keyed: list[tuple[CircuitBreaker, tuple[Hashable, ...]]]
        with self._lock:
            keyed = [(breaker, (key,)) for key, breaker in self._members.items()]
        return keyed if self._shared is None else [*keyed, (self._shared, ())]

    def metrics(self) -> dict[str, CircuitBreakerMetrics]:
        """A snapshot of each member, by its name."""
        return {breaker.name: breaker.metrics() for breaker in self}

    def reset_all(self) -> None:
        """Close each member."""
        for breaker in self:
            breaker.reset()

    def _configure(self, config: CircuitBreakerConfig) -> None:
        self.config = config

    def __repr__(self) -> str:
        return f"<CircuitFamily {self.name!r}: {len(self)} circuits>"
