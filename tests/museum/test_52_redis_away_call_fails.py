from __future__ import annotations

from typing import Any

import pytest

from .fleets import Fleet, Pooled, shared


class NeedsRedis(Pooled):
    """Asks Redis at each call, and has no answer of its own."""

    patience = 0.1


def exhibit(kind: Any, colour: Any, server: Any, harm: str) -> None:
    with Fleet(kind, colour, server, 1) as fleet:
        (member,) = fleet.members
        done: list[str] = []
        getattr(server, harm)()
        for _ in range(3):
            try:
                member.call(lambda: done.append("done"))
            except Exception as error:
                raise AssertionError(f"the protected call fails: {error!r}") from error
        assert len(done) == 3


@pytest.mark.parametrize("harm", ["stop", "freeze"])
def test_a_call_goes_out_though_redis_is_away(colour: Any, frail_server: Any, harm: str) -> None:
    """With purgatory, asyncbreaker, lasier, circuit-breaker-box and c-breaker it fails by Redis."""
    exhibit(shared, colour, frail_server, harm)


@pytest.mark.parametrize("harm", ["stop", "freeze"])
def test_the_faulty_double_is_caught(colour: Any, frail_server: Any, harm: str) -> None:
    with pytest.raises(AssertionError, match="the protected call fails"):
        exhibit(NeedsRedis, colour, frail_server, harm)
