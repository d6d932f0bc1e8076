"""What counts as a failure: of exceptions, and of returned values."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, cast

from circuitry.config import CircuitBreakerConfig, Errors
from circuitry.states import Outcome

logger = logging.getLogger("circuitry")


class Judge:
    """What counts as a failure: of exceptions, and of returned values.

    A predicate that raises is logged and answers "no".
    """

    __slots__ = ("_exclude", "_excluded", "_failure_if", "_include", "judges_results")

    def __init__(self, config: CircuitBreakerConfig) -> None:
        self._include = _matcher("include", config.include)
        self._exclude = _matcher("exclude", config.exclude)
        self._excluded = Outcome(config.exclude_as)
        self._failure_if = config.failure_if
        self.judges_results = config.failure_if is not None

    @classmethod
    def of(cls, config: CircuitBreakerConfig) -> Judge | None:
        """The judge that a configuration asks for; None if every `Exception` is a failure."""
        asked = (config.include, config.exclude, config.failure_if)
        return cls(config) if any(setting is not None for setting in asked) else None

    def error(self, error: BaseException | None) -> Outcome:
        """How a call that raised `error` ended.

        What is no `Exception` (Ctrl-C, cancellation) is ignored, always. A group is excluded if
        all its leaves are.
        """
        if not isinstance(error, Exception):
            return Outcome.IGNORED
        return self._excluded if self._is_excluded(error) else Outcome.FAILURE

    def _is_excluded(self, error: BaseException) -> bool:
        if self._exclude is not None and self._exclude(error):
            return True
        if self._include is not None and self._include(error):
            return False
        if isinstance(error, BaseExceptionGroup):
            group = cast("BaseExceptionGroup[BaseException]", error)
            return all(self._is_excluded(leaf) for leaf in group.exceptions)
        return self._include is not None

    def result_failed(self, result: object) -> bool:
        """Whether a returned value is a failure."""
        return self._failure_if is not None and _asked("failure_if", self._failure_if, result)


def result_test(judge: Judge | None) -> Callable[[object], bool] | None:
    """What returned values are tested by, if at all."""
    return judge.result_failed if judge is not None and judge.judges_results else None


def _asked(name: str, predicate: Callable[[Any], object], value: object) -> bool:
    try:
        return bool(predicate(value))
    except Exception:
        logger.exception("the predicate %s=%r raised; taken as no", name, predicate)
        return False


def _matcher(name: str, errors: Errors | None) -> Callable[[BaseException], bool] | None:
    if errors is None:
        return None
    matches: Callable[[BaseException], object]
    if isinstance(errors, tuple):
        types = cast("tuple[type[BaseException], ...]", errors)
        matches = functools.partial(_is_one_of, types)
    else:
        matches = cast("Callable[[BaseException], object]", errors)
    return functools.partial(_asked, name, matches)


def _is_one_of(types: tuple[type[BaseException], ...], error: BaseException) -> bool:
    return isinstance(error, types)
