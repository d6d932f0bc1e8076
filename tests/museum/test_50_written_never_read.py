from __future__ import annotations

from typing import Any

import pytest

from .fleets import Fleet, Pooled, key, shared


class NeverReads(Pooled):
    def read(self) -> str:
        return self.state


class WritesAnAge(Pooled):
    def write(self, state: str) -> None:
        super().write(state)
        self.redis.set(key("last_failure"), 0.25)  # seconds since


def exhibit(kind: Any, colour: Any, server: Any) -> None:
    with Fleet(kind, colour, server) as fleet:
        one, other = fleet.members
        one.fail(3)
        fleet.until(lambda: fleet.get("state") == "open", "the state isn't written")
        fleet.until(lambda: other.rejects, "the state is written and never read")
        seconds, _ = fleet.redis.time()
        assert abs(seconds - float(fleet.get("last_failure"))) < 10, "last_failure is no time"


def test_what_one_member_writes_the_others_go_by(colour: Any, redis_server: Any) -> None:
    """The Rust original writes the state and never reads it, and its `last_failure` is an age."""
    exhibit(shared, colour, redis_server)


@pytest.mark.parametrize(("double", "symptom"), [(NeverReads, "never read"), (WritesAnAge, "is no time")])
def test_the_faulty_double_is_caught(colour: Any, redis_server: Any, double: Any, symptom: str) -> None:
    with pytest.raises(AssertionError, match=symptom):
        exhibit(double, colour, redis_server)
