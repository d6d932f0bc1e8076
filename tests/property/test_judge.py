"""What counts as a failure, for every shape of exception group."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuitry import CircuitBreaker, CircuitBreakerConfig, CircuitOpenError
from circuitry.judging import Judge
from circuitry.states import Outcome

pytestmark = pytest.mark.core

FAILURE, IGNORED, SUCCESS = Outcome.FAILURE, Outcome.IGNORED, Outcome.SUCCESS

exceptions = st.sampled_from([OSError, TimeoutError, ValueError, KeyError]).map(lambda kind: kind("down"))
groups = partial(st.builds, ExceptionGroup, st.just("several"))
errors = st.recursive(exceptions, lambda inner: groups(st.lists(inner, min_size=1, max_size=3)))
kinds = st.lists(st.sampled_from([OSError, TimeoutError, ValueError, LookupError]), min_size=1).map(tuple)


def leaves(error):
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves(inner)]
    return [error]


@given(errors, kinds)
def test_a_group_is_excluded_if_all_its_leaves_are(error, exclude):
    judge = Judge(CircuitBreakerConfig(exclude=exclude))
    excluded = all(isinstance(leaf, exclude) for leaf in leaves(error))
    assert judge.error(error) is (IGNORED if excluded else FAILURE)


@given(errors, kinds)
def test_a_group_is_a_failure_if_one_leaf_is_included(error, include):
    judge = Judge(CircuitBreakerConfig(include=include))
    included = any(isinstance(leaf, include) for leaf in leaves(error))
    assert judge.error(error) is (FAILURE if included else IGNORED)


@given(errors, kinds, kinds)
def test_what_is_excluded_goes_before_what_is_included(error, include, exclude):
    judge = Judge(CircuitBreakerConfig(include=include, exclude=exclude, exclude_as="success"))
    fails = any(isinstance(leaf, include) and not isinstance(leaf, exclude) for leaf in leaves(error))
    assert judge.error(error) is (FAILURE if fails else SUCCESS)


@given(errors, kinds, st.booleans())
def test_a_predicate_of_the_type_judges_like_the_type(error, kinds, excluded):
    name = "exclude" if excluded else "include"
    by_type = Judge(CircuitBreakerConfig(**{name: kinds}))
    by_predicate = Judge(CircuitBreakerConfig(**{name: lambda error: isinstance(error, kinds)}))
    assert by_predicate.error(error) is by_type.error(error)


@given(st.text() | st.text(min_size=190, max_size=250))
def test_the_last_failure_is_the_errors_name_and_text_cut_to_its_length(text):
    breaker = CircuitBreaker("netflix", failure_threshold=1)
    breaker.acquire().failure(ConnectionError(text))
    described = f"ConnectionError: {text}" if text else "ConnectionError"
    with pytest.raises(CircuitOpenError) as rejection:
        breaker.acquire()
    assert rejection.value.last_failure == described[:200]
