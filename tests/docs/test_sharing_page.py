"""What docs/howto/sharing.md says of rights, keys, events and defaults is what the code does."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest

from circuitry.redis import RedisStore, Report
from circuitry.redis.health import Report as Told
from circuitry.redis.keys import PREFIX, Naming
from circuitry.redis.script import LONGEST_LEASE, MEMBER_RIGHTS, OBSERVER_RIGHTS

pytestmark = pytest.mark.core


@pytest.fixture
def sharing(pages: Any) -> Any:
    return pages["docs/howto/sharing.md"]


@pytest.mark.parametrize(("title", "rights"), [("member", MEMBER_RIGHTS), ("observer", OBSERVER_RIGHTS)])
def test_the_lists_of_rights_are_those_that_are_tested(sharing: Any, title: str, rights: str) -> None:
    [text] = [block.text for block in sharing.blocks if block.title == title]
    assert text.split()[:5] == ["ACL", "SETUSER", text.split()[2], "on", ">secret"]
    assert text.split()[5:] == rights.format(prefix=PREFIX).split()


def test_the_table_of_keys_names_each(sharing: Any) -> None:
    shown = re.findall(r"^\| `(circuit:netflix:\w+)` \|", sharing.text, re.MULTILINE)
    assert shown == list(Naming().keys("netflix"))
    assert f"`{Naming().channel(0)}`" in sharing.text


def test_the_table_of_events_names_each(sharing: Any) -> None:
    rows = " ".join(re.findall(r"^\| (`[^|]+`) \| [^|]+ \|$", sharing.text, re.MULTILINE))
    assert Report is Told
    known = re.findall(r'"(\w+)"', (Told.__doc__ or "").replace("\n", " "))
    assert set(known) <= set(re.findall(r"`(\w+)`", rows))


def test_numbers_that_are_told_are_the_defaults(sharing: Any) -> None:
    given = {name: one.default for name, one in inspect.signature(RedisStore).parameters.items()}
    assert given["redis_timeout"] * 1000 == 50
    assert "at most `redis_timeout` (50 ms)" in sharing.text
    assert given["check_period"] == 10
    assert "up to `check_period`: 10 s" in sharing.text
    assert f"it lasts {LONGEST_LEASE:.0f} s, or `probe_timeout`" in sharing.text
