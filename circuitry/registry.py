"""Named breakers: the same circuit wherever its name is used."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from threading import RLock
from typing import Any

from circuitry import operator
from circuitry.config import DEFAULT, FIELDS, PRESETS, CircuitBreakerConfig, check_name
from circuitry.errors import ConfigurationError
from circuitry.faces import CircuitBreaker
from circuitry.family import MAX_KEYS, CircuitFamily
from circuitry.metrics import CircuitBreakerMetrics
from circuitry.settings import JUDGING, Store, config_of

#: The fields that are the breaker's own; the others are the decoration's.
OWN_FIELDS = tuple(name for name in FIELDS if name not in JUDGING)
BESIDE = ("clock", "store", "max_keys")


@dataclass
class Entry:
    """What the registry knows of a name."""

    circuit: CircuitBreaker | CircuitFamily
    given: Mapping[str, Any]  # what the code said of it, once somebody has said anything


class CircuitRegistry:
    """The breakers and families of a process, by name.

    Safe to use from any number of threads and tasks at once.
    """

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._lock = RLock()
        self._file: Mapping[str, operator.Table] | None = None
        self._store: Store | None = None
        os.register_at_fork(after_in_child=self._rearm)

    # -- Finding -------------------------------------------------------------------------------------

    def get(self, name: str) -> CircuitBreaker | None:
        """The breaker of this name (a member of a family has one too), or None."""
        entry = self._entries.get(name)
        if entry is None:
            return next((breaker for breaker in self._members() if breaker.name == name), None)
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

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None

    def __iter__(self) -> Iterator[CircuitBreaker]:
        """The breakers there are now, the members of families among them."""
        single = (entry.circuit for entry in list(self._entries.values()))
        return itertools.chain((one for one in single if isinstance(one, CircuitBreaker)), self._members())

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _members(self) -> Iterator[CircuitBreaker]:
        for entry in list(self._entries.values()):
            if isinstance(entry.circuit, CircuitFamily):
                yield from entry.circuit

    # -- Making --------------------------------------------------------------------------------------

    def get_or_create(
        self, name: str, config: CircuitBreakerConfig | None = None, **settings: Any
    ) -> CircuitBreaker:
        """The breaker of this name; it is made if it isn't there.

        Args:
            name: the circuit's name.
            config: its settings, or `preset=`, or fields of `CircuitBreakerConfig`; also `clock`
                and `store`. Without any the name's breaker is taken as it is.

        Raises:
            ConfigurationError: other settings were given for this name, or the name is a family's.
        """
        if config is not None:
            settings["config"] = config
        entry = self._entry(name, settings, self._make_breaker)
        if not isinstance(entry.circuit, CircuitBreaker):
            raise ConfigurationError(f"circuit {name!r} is a family: its circuits are chosen by key=")
        return entry.circuit

    def get_or_create_family(self, name: str, **settings: Any) -> CircuitFamily:
        """The family of this name; it is made if it isn't there.

        Raises:
            ConfigurationError: other settings were given for this name, or it isn't a family's.
        """
        entry = self._entry(name, settings, self._make_family)
        if not isinstance(entry.circuit, CircuitFamily):
            raise ConfigurationError(f"circuit {name!r} is a single circuit: key= needs a name of its own")
        return entry.circuit

    def put(self, name: str, **settings: Any) -> CircuitBreaker:
        """A new breaker under an automatic name: it takes the place of an earlier one."""
        with self._lock:
            given = self._given(settings)
            breaker = self._make_breaker(name, given)
            self._entries[name] = Entry(breaker, given)
            return breaker

    def _entry(self, name: str, settings: Mapping[str, Any], make: Callable[..., Any]) -> Entry:
        given = self._given(settings)
        with self._lock:
            entry = self._entries.get(name)
            if entry is None:
                entry = self._entries[name] = Entry(make(check_name(name), given), given)
            elif given:
                self._settle(name, entry, given)
            return entry

    def _settle(self, name: str, entry: Entry, given: Mapping[str, Any]) -> None:
        """Settings may be given once, by whoever comes first with any."""
        if entry.given and entry.given != given:
            raise ConfigurationError(
                f"circuit {name!r} was given other settings before: {_shown(entry.given)}; "
                f"now: {_shown(given)}"
            )
        if not entry.given:
            late = given.keys() - {"config"}
            if late:
                raise ConfigurationError(
                    f"circuit {name!r} exists already: only who names it first can give {min(late)}="
                )
            entry.given = given
            self._configure(entry)

    def _given(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The breaker's own part of some settings, as it is compared."""
        given = {name: settings[name] for name in BESIDE if settings.get(name) is not None}
        config = config_of(settings, OWN_FIELDS)
        return given if config is None else {**given, "config": config}

    def _make_breaker(self, name: str, given: Mapping[str, Any], family: str | None = None) -> CircuitBreaker:
        config = self._resolved(given, name, family)
        store = given.get("store", self._store)
        return CircuitBreaker(name, config, clock=given.get("clock", time.monotonic), store=store)

    def _make_family(self, name: str, given: Mapping[str, Any]) -> CircuitFamily:
        config = self._resolved(given, name)
        family: CircuitFamily

        def make(member: str) -> CircuitBreaker:
            entry = self._entries.get(name)
            now = entry.given if entry is not None and entry.circuit is family else given
            return self._make_breaker(member, now, name)

        family = CircuitFamily(name, config, make, given.get("max_keys", MAX_KEYS))
        return family

    # -- Operators' settings ---------------------------------------------------------------------------

    def load(self, path: str | os.PathLike[str]) -> None:
        """Read operators' settings from a TOML file; it takes the place of one read before.

        Reaches the circuits there are: they keep their state and counts.

        Raises:
            ConfigurationError: the file is wrong, and nothing has changed; the message names the
                file, the table and the key.
        """
        file = operator.read_file(path)
        with self._lock:
            self._file = file
            for entry in self._entries.values():
                self._configure(entry)

    def configure(self, *, store: Store | None = None) -> None:
        """Set what holds for circuits made from now on, unless they say otherwise.

        Args:
            store: where a fleet keeps its verdicts; None for circuits on their own.
        """
        self._store = store

    def add_preset(self, name: str, config: CircuitBreakerConfig) -> None:
        """Make `preset=name` known.

        Raises:
            ConfigurationError: the name means something else already, or isn't one.
        """
        check_name(name)
        if not isinstance(config, CircuitBreakerConfig):
            raise ConfigurationError(f"config={config!r} is not allowed: it must be a CircuitBreakerConfig")
        with self._lock:
            if PRESETS.setdefault(name, config) != config:
                raise ConfigurationError(f"preset {name!r} is {PRESETS[name]!r} already; now: {config!r}")

    def _resolved(self, given: Mapping[str, Any], *names: str | None) -> CircuitBreakerConfig:
        """The code's settings with the operators' before them."""
        if self._file is None:
            path = os.environ.get(operator.FILE_VARIABLE)
            self._file = operator.read_file(path) if path else {}
        known = [name for name in reversed(names) if name is not None]
        return operator.overridden(given.get("config", DEFAULT), operator.layers(self._file, known))

    def _configure(self, entry: Entry) -> None:
        circuit = entry.circuit
        config = self._resolved(entry.given, circuit.name)
        if isinstance(circuit, CircuitFamily):
            circuit.config = config
            for breaker in circuit:
                breaker._configure(self._resolved(entry.given, breaker.name, circuit.name))
        else:
            circuit._configure(config)

    # -- All of them -----------------------------------------------------------------------------------

    def metrics(self) -> dict[str, CircuitBreakerMetrics]:
        """A snapshot of each breaker, by its name."""
        return {breaker.name: breaker.metrics() for breaker in self}

    def reset_all(self) -> None:
        """Close each breaker; totals stay."""
        for breaker in self:
            breaker.reset()

    def clear(self) -> None:
        """Forget every name. What was decorated before keeps its circuit."""
        with self._lock:
            self._entries.clear()
            self._file = None

    def _swap(self, kept: dict[str, Entry] | None = None) -> dict[str, Entry]:
        """Take out the entries, and put in others."""
        with self._lock:
            out, self._entries = self._entries, kept if kept is not None else {}
            return out

    def _rearm(self) -> None:
        self._lock = RLock()


def _shown(given: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in given.items())


#: The registry of this process.
registry = CircuitRegistry()
