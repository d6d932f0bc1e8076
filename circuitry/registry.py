"""Named breakers: the same circuit wherever its name is used."""

from __future__ import annotations

import functools
import itertools
import os
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, NamedTuple, TypeAlias

from circuitry import operator
from circuitry.checks import check_asked, check_fields, check_name, refuse, shown
from circuitry.config import DEFAULT, FIELDS, PRESETS, CircuitBreakerConfig, check_changeable
from circuitry.errors import ConfigurationError
from circuitry.faces import CircuitBreaker
from circuitry.family import MAX_KEYS, CircuitFamily
from circuitry.forking import LockHolder, rearm_after_fork
from circuitry.metrics import CircuitBreakerMetrics
from circuitry.settings import FAMILY, Given, Store, check_family, check_store, given_of


class Entry:
    """What the registry knows of a name: its circuit, and what the code has said of it, if anything."""

    def __init__(
        self,
        circuit: CircuitBreaker | CircuitFamily,
        given: Given,
        changed: CircuitBreakerConfig | None = None,
    ) -> None:
        self.circuit = circuit
        self.given = given
        self.changed = changed  # what `reconfigure` has made of it

    @property
    def now(self) -> Given:
        """What is said now: nobody who repeats what was given contradicts a change."""
        return self.given if self.changed is None else {**self.given, "config": self.changed}


class Contents(NamedTuple):
    """All that a registry holds."""

    entries: dict[str, Entry]
    file: operator.SettingsFile | None
    store: Store | None


#: Tells a circuit of its settings.
Change: TypeAlias = Callable[[], object]


class CircuitRegistry(LockHolder):
    """The breakers and families of a process, by name.

    Safe to use from any number of threads and tasks at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self._entries: dict[str, Entry] = {}
        self._file: operator.SettingsFile | None = None
        self._store: Store | None = None
        rearm_after_fork(self)

    # -- Finding -------------------------------------------------------------------------------------

    def get(self, name: str) -> CircuitBreaker | None:
        """The breaker of this name (a member of a family has one too), or None."""
        entry = self._entries.get(name)
        if entry is None:
            return self._member(name)
        return entry.circuit if isinstance(entry.circuit, CircuitBreaker) else None

    def __getitem__(self, name: str) -> CircuitBreaker:
        breaker = self.get(name)
        if breaker is None:
            raise KeyError(name)
        return breaker

    def family(self, name: str) -> CircuitFamily | None:
        """The family of this name, or None."""
        entry = self._entries.get(name)
        return entry.circuit if entry is not None and isinstance(entry.circuit, CircuitFamily) else None

    def families(self) -> Iterator[CircuitFamily]:
        """The families there are now."""
        circuits = (entry.circuit for entry in list(self._entries.values()))
        return (circuit for circuit in circuits if isinstance(circuit, CircuitFamily))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None

    def __iter__(self) -> Iterator[CircuitBreaker]:
        """The breakers there are now, the members of families among them."""
        single = (entry.circuit for entry in list(self._entries.values()))
        return itertools.chain((one for one in single if isinstance(one, CircuitBreaker)), self._members())

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _member(self, name: str) -> CircuitBreaker | None:
        """The member of a family that has this name."""
        if not str(name).endswith("]"):  # who has no name in hand, but None, finds nothing
            return None
        return next((breaker for breaker in self._members() if breaker.name == name), None)

    def _family_of(self, name: str) -> CircuitFamily | None:
        """The family that this name is one in, unless it was somebody's own before."""
        if name in self._entries or not name.endswith("]"):
            return None
        found = (one for one in self.families() if name.startswith(f"{one.name}["))
        return max(found, key=lambda one: len(one.name), default=None)

    def _members(self) -> Iterator[CircuitBreaker]:
        return itertools.chain.from_iterable(self.families())

    # -- Making --------------------------------------------------------------------------------------

    def get_or_create(
        self, name: str, config: CircuitBreakerConfig | None = None, **settings: Any
    ) -> CircuitBreaker:
        """The breaker of this name; it is made if it isn't there.

        Args:
            name: the circuit's name.
            config: its settings.
            **settings: instead of `config`, `preset=` or fields of `CircuitBreakerConfig`; also
                `clock` and `store`. Without any the name's breaker is taken as it is.

        Raises:
            ConfigurationError: a setting isn't allowed, other ones were given for this name, or it
                is a family's.
        """
        check_fields(settings, ("preset", *FIELDS, "clock", "store"))
        return self._breaker(name, given_of({**settings, "config": config}))

    def get_or_create_family(
        self, name: str, config: CircuitBreakerConfig | None = None, **settings: Any
    ) -> CircuitFamily:
        """The family of this name; it is made if it isn't there.

        Args:
            name: the family's name.
            config: the settings of its members.
            **settings: as for `get_or_create`; also `max_keys`, the bound on members (1000), and
                `max_open_fraction`, the share of them that may be open before the family panics.

        Raises:
            ConfigurationError: a setting isn't allowed, other ones were given for this name, or it
                is a single circuit's.
        """
        check_fields(settings, ("preset", *FIELDS, "clock", "store", *FAMILY))
        check_family(settings)
        return self._family(name, given_of({**settings, "config": config}))

    def _breaker(self, name: str, given: Given) -> CircuitBreaker:
        family = self._family_of(check_name(name))
        if family is not None:
            if given:
                raise ConfigurationError(
                    f"circuit {name!r} is a member of the family {family.name!r}, which has "
                    f"config={shown(family.config)}; now: {_shown(given)}"
                )
            return self._member(name) or family[name[len(family.name) + 1 : -1]]
        circuit = self._entry(name, given, self._make_breaker).circuit
        if not isinstance(circuit, CircuitBreaker):
            raise ConfigurationError(f"circuit {name!r} is a family: its circuits are chosen by key=")
        return circuit

    def _family(self, name: str, given: Given) -> CircuitFamily:
        circuit = self._entry(check_name(name), given, self._make_family).circuit
        if not isinstance(circuit, CircuitFamily):
            raise ConfigurationError(f"circuit {name!r} is a single circuit: key= needs a name of its own")
        return circuit

    def _put(self, name: str, given: Given, *, family: bool) -> CircuitBreaker | CircuitFamily:
        """A circuit under an automatic name: it takes the place of an earlier one."""
        circuit = self._make_family(name, given) if family else self._make_breaker(name, given)
        with self._lock:
            self._entries[name] = Entry(circuit, given)
        return circuit

    def _entry(self, name: str, given: Given, make: Callable[..., Any]) -> Entry:
        """The entry of this name. What is made for it is made without the lock, and may come too late."""
        file = self._operators_file()
        entry = self._entries.get(name)
        made = Entry(make(name, given), given) if entry is None else entry
        changes: list[Change] = []
        with self._lock:
            entry = self._entries.setdefault(name, made)
            if entry is not made or made.given is not given:
                changes = self._settle(name, entry, given) if given else []
            elif self._file is not file:
                changes = list(self._changes(entry, self._operators_file()))
        _carry_out(changes)
        return entry

    def _settle(self, name: str, entry: Entry, given: Given) -> list[Change]:
        """Settings may be given once, by whoever comes first with any: what they change."""
        if entry.given == given:
            return []
        if entry.given:
            raise ConfigurationError(
                f"circuit {name!r} was given other settings before: {_shown(entry.given)}; "
                f"now: {_shown(given)}"
            )
        late = given.keys() - {"config"}
        if "config" in given and given["config"].failure_if is not None:
            late |= {"failure_if"}  # what was decorated before doesn't look at its results
        if late:
            raise ConfigurationError(
                f"circuit {name!r} exists already: only who names it first can give {min(late)}="
            )
        settled = Entry(entry.circuit, given, entry.changed)
        changes = list(self._changes(settled, self._operators_file()))
        entry.given = given
        return changes

    def _make_breaker(self, name: str, given: Given) -> CircuitBreaker:
        return self._made(name, given, self._resolved(given, name))

    def _made(self, name: str, given: Given, config: CircuitBreakerConfig) -> CircuitBreaker:
        breaker = CircuitBreaker(name, config, clock=given.get("clock", time.monotonic))
        breaker._join(self._store_of(given))  # begins when it is first used: nothing starts at decoration
        return breaker

    def _make_family(self, name: str, given: Given) -> CircuitFamily:
        config = self._resolved(given, name)
        check_asked(config.health_check, name)
        family: CircuitFamily

        def make(member: str, *key: Hashable) -> CircuitBreaker:
            entry = self._entries.get(name)
            now = entry.now if entry is not None and entry.circuit is family else given
            config = operator.or_else(family.config, member, lambda: self._resolved(now, name, member))
            return self._made(member, now, config.of_member(*key))

        bounds = (given.get("max_keys", MAX_KEYS), given.get("max_open_fraction"))
        family = CircuitFamily(name, config, make, *bounds, taken=self._entries.__contains__)
        return family

    # -- Operators' settings ---------------------------------------------------------------------------

    def load(self, path: str | os.PathLike[str]) -> None:
        """Read operators' settings from a TOML file; it takes the place of one read before.

        Reaches the circuits there are: they keep their state and counts.

        Raises:
            ConfigurationError: the file is wrong, and nothing has changed; the message names the
                file, the table and the key.
            ImportError: it names a Redis server, and redis-py isn't installed.
        """
        file = operator.read_file(path)
        self._store_of({}, file)  # is its URL one?
        with self._lock:
            changes = [change for entry in self._entries.values() for change in self._changes(entry, file)]
            self._file = file
        _carry_out(changes)

    def reconfigure(self, name: str, **settings: Any) -> None:
        """Change settings of a circuit, or of all members of a family, while it is at work.

        It stands for the code's word from now on: operators' settings go before it. State, counts and
        permits in flight are kept: see `CircuitBreaker.reconfigure`.

        Args:
            name: the circuit's, or the family's. For one member of a family use the member's own method.
            **settings: fields of `CircuitBreakerConfig`, but for `failure_if`.

        Raises:
            KeyError: there is no circuit of this name.
            ConfigurationError: a setting isn't allowed, and nothing has changed.
        """
        check_changeable(settings)
        with self._lock:
            entry = self._entries[name]
            config: CircuitBreakerConfig = entry.now.get("config", DEFAULT)
            changed = Entry(entry.circuit, entry.given, config.replace(**settings))
            changes = list(self._changes(changed, self._operators_file()))
            entry.changed = changed.changed
        _carry_out(changes)

    def configure(self, *, store: Store | None = None) -> None:
        """Set what holds for circuits made from now on, unless they or operators say otherwise.

        Args:
            store: where a fleet keeps its verdicts; None for circuits on their own.

        Raises:
            ConfigurationError: it isn't a store.
        """
        check_store(store)
        self._store = store

    def add_preset(self, name: str, config: CircuitBreakerConfig) -> None:
        """Make `preset=name` known.

        Raises:
            ConfigurationError: the name means something else already, or isn't one.
        """
        check_name(name)
        if type(config) is not CircuitBreakerConfig:
            refuse("config", config, "a CircuitBreakerConfig")
        with self._lock:
            if PRESETS.setdefault(name, config) != config:
                raise ConfigurationError(f"preset {name!r} is {PRESETS[name]!r} already; now: {config!r}")

    def _resolved(
        self, given: Given, *names: str, file: operator.SettingsFile | None = None
    ) -> CircuitBreakerConfig:
        """The code's settings with the operators' before them; `names` go from family to member."""
        if file is None:
            file = self._operators_file()
        return operator.overridden(given.get("config", DEFAULT), operator.layers(file, names))

    def _store_of(self, given: Given, file: operator.SettingsFile | None = None) -> Store | None:
        """Where a circuit's fleet keeps its verdict: operators say so, or the code."""
        said = operator.redis_url(self._operators_file() if file is None else file)
        if said is None:
            store: Store | None = given.get("store", self._store)
            return store
        from circuitry.redis.store import shared_store

        url, where = said
        try:
            return shared_store(url)
        except ConfigurationError as error:
            raise ConfigurationError(f"{where}: {error}") from None

    def _operators_file(self) -> operator.SettingsFile:
        """What the file says that was loaded, or that the environment names."""
        if self._file is None:
            path = os.environ.get(operator.FILE_VARIABLE)
            self._file = operator.read_file(path) if path else operator.SettingsFile({})
        return self._file

    def _changes(self, entry: Entry, file: operator.SettingsFile) -> Iterator[Change]:
        """What to tell a circuit, and what a family and its members."""
        circuit, given = entry.circuit, entry.now
        config = self._resolved(given, circuit.name, file=file)
        if isinstance(circuit, CircuitFamily):
            check_asked(config.health_check, circuit.name)
            yield functools.partial(circuit._configure, config)
            for breaker, key in circuit._keyed():
                config = self._resolved(given, circuit.name, breaker.name, file=file).of_member(*key)
                yield from self._changes_of(breaker, config, given, file)
        else:
            check_asked(config.health_check)
            yield from self._changes_of(circuit, config, given, file)

    def _changes_of(
        self, breaker: CircuitBreaker, config: CircuitBreakerConfig, given: Given, file: operator.SettingsFile
    ) -> Iterator[Change]:
        yield functools.partial(breaker._configure, config)
        yield functools.partial(breaker._join, self._store_of(given, file))

    # -- All of them -----------------------------------------------------------------------------------

    def metrics(self) -> dict[str, CircuitBreakerMetrics]:
        """A snapshot of each breaker, by its name."""
        return {breaker.name: breaker.metrics() for breaker in self}

    def reset_all(self) -> None:
        """Close each breaker; totals stay."""
        for breaker in self:
            breaker.reset()

    def clear(self) -> None:
        """Forget every name. What was decorated before keeps its circuit; operators' settings stay."""
        with self._lock:
            self._entries.clear()

    def _swap(self, kept: Contents | None = None) -> Contents:
        """For tests: take out what the registry holds, and put in something else, or nothing."""
        with self._lock:
            held = Contents(self._entries, self._file, self._store)
            self._entries, self._file, self._store = kept or Contents({}, None, None)
            return held


def _carry_out(changes: Iterable[Change]) -> None:
    """Tell the circuits: outside the registry's lock, since their listeners may hear of it."""
    for change in changes:
        change()


def _shown(given: Given) -> str:
    return ", ".join(f"{name}={shown(value)}" for name, value in given.items())


#: The registry of this process.
registry = CircuitRegistry()
