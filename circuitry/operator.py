"""What operators say of circuits, beside the code: a TOML file, and environment variables.

Both go before the code, never conflict with it, and reach circuits that exist:
environment > file > code > preset.

    redis_url = "redis://localhost:6379"    # in the file named by CIRCUITRY_CONFIG

    [circuits.netflix]
    preset = "pubnub"
    failure_threshold = 10

    CIRCUITRY_NETFLIX__TIMEOUT_DURATION=5   # in the environment

A table for a family (`[circuits.platform]`) holds for its members; one for a member
(`[circuits."platform[eu]"]`) goes before it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, cast

from circuitry.checks import check_fields, check_name, refuse
from circuitry.config import DEFAULT, SPELLED, CircuitBreakerConfig, logger
from circuitry.errors import ConfigurationError
from circuitry.policies import within
from circuitry.settings import preset_named
from circuitry.tripping import window_of

FILE_VARIABLE = "CIRCUITRY_CONFIG"
REDIS_VARIABLE = "CIRCUITRY_REDIS_URL"

#: What text can say: not the callables.
KEYS = (
    "preset",
    "failure_threshold",
    "failure_rate_threshold",
    "slow_call_rate_threshold",
    "slow_call_duration",
    "window",
    "minimum_calls",
    "success_threshold",
    "timeout_duration",
    "call_timeout",
    "half_open_max_calls",
    "ramp_up",
    "probe_timeout",
    "health_check_interval",
    "initial_state",
    "quorum",
    "latency",
)

#: What a preset says here; the rest of a configuration stays the code's.
PRESET_FIELDS = ("failure_threshold", "success_threshold", "timeout_duration", "half_open_max_calls")

#: Settings with which each of those that spell out a rule makes sense.
_BESIDE = {
    "failure_rate_threshold": 0.5,
    "slow_call_rate_threshold": 0.5,
    "slow_call_duration": 1e-9,
    "window": within(60.0),
}

#: What settings are checked on: it has something to ask at an interval, as the code may have.
_ANY = DEFAULT.replace(health_check=lambda: None)

Table = Mapping[str, Any]


class SettingsFile(NamedTuple):
    """What a settings file says: of circuits, by their name, and where fleets keep their verdicts."""

    circuits: Mapping[str, Table]
    redis_url: str | None = None
    title: str = ""  # for messages


def read_file(path: str | os.PathLike[str]) -> SettingsFile:
    """What a settings file says, checked.

    Raises:
        ConfigurationError: it can't be read, isn't TOML, or has a wrong key or value; the message
            names the file, the table and the key.
    """
    import tomllib  # only who has such a file needs it

    try:
        with open(path, "rb") as file:
            document = tomllib.load(file)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"settings file {os.fspath(path)}: {error}") from error
    this = f"settings file {os.fspath(path)}"
    unknown = document.keys() - {"circuits", "redis_url"}
    if unknown:
        raise ConfigurationError(f"{this}: unknown key {min(unknown)!r}: allowed are circuits, redis_url")
    circuits = _table(document.get("circuits", {}), f"{this}: circuits")
    for name, table in circuits.items():
        where = f"{this}: [circuits.{_quoted(name)}]"
        _in_place(where, check_name, name)
        for key, value in _table(table, where).items():
            _check({key: value}, f"{where} {key}")
        _check(table, where)
    return SettingsFile(circuits, _redis_url(document.get("redis_url"), this), this)


def redis_url(file: SettingsFile) -> tuple[str, str] | None:
    """Where operators say that fleets keep their verdicts, in the environment or else in the file; and
    which of the two it is, for messages.
    """
    url = os.environ.get(REDIS_VARIABLE)
    if url:
        return url, f"environment variable {REDIS_VARIABLE}"
    return None if file.redis_url is None else (file.redis_url, file.title)


def from_environment(name: str) -> Table:
    """What the environment says of one circuit: `CIRCUITRY_NAME__KEY=value`.

    NAME is the circuit's name in capitals, with one underscore for each run of other characters
    than letters and digits.

    Raises:
        ConfigurationError: a variable has a wrong key or value.
    """
    prefix = f"CIRCUITRY_{variable_part(name)}__"
    table: dict[str, Any] = {}
    for variable, text in sorted(os.environ.items()):
        if variable.startswith(prefix):
            key = variable.removeprefix(prefix).lower()
            table[key] = _parsed(text)
            _check({key: table[key]}, f"environment variable {variable}")
    _check(table, f"environment variables {prefix}*")
    return table


def variable_part(name: str) -> str:
    """A circuit's name as part of a variable's: `platform[eu]` is `PLATFORM_EU`."""
    return re.sub(r"[\W_]+", "_", name.upper()).strip("_")


def overridden(config: CircuitBreakerConfig, layers: Iterable[Table]) -> CircuitBreakerConfig:
    """`config` with the operators' word before it, layer upon layer."""
    for table in layers:
        config = config.ordered(**_expanded(table))
    return config


def or_else(
    config: CircuitBreakerConfig, member: str, resolve: Callable[[], CircuitBreakerConfig]
) -> CircuitBreakerConfig:
    """What `resolve` gives for a new member; `config`, its family's, if operators' word is wrong.

    A member comes into being in the midst of a call, and what an operator has said must not fail that.
    """
    try:
        return resolve()
    except ConfigurationError as error:
        text = "circuit %r goes by its family's settings, for what operators say of it is wrong: %s"
        logger.error(text, member, error, extra={"circuit": member})
        return config


def layers(file: SettingsFile, names: Iterable[str]) -> Iterator[Table]:
    """The tables that hold for a circuit, the strongest last; `names` go from family to member."""
    names = tuple(names)
    yield from (file.circuits[name] for name in names if name in file.circuits)
    yield from (from_environment(name) for name in names)


def _expanded(table: Table) -> dict[str, Any]:
    """A table's settings, with those of its preset beneath."""
    settings = dict(table)
    preset = settings.pop("preset", None)
    if isinstance(settings.get("window"), str):
        settings["window"] = window_of(settings["window"])
    if preset is None:
        return settings
    numbers = preset_named(preset).given()
    preset_numbers = {name: numbers[name] for name in PRESET_FIELDS}
    if not settings.keys().isdisjoint(SPELLED):
        del preset_numbers["failure_threshold"]  # a rate is in place of it, unless it is given here too
    return {**preset_numbers, **settings}


def _check(table: Table, where: str) -> None:
    """Refuse what can't be said, whatever the code says; where it needs a setting beside it, there is one."""
    _in_place(where, check_fields, table, KEYS)
    beside: Table = {} if table.keys().isdisjoint(SPELLED) else _BESIDE
    _in_place(where, overridden, _ANY, [{**beside, **table}])


def _in_place(where: str, check: Callable[..., object], *args: object) -> None:
    """Check something, and say where it was said if it is wrong."""
    try:
        check(*args)
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from error


def _redis_url(value: object, where: str) -> str | None:
    if value is not None and not isinstance(value, str):
        try:
            refuse("redis_url", value, "a text, such as redis://localhost:6379")
        except ConfigurationError as error:
            raise ConfigurationError(f"{where}: {error}") from None
    return value


def _table(value: object, where: str) -> Table:
    if not isinstance(value, dict):
        raise ConfigurationError(f"{where}={value!r} is not allowed: it must be a table")
    return cast("Table", value)


def _quoted(name: str) -> str:
    if re.fullmatch(r"[\w-]+", name, re.ASCII):
        return name
    return f'"{name}"' if name.isprintable() else ascii(name)


def _parsed(text: str) -> bool | int | float | str:
    """True or false, or a number, if it reads like one."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
