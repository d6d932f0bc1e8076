"""What happens in a run and when: all of it drawn from one seed."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

WORKERS = 4
CHECK_PERIOD = 0.4  # seconds
LONGEST_CALL = 0.9  # seconds

#: The circuits of a run; short times, so that much happens.
SETTINGS: dict[str, dict[str, Any]] = {
    "single": {
        "failure_threshold": 3,
        "success_threshold": 2,
        "timeout_duration": 0.3,
        "half_open_max_calls": 1,
        "probe_timeout": 0.6,
    },
    "pair": {
        "failure_threshold": 4,
        "success_threshold": 3,
        "timeout_duration": 0.25,
        "half_open_max_calls": 2,
        "probe_timeout": 0.5,
    },
    "quorum": {
        "failure_threshold": 3,
        "success_threshold": 1,
        "timeout_duration": 0.2,
        "half_open_max_calls": 1,
        "probe_timeout": 0.45,
        "quorum": 2,
    },
    "rated": {
        "failure_rate_threshold": 0.4,
        "window": 15,
        "minimum_calls": 6,
        "success_threshold": 1,
        "timeout_duration": 0.25,
        "half_open_max_calls": 1,
        "probe_timeout": 0.5,
    },
}

#: Kinds of trouble, how often each comes, and how long it lasts, in seconds.
TROUBLES: dict[str, tuple[int, tuple[float, float]]] = {
    "kill_clients": (5, (0, 0)),
    "freeze": (3, (0.05, 1.2)),
    "sleep": (2, (0.05, 0.8)),
    "flushall": (3, (0, 0)),
    "script_flush": (2, (0, 0)),
    "crash": (2, (0, 0.6)),
    "kill_prober": (2, (0, 0)),
    "order": (1, (0.1, 0.6)),
}
ORDERS = ("forced_open", "disabled", "shadow")


class Step(NamedTuple):
    """Something that is done `at` so many seconds from the beginning."""

    at: float
    kind: str
    lasts: float = 0.0  # seconds
    name: str = ""  # a circuit, where it is about one
    detail: Any = None


def plan(seed: int, seconds: float) -> list[Step]:
    """Everything that is done in a run of so many seconds, in its order."""
    chance = random.Random(seed)
    steps = [step for name in SETTINGS for step in _outages(chance, name, seconds)]
    steps += _troubles(chance, seconds)
    return sorted(steps)


def last_word(seed: int) -> str:
    """What happens when nobody calls any more, so that only who asks finds out."""
    return random.Random(f"{seed} in the end").choice(("flushall", "deaf_reset"))


def _outages(chance: random.Random, name: str, seconds: float) -> list[Step]:
    """A backend is down and up in turn, for all; at times for one process alone."""
    steps: list[Step] = []
    at = chance.uniform(0.0, 1.0)
    while at < seconds:
        lasts = chance.uniform(0.2, 1.5)
        alone = chance.randrange(WORKERS) if chance.random() < 0.3 else None
        steps.append(Step(at, "down", lasts, name, alone))
        at += lasts + chance.uniform(0.2, 1.2)
    return steps


def _troubles(chance: random.Random, seconds: float) -> list[Step]:
    steps: list[Step] = []
    weights = [weight for weight, _ in TROUBLES.values()]
    at = chance.uniform(0.2, 0.8)
    while at < seconds:
        kind = chance.choices(list(TROUBLES), weights)[0]
        lasts = chance.uniform(*TROUBLES[kind][1])
        name = chance.choice(list(SETTINGS)) if kind == "order" else ""
        detail = chance.choice(ORDERS) if kind == "order" else chance.random()
        steps.append(Step(at, kind, lasts, name, detail))
        at += lasts + chance.uniform(0.05, 0.8)
    return steps
