"""What settings may be."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import strategies as st

from circuitry.config import INITIAL_STATES

counts = st.integers(1, 10**6)
seconds = st.floats(min_value=1e-6, max_value=1e9) | st.integers(1, 10**9)
durations = seconds | st.timedeltas(timedelta(microseconds=1), timedelta(days=10**4))

#: What an operator can say too, in a file or in the environment.
texts = {
    "failure_threshold": counts,
    "success_threshold": counts,
    "timeout_duration": seconds,
    "half_open_max_calls": counts,
    "ramp_up": seconds,
    "probe_timeout": seconds,
    "initial_state": st.sampled_from(INITIAL_STATES),
}
tables = st.fixed_dictionaries({}, optional=texts)

settings = st.fixed_dictionaries(
    {},
    optional={
        **texts,
        "timeout_duration": durations,
        "ramp_up": st.none() | durations,
        "probe_timeout": st.none() | durations,
        "include": st.sampled_from([None, OSError, (OSError, ValueError)]),
        "exclude": st.sampled_from([None, KeyError, (KeyError, IndexError)]),
        "exclude_as": st.sampled_from(["ignored", "success"]),
        "failure_if": st.sampled_from([None, bool]),
        "describe_failure": st.sampled_from([None, str, repr]),
    },
)
