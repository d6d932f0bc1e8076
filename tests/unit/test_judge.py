"""What counts as a failure: of exceptions and of returned values."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from circuitry import CircuitBreaker, CircuitBreakerConfig, ConfigurationError, circuit, registry
from circuitry.judging import Judge
from circuitry.states import Outcome

pytestmark = [pytest.mark.core, pytest.mark.usefixtures("fresh")]

SUCCESS, FAILURE, IGNORED = Outcome.SUCCESS, Outcome.FAILURE, Outcome.IGNORED


def judged(error: BaseException, **settings: Any) -> Outcome:
    """How a call ended that raised `error`, under these settings."""
    return Judge(CircuitBreakerConfig(**settings)).error(error)


def ended(breaker: CircuitBreaker) -> tuple[int, int, int]:
    """Successes, failures and ignored calls."""
    metrics = breaker.metrics()
    return metrics.successes, metrics.failures, metrics.ignored


def group(*errors: Exception) -> ExceptionGroup[Exception]:
    return ExceptionGroup("several", errors)


class Meta(type):
    """Some libraries give their exceptions a metaclass."""


class MetaError(Exception, metaclass=Meta):
    pass


class Moody(type):
    def __instancecheck__(cls, instance: object) -> bool:
        raise LookupError("not today")


class MoodyError(Exception, metaclass=Moody):
    pass


# -- Exceptions ----------------------------------------------------------------------------------------


def test_every_exception_is_a_failure_unless_something_is_said() -> None:
    assert judged(Exception()) is FAILURE
    assert Judge.of(CircuitBreakerConfig()) is None


@pytest.mark.parametrize(
    ("error", "outcome"), [(OSError(), FAILURE), (TimeoutError(), FAILURE), (ValueError(), IGNORED)], ids=repr
)
def test_include_names_the_only_failures(error: Exception, outcome: Outcome) -> None:
    assert judged(error, include=OSError) is outcome
    assert judged(error, include=(OSError, KeyError)) is outcome
    assert judged(error, include=lambda error: isinstance(error, OSError)) is outcome


@pytest.mark.parametrize(
    ("error", "outcome"), [(OSError(), IGNORED), (TimeoutError(), IGNORED), (ValueError(), FAILURE)], ids=repr
)
def test_exclude_names_what_is_no_failure(error: Exception, outcome: Outcome) -> None:
    assert judged(error, exclude=OSError) is outcome
    assert judged(error, exclude=[OSError, KeyError]) is outcome
    assert judged(error, exclude=lambda error: isinstance(error, OSError)) is outcome


def test_exclude_goes_before_include() -> None:
    settings = {"include": OSError, "exclude": FileNotFoundError}
    assert judged(FileNotFoundError(), **settings) is IGNORED
    assert judged(PermissionError(), **settings) is FAILURE


def test_what_is_excluded_may_count_as_a_success() -> None:
    assert judged(OSError(), exclude=OSError, exclude_as="success") is SUCCESS
    assert judged(ValueError(), include=OSError, exclude_as="success") is SUCCESS


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), SystemExit(), GeneratorExit(), asyncio.CancelledError()]
)
@pytest.mark.parametrize(
    "settings", [{}, {"include": BaseException}, {"exclude": BaseException, "exclude_as": "success"}], ids=str
)
def test_what_is_no_exception_is_ignored_always(error: BaseException, settings: dict[str, Any]) -> None:
    assert judged(error, **settings) is IGNORED


def test_a_predicate_is_not_asked_about_what_is_no_exception() -> None:
    asked: list[object] = []
    judged(KeyboardInterrupt(), exclude=asked.append)
    assert asked == []


def test_an_exception_with_a_metaclass_excludes_itself_and_nothing_else() -> None:
    assert judged(MetaError(), exclude=MetaError) is IGNORED
    assert judged(OSError(), exclude=MetaError) is FAILURE
    assert judged(OSError(), include=MetaError) is IGNORED


@pytest.mark.parametrize("answer", [1, "yes", [0]], ids=repr)
def test_a_predicate_may_answer_with_anything_true(answer: object) -> None:
    assert judged(OSError(), exclude=lambda _: answer) is IGNORED


@pytest.mark.parametrize("answer", [0, "", None, []], ids=repr)
def test_a_predicate_may_answer_with_anything_false(answer: object) -> None:
    assert judged(OSError(), exclude=lambda _: answer) is FAILURE


# -- Groups --------------------------------------------------------------------------------------------


def test_a_group_is_excluded_if_all_its_leaves_are() -> None:
    assert judged(group(OSError(), OSError()), exclude=OSError) is IGNORED
    assert judged(group(OSError(), ValueError()), exclude=OSError) is FAILURE


def test_leaves_are_found_at_any_depth() -> None:
    assert judged(group(OSError(), group(group(TimeoutError()))), exclude=OSError) is IGNORED
    assert judged(group(OSError(), group(group(ValueError()))), exclude=OSError) is FAILURE


def test_a_group_of_which_no_leaf_is_included_is_excluded() -> None:
    assert judged(group(KeyError(), ValueError()), include=OSError) is IGNORED
    assert judged(group(KeyError(), OSError()), include=OSError) is FAILURE


def test_a_group_can_be_excluded_as_such() -> None:
    assert judged(group(ValueError()), exclude=ExceptionGroup) is IGNORED


def test_a_group_with_a_leaf_that_is_no_exception_is_ignored() -> None:
    assert judged(BaseExceptionGroup("several", [OSError(), KeyboardInterrupt()])) is IGNORED


def test_an_excluded_group_may_count_as_a_success() -> None:
    assert judged(group(OSError()), exclude=OSError, exclude_as="success") is SUCCESS


# -- Returned values -----------------------------------------------------------------------------------


def test_a_value_for_which_failure_if_is_true_is_a_failure(breaker: CircuitBreaker) -> None:
    fetch = circuit("status", failure_if=lambda status: status >= 500)(lambda status: status)
    assert [fetch(200), fetch(500), fetch(404), fetch(503)] == [200, 500, 404, 503]
    assert ended(registry["status"]) == (2, 2, 0)


def test_failure_if_is_not_asked_about_exceptions() -> None:
    asked: list[object] = []
    fetch = circuit("status", failure_if=asked.append)(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fetch()
    assert asked == []


def test_without_failure_if_no_value_is_a_failure() -> None:
    assert Judge(CircuitBreakerConfig(exclude=OSError)).result_failed(None) is False


# -- Predicates that raise -----------------------------------------------------------------------------


def raising(_: object) -> bool:
    raise LookupError("a bug in the predicate")


@pytest.mark.parametrize(("field", "outcome"), [("exclude", FAILURE), ("include", IGNORED)])
def test_a_predicate_that_raises_is_logged_and_says_no(
    field: str, outcome: Outcome, caplog: pytest.LogCaptureFixture
) -> None:
    assert judged(OSError(), **{field: raising}) is outcome
    [record] = caplog.records
    assert (record.name, record.levelno) == ("circuitry", logging.ERROR)
    assert field in record.getMessage()
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], LookupError)


def test_failure_if_that_raises_is_logged_and_says_no(caplog: pytest.LogCaptureFixture) -> None:
    fetch = circuit("status", failure_if=raising)(lambda: "fine")
    assert fetch() == "fine"
    assert ended(registry["status"]) == (1, 0, 0)
    assert "failure_if" in caplog.text


def test_an_answer_without_a_truth_value_is_logged_and_taken_as_no(caplog: pytest.LogCaptureFixture) -> None:
    class Array:
        def __bool__(self) -> bool:
            raise ValueError("ambiguous")

    assert judged(OSError(), exclude=lambda _: Array()) is FAILURE
    assert "exclude" in caplog.text


@pytest.mark.parametrize("exclude", [raising, MoodyError], ids=["predicate", "metaclass"])
def test_a_probe_gives_its_slot_back_whatever_the_judging_raises(
    make_breaker: Callable[..., CircuitBreaker], clock: Any, fail: Callable[..., None], exclude: Any
) -> None:
    """The call's own exception comes out, it is a failure, and no slot leaks."""
    breaker = make_breaker(exclude=exclude, half_open_max_calls=1)
    fail(breaker, 3)
    clock.advance(10)
    with pytest.raises(ZeroDivisionError):
        breaker.call(lambda: 1 / 0)
    assert breaker.state == "open"
    assert breaker.metrics().failures == 4


# -- Whose judgement -----------------------------------------------------------------------------------


def test_two_functions_on_one_breaker_may_judge_differently() -> None:
    @circuit("shared", exclude=OSError)
    def lenient() -> None:
        raise OSError

    @circuit("shared")
    def strict() -> None:
        raise OSError

    for fetch in (lenient, strict, lenient):
        with pytest.raises(OSError):
            fetch()
    assert ended(registry["shared"]) == (0, 1, 2)


def test_the_judgement_of_the_breaker_is_the_default() -> None:
    registry.get_or_create("shared", CircuitBreakerConfig(exclude=OSError, exclude_as="success"))

    @circuit("shared")
    def default() -> None:
        raise OSError

    @circuit("shared", exclude=ValueError)
    def own() -> None:
        raise OSError

    for fetch in (default, own):
        with pytest.raises(OSError):
            fetch()
    assert ended(registry["shared"]) == (1, 1, 0)


def test_the_judgement_of_the_breaker_holds_for_functions_that_were_decorated_before() -> None:
    """Like its numbers: settings are of who comes first with any, and need not come first of all."""

    @circuit("shared")
    def early() -> None:
        raise OSError

    registry.get_or_create("shared", CircuitBreakerConfig(exclude=OSError))
    with pytest.raises(OSError):
        early()
    assert ended(registry["shared"]) == (0, 0, 1)


def test_failure_if_comes_too_late_for_a_breaker_that_exists() -> None:
    """What was decorated before doesn't look at its results."""
    early = circuit("shared")(lambda: 500)
    with pytest.raises(ConfigurationError, match=r"'shared' exists already.* failure_if="):
        registry.get_or_create("shared", CircuitBreakerConfig(failure_if=lambda status: status >= 500))
    assert early() == 500
    assert ended(registry["shared"]) == (1, 0, 0)


def test_a_decoration_may_take_back_what_its_breaker_excludes() -> None:
    registry.get_or_create("shared", CircuitBreakerConfig(exclude=OSError))

    @circuit("shared", exclude=None)
    def strict() -> None:
        raise OSError

    with pytest.raises(OSError):
        strict()
    assert ended(registry["shared"]) == (0, 1, 0)


def test_an_async_predicate_is_refused_at_decoration() -> None:
    async def predicate(_: object) -> bool:
        return True

    for field in ("include", "exclude", "failure_if"):
        with pytest.raises(ConfigurationError, match=f"{field}=.* is not allowed"):
            circuit("refused", **{field: predicate})(lambda: None)  # type: ignore[call-overload]


def test_a_block_is_judged_by_its_breaker(make_breaker: Callable[..., CircuitBreaker]) -> None:
    breaker = make_breaker(include=OSError)
    for error in (OSError(), ValueError()):
        with pytest.raises(type(error)), breaker:
            raise error
    assert ended(breaker) == (0, 1, 1)
