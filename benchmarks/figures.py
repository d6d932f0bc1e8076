"""From samples to figures: medians, per-round ratios, and whether a goal is met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from .timing import Samples


@dataclass(frozen=True)
class Figure:
    """What one contender costs in one cell."""

    cost: float
    """Nanoseconds a call; milliseconds for an import."""
    ratio: float | None
    """The median of the per-round ratios; None for an import."""
    low: float
    high: float
    """The quartiles of what is judged."""

    @property
    def judged(self) -> float:
        return self.cost if self.ratio is None else self.ratio


@dataclass(frozen=True)
class Result:
    """One cell, measured."""

    name: str
    title: str
    goal: float
    unit: str
    yardstick: str | None
    figures: dict[str, Figure]

    def verdict(self, name: str) -> str:
        figure = self.figures.get(name)
        if figure is None:
            return "n/a"
        return "met" if figure.judged <= self.goal else "MISSED"


def _quartiles(values: Sequence[float]) -> tuple[float, float]:
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = quantiles(values, n=4)
    return low, high


def against(samples: Samples, yardstick: str) -> dict[str, Figure]:
    """Ratios are taken within a round, then their median."""
    measure = samples[yardstick]
    figures = {}
    for name, costs in samples.items():
        ratios = [cost / unit for cost, unit in zip(costs, measure, strict=True)]
        figures[name] = Figure(median(costs), median(ratios), *_quartiles(ratios))
    return figures


def absolute(samples: Samples) -> dict[str, Figure]:
    """For what has no yardstick."""
    return {name: Figure(median(costs), None, *_quartiles(costs)) for name, costs in samples.items()}
