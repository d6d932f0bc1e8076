"""docs/reference.md has every public name, argument and member, with the values of the code."""

from __future__ import annotations

import inspect
import re
from types import ModuleType
from typing import Any

import pytest

import circuitry
import circuitry.integrations.normalizers
import circuitry.integrations.redis_cache
import circuitry.policies
import circuitry.redis
import circuitry.telemetry.prometheus
import circuitry.testing
from circuitry import CircuitBreaker, CircuitBreakerConfig, CircuitBreakerMetrics
from circuitry.config import PRESETS
from circuitry.settings import DECORATION
from circuitry.states import CircuitState

pytestmark = pytest.mark.core

#: Without an underscore and yet the package's own: what guards, blocks and families say to a breaker.
ENGINE = {
    "CircuitBreaker": {
        *("admit", "admit_async", "success", "failure", "ignore", "ended", "left_early", "stood_in"),
        *("count", "enter", "evidence", "judge", "limits", "totals", "used", "is_as_new"),
    },
    "CircuitFamily": {"chooser"},
    "Permit": {"take", "ended"},
    **{key: {"watch"} for key in ("AllOf", "AnyOf", "ConsecutiveFailures", "FailureRate")},
    **{key: {"watch"} for key in ("Adaptive", "MinimumCalls", "SlowCallRate")},
    **{key: {"begin"} for key in ("Last", "Within")},
    "CircuitBreakerConfig": {"limits", "rule", "wait", "ordered", "coded_call_timeout"},
}


def public(module: ModuleType) -> list[str]:
    """The public names of a module: its `__all__`, or what it defines."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    own = [
        name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__
    ]
    return [name for name in own if not name.startswith("_")]


NAMES = [
    (module, name)
    for module in (
        circuitry,
        circuitry.redis,
        circuitry.policies,
        circuitry.testing,
        circuitry.telemetry.prometheus,
        circuitry.integrations.normalizers,
        circuitry.integrations.redis_cache,
    )
    for name in public(module)
]


def section(text: str, name: str) -> str:
    """What the page says under the heading of one name."""
    found = re.search(rf"^### `{name}`\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"docs/reference.md has no heading for {name}"
    return found[1]


def members(kind: type) -> set[str]:
    """The public members of a class that it or a class of circuitry defines."""
    own = [base for base in kind.__mro__ if base.__module__.startswith("circuitry")]
    found = {name for base in own for name in (*vars(base), *vars(base).get("__annotations__", ()))}
    engine = ENGINE.get(kind.__name__, set()) | {"args"}  # those of an exception
    return {name for name in found if not name.startswith("_")} - engine


def arguments(thing: Any) -> set[str]:
    """The names of what a function takes, or a class to be made."""
    if inspect.isclass(thing) and thing in (CircuitBreakerConfig, CircuitBreakerMetrics):
        return set()  # its fields, which are members
    try:
        names = set(inspect.signature(thing).parameters)
    except ValueError:  # an exception that is its own args
        return set()
    return names - {"args", "kwargs", "self"}


def made_by_users(name: str) -> bool:
    """Whether users make objects of this class: the others come from the library."""
    return name not in {"Permit", "CircuitFamily", "CircuitState", "PlatformNormalizer", "FallbackCache"}


@pytest.mark.parametrize(("module", "name"), NAMES, ids=[name for _, name in NAMES])
def test_the_reference_is_complete(module: ModuleType, name: str, pages: Any) -> None:
    text = section(pages["docs/reference.md"].text, name)
    thing = getattr(module, name)
    wanted = members(thing) if inspect.isclass(thing) else set()
    if callable(thing) and made_by_users(name) and name != "circuit":
        wanted |= arguments(thing)
    code = " ".join(re.findall(r"`[^`\n]+`", text))  # to stand in the signature isn't enough
    assert not {word for word in wanted if not re.search(rf"\b{word}\b", code)}


def test_every_setting_of_a_decoration_is_explained(pages: Any) -> None:
    text = section(pages["docs/reference.md"].text, "circuit")
    rows = " ".join(re.findall(r"^\| (`.+?) \|", text, re.MULTILINE))
    assert set(re.findall(r"`(\w+)`", rows)) - {"name"} == set(DECORATION)


def test_members_that_are_named_exist(pages: Any) -> None:
    """Rows of the tables under a class begin with members it has."""
    for name in ("CircuitBreaker", "CircuitRegistry", "CircuitFamily", "Permit", "CircuitBreakerConfig"):
        text = section(pages["docs/reference.md"].text, name)
        for cell in re.findall(r"^\| (`.+?) \|", text, re.MULTILINE):
            for word in re.findall(r"`(\w+)(?:\([^`]*\))?`", cell):
                known = members(getattr(circuitry, name)) | {
                    "name",
                    "config",
                    "settings",
                    "breaker",
                    "len",
                    "max_keys",
                }
                assert word in known or word in PRESETS, f"{name}.{word}"


def test_defaults_and_presets_are_those_of_the_code(pages: Any) -> None:
    text = section(pages["docs/reference.md"].text, "CircuitBreakerConfig")
    defaults = dict(re.findall(r"^\| `(\w+)` \| .+ \| `(.+)` \|$", text, re.MULTILINE))
    assert defaults == {name: repr(value) for name, value in CircuitBreakerConfig().given().items()}
    shown = re.findall(r"^\| `(\w+)`.* \| (\d+) \| (\d+) \| (\d+) s \| (\d+) \|$", text, re.MULTILINE)
    assert shown == [
        (
            name,
            str(one.failure_threshold),
            str(one.success_threshold),
            f"{one.timeout_duration:.0f}",
            str(one.half_open_max_calls),
        )
        for name, one in PRESETS.items()
    ]


def test_states_are_those_of_the_code(pages: Any) -> None:
    text = section(pages["docs/reference.md"].text, "CircuitState")
    shown = re.findall(r"^\| `([A-Z_]+)` \| `(\w+)` \|$", text, re.MULTILINE)
    assert shown == [(state.name, state.value) for state in CircuitState]


def test_the_metrics_of_operating_are_those_of_the_code(pages: Any) -> None:
    text = pages["docs/operating.md"].text.partition("## Metrics")[2].partition("\n## ")[0]
    rows = " ".join(re.findall(r"^\| (`.+?) \|", text, re.MULTILINE))
    assert set(re.findall(r"`(\w+)`", rows)) == members(CircuitBreakerMetrics)


def test_the_series_of_operating_are_those_of_the_collector(pages: Any) -> None:
    from circuitry.telemetry.prometheus import CircuitCollector

    text = pages["docs/operating.md"].text
    shown = re.findall(r"^\| `(circuitry_\w+)` \| (\w+) \|", text, re.MULTILINE)
    [*families] = CircuitCollector([CircuitBreaker("one")]).collect()
    assert shown == [(family.samples[0].name, family.type) for family in families]
