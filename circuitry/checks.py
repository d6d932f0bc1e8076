"""The checks of what users give: each names the field, the value and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import NoReturn, cast

from circuitry.errors import ConfigurationError
from circuitry.kinds import Kind, is_async, kind_of, takes


def refuse(name: str, value: object, allowed: str) -> NoReturn:
    """Say what is wrong with a setting.

    Raises:
        ConfigurationError: naming the field, the value and what is allowed.
    """
    raise ConfigurationError(f"{name}={shown(value)} is not allowed: it must be {allowed}")


def disagree(name: str, value: object, other: str, other_value: object, why: str) -> NoReturn:
    """Say that two settings contradict each other.

    Raises:
        ConfigurationError: naming both, with their values, and `why`.
    """
    raise ConfigurationError(f"{name}={shown(value)} and {other}={shown(other_value)} disagree: {why}")


def shown(value: object) -> str:
    """A value in a message: short, and without an error of its own."""
    try:
        text = repr(value)
    except Exception:
        return f"<{type(value).__name__}>"
    return text if len(text) <= 300 else f"{text[:297]}..."


def check_count(name: str, value: object) -> None:
    """Refuse what isn't a whole number >= 1.

    Raises:
        ConfigurationError: it isn't.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        refuse(name, value, "a whole number >= 1")


def check_seconds(name: str, value: object) -> float:
    """A duration in seconds.

    Raises:
        ConfigurationError: it isn't a number or a timedelta, or isn't > 0 and finite.
    """
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        refuse(name, value, "a number of seconds or a timedelta, > 0 and finite")
    try:
        seconds = float(seconds)
    except OverflowError:
        seconds = math.inf
    if not 0 < seconds < math.inf:
        refuse(name, value, "a number of seconds or a timedelta, > 0 and finite")
    return seconds


def check_name(name: object) -> str:
    """A circuit's name: any text but the empty one, without control characters.

    Raises:
        ConfigurationError: it isn't.
    """
    if not isinstance(name, str) or not name or any(map(is_unnameable, name)):
        refuse("name", name, "a text that isn't empty and has no control characters")
    return name


def is_unnameable(char: str) -> bool:
    """Control characters, and halves of a surrogate pair."""
    code = ord(char)
    return code < 0x20 or 0x7F <= code < 0xA0 or 0xD800 <= code < 0xE000


def check_fields(settings: Iterable[str], allowed: Iterable[str]) -> None:
    """Refuse unknown settings.

    Raises:
        ConfigurationError: naming the first unknown one, and all that are allowed.
    """
    known = list(allowed)
    for name in settings:
        if name not in known:
            raise ConfigurationError(f"unknown setting {name!r}: allowed are {', '.join(known)}")


def check_share(name: str, value: object) -> float:
    """A share of a whole.

    Raises:
        ConfigurationError: it isn't a number, or isn't > 0 and <= 1.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1:
        refuse(name, value, "a number > 0 and <= 1")
    return float(value)


def check_part(name: str, value: object, why: str) -> None:
    """A share of a whole, but not all of it: `why` not.

    Raises:
        ConfigurationError: it isn't a number, or isn't > 0 and < 1.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1:
        refuse(name, value, f"a number > 0 and < 1: {why}")


def check_number(name: str, value: object, least: float, most: float = math.inf) -> float:
    """A number in a range, both ends included but for infinity.

    Raises:
        ConfigurationError: it isn't.
    """
    allowed = f"a number >= {least:g}" + (f" and <= {most:g}" if most < math.inf else " and finite")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        refuse(name, value, allowed)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not (least <= number <= most and number < math.inf):
        refuse(name, value, allowed)
    return number


def check_flag(name: str, value: object) -> None:
    """True or False, and nothing that is only like them.

    Raises:
        ConfigurationError: it isn't.
    """
    if not isinstance(value, bool):
        refuse(name, value, "True or False")


def check_choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    """One of several texts.

    Raises:
        ConfigurationError: it isn't.
    """
    if not isinstance(value, str) or value not in allowed:
        refuse(name, value, "one of " + ", ".join(allowed))


def check_predicate(name: str, value: object) -> None:
    """A function of the user's that is called for its answer; or None.

    Raises:
        ConfigurationError: it can't be called, or is async.
    """
    if value is None:
        return
    if not callable(value):
        refuse(name, value, "a callable")
    if is_async(value):
        refuse(name, value, "a plain function: nobody would await an async one")


def check_health_check(check: object) -> None:
    """A function of the user's that is asked whether the dependency is back; or None.

    Raises:
        ConfigurationError: it can't be called, or that would tell nothing.
    """
    if check is None:
        return
    if not callable(check) or isinstance(check, type):
        refuse("health_check", check, "a function, sync or async")
    if kind_of(check) in (Kind.GENERATOR, Kind.ASYNC_GENERATOR):
        refuse("health_check", check, "a function that returns: to call a generator function runs nothing")
    if not takes(check) and not takes(check, None):
        refuse("health_check", check, "a function without arguments or, in a family, of the key alone")


def check_asked(check: Callable[..., object] | None, *key: object) -> None:
    """Refuse a health check that can't be asked as it will be: in a family with the key, else with nothing.

    Raises:
        ConfigurationError: it can't.
    """
    if check is not None and not takes(check, *key):
        refuse("health_check", check, "a function of the key" if key else "a function without arguments")


def check_errors(name: str, value: object) -> object:
    """Exception types as a tuple; a predicate of them, or None, as it is.

    Raises:
        ConfigurationError: it is none of these.
    """
    if value is None:
        return None
    given: object = value
    types: tuple[object, ...] = (value,)
    if isinstance(value, Iterable) and not isinstance(value, (str, type)):
        types = tuple(cast("Iterable[object]", value))
    elif callable(value) and not isinstance(value, type):
        check_predicate(name, value)
        return value
    if not types or not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in types):
        refuse(name, given, "an exception type, several of them, or a predicate of the exception")
    return types
