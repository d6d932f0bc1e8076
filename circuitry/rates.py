"""The rates of a rule, judged on what several processes have counted together."""

from __future__ import annotations

from collections.abc import Sequence

from circuitry.policies import AllOf, AnyOf, FailureRate, Rule, SlowCallRate
from circuitry.sizes import Last, Within
from circuitry.watches import Ruled, SlowWatch, Watch
from circuitry.windows import Window


class RatesTogether:
    """The rates of a rule, and whether the rule would hold if other things were in their windows."""

    def __init__(self, rule: Rule, evidence: Ruled) -> None:
        self._windows = evidence.windows
        rates = [leaf for leaf in evidence.leaves if _is_rate(leaf.rule)]
        self.spans: list[Last | Within] = [leaf.rule.window for leaf in rates]
        #: The same for rules whose windows hold the same: thresholds don't matter.
        self.text = " ".join(f"{leaf.rule.window} {getattr(leaf.rule, 'slower_than', '')}" for leaf in rates)
        self._sums = [Window(window.share, window.minimum) for window in self._windows]
        pairs = zip(rates, self._sums, strict=True)
        kept = [leaf._replace(watch=_standing_in(leaf.watch, sums)) for leaf, sums in pairs]
        others = [leaf for leaf in evidence.leaves if not _is_rate(leaf.rule)]
        self._watch = rule._grow(float, [*kept, *others], [])  # no clock is asked: all its parts are there

    def own(self) -> tuple[tuple[int, int], ...]:
        """What is in the windows: of each, how many calls, and how many of them are bad."""
        for window in self._windows:
            window.refresh()
        return tuple((window.calls, window.bad) for window in self._windows)

    @property
    def is_bad(self) -> bool:
        """Whether something in the windows is bad, or was when they were last looked at."""
        return any(window.bad for window in self._windows)

    def hold(self, counts: Sequence[tuple[int, int]]) -> bool:
        """Whether the rule holds, if this is what is in them."""
        if len(counts) != len(self._sums):
            return False
        for sums, (calls, bad) in zip(self._sums, counts, strict=True):
            sums.calls, sums.bad = calls, bad
        return self._watch.holds()


def _is_rate(rule: object) -> bool:
    return isinstance(rule, (FailureRate, SlowCallRate))


def _standing_in(watch: Watch, window: Window) -> Watch:
    """A watch of the same kind, with this window."""
    return SlowWatch(window, watch.limit) if isinstance(watch, SlowWatch) else window


def rates_of(rule: Rule) -> Rule | None:
    """What of a rule can be judged on what several processes have counted; None if nothing can.

    What is no rate is left to each process: beside a rate by `|` it doesn't speak for the others, and by
    `&` it is this process's own judgement that has to hold too.
    """
    if isinstance(rule, AnyOf):
        parts = tuple(part for part in map(rates_of, rule.rules) if part is not None)
        return AnyOf(parts) if parts else None
    if isinstance(rule, AllOf):
        return rule if any(rates_of(part) is not None for part in rule.rules) else None
    return rule if _is_rate(rule) else None
