"""Names and errors take any text that there is."""

from __future__ import annotations

import pickle
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuitry import CircuitBreaker, CircuitOpenError, CircuitState, ConfigurationError, TooManyCallsError

pytestmark = pytest.mark.core

names = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1)
waits = st.floats(min_value=0, allow_infinity=False)


@given(names)
def test_a_name_is_any_text_without_control_characters(name):
    breaker = CircuitBreaker(name)
    assert breaker.name == breaker.metrics().name == name
    assert repr(name) in repr(breaker)


@given(st.text(), st.characters(categories=["Cc", "Cs"]), st.text())
def test_and_no_other(before, control, after):
    assert unicodedata.category(control) in ("Cc", "Cs")
    with pytest.raises(ConfigurationError, match="name="):
        CircuitBreaker(before + control + after)


@given(st.sampled_from([CircuitOpenError, TooManyCallsError]), names, waits, st.none() | st.text())
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_rejection_pickles_unchanged(protocol, kind, name, wait, cause):
    error = kind(name, CircuitState.OPEN, wait, cause)
    again = pickle.loads(pickle.dumps(error, protocol))
    assert type(again) is kind
    assert again.args == error.args == (name, CircuitState.OPEN, wait, cause)
    assert again.state is CircuitState.OPEN
    assert str(again) == str(error)
    assert (again.circuit_name, again.retry_after, again.last_failure) == (name, wait, cause)
