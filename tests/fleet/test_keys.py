"""What the keys of a shared circuit are called."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuitry import ConfigurationError
from circuitry.redis.keys import Keys, Naming

pytestmark = pytest.mark.core

#: Everything that `check_name` accepts, and much that has a meaning in keys.
names = st.one_of(
    st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=8),
    st.text("{}:*a", min_size=1, max_size=8),
)
KINDS = ["state", "failures", "last_failure", "meta", "probes", "peers", "history", "windows"]


def slot_text(key: str) -> str:
    """What a Redis Cluster picks the slot by, from its specification."""
    start = key.find("{")
    end = key.find("}", start + 1)
    return key[start + 1 : end] if start >= 0 and end > start + 1 else key


def test_keys_are_those_of_the_contract():
    keys = Naming().keys("netflix")
    assert keys == tuple(f"circuit:netflix:{kind}" for kind in KINDS)
    assert Keys._fields == tuple(KINDS)


def test_in_a_cluster_the_name_stands_in_braces():
    keys = Naming(hash_tag=True).keys("netflix")
    assert keys == tuple(f"circuit:{{netflix}}:{kind}" for kind in KINDS)
    assert Naming().tagged() == Naming(hash_tag=True)


def test_the_prefix_is_a_setting():
    naming = Naming("shop:cb/")
    assert naming.keys("netflix").state == "shop:cb/netflix:state"
    assert naming.channel(3) == "shop:cb/events:3"


def test_each_database_has_its_channel():
    assert Naming().channel(0) == "circuit:events:0"
    assert Naming().channel(15) == "circuit:events:15"


@pytest.mark.parametrize("hash_tag", [False, True])
@pytest.mark.parametrize("name", ["", "a\nb", "\x7f", "\ud800", 7, None])
def test_a_name_without_text_or_with_control_characters_is_refused(name, hash_tag):
    with pytest.raises(ConfigurationError, match="name="):
        Naming(hash_tag=hash_tag).keys(name)


def test_in_braces_no_name_starts_with_a_closing_one():
    """Redis would take the empty text between the braces for no tag at all."""
    with pytest.raises(ConfigurationError, match=r"name='}x' is not allowed.*'}'"):
        Naming(hash_tag=True).keys("}x")
    assert Naming().keys("}x").state == "circuit:}x:state"


@pytest.mark.parametrize("prefix", ["", "a\tb", None, 5])
def test_a_prefix_without_text_or_with_control_characters_is_refused(prefix):
    with pytest.raises(ConfigurationError, match="prefix="):
        Naming(prefix)


def test_in_a_cluster_the_prefix_has_no_empty_braces():
    with pytest.raises(ConfigurationError, match=r"prefix='\{\}:'"):
        Naming("{}:", hash_tag=True)
    assert Naming("{}:").keys("a").state == "{}:a:state"


@given(names, st.sampled_from(["circuit:", "{app}:", "a{", "}", "x:"]))
def test_in_a_cluster_all_keys_of_a_circuit_share_a_slot(name, prefix):
    if not name.startswith("}"):
        keys = Naming(prefix, hash_tag=True).keys(name)
        assert len({slot_text(key) for key in keys}) == 1


@given(names, names, st.booleans())
def test_no_two_names_share_a_key(one, other, hash_tag):
    naming = Naming(hash_tag=hash_tag)
    if one != other and not (hash_tag and "}" in (one[0], other[0])):
        assert not set(naming.keys(one)) & set(naming.keys(other))


@given(names, st.booleans())
def test_a_state_key_tells_the_name(name, hash_tag):
    naming = Naming(hash_tag=hash_tag)
    if not (hash_tag and name.startswith("}")):
        assert naming.name_of(naming.keys(name).state) == name


@pytest.mark.parametrize(
    "key",
    [
        "circuit::state",
        "circuit:state",
        "circuit:a:meta",
        "other:a:state",
        "circuit:{a}:states",
        ":state",
        "",
    ],
)
def test_another_key_tells_no_name(key):
    assert Naming().name_of(key) is None
    assert Naming(hash_tag=True).name_of(key) is None


def test_an_untagged_key_tells_no_name_where_names_are_tagged():
    assert Naming(hash_tag=True).name_of("circuit:a:state") is None


def test_the_pattern_is_a_glob_in_which_the_prefix_means_itself():
    assert Naming().pattern == "circuit:?*:state"
    assert Naming(hash_tag=True).pattern == "circuit:{?*}:state"
    assert Naming("a*[b]?\\^:").pattern == "a\\*\\[b\\]\\?\\\\\\^:?*:state"


def test_the_pattern_finds_the_circuits_of_its_prefix_alone(make_fleet):
    fleet = make_fleet()
    others = [Naming(fleet.naming.prefix[:-1] + end) for end in ("*:", "-x:")]
    for naming, name in itertools.product([fleet.naming, *others], ["a", "b:c", "*", "}"]):
        fleet.client.set(naming.keys(name).state, "closed")
        fleet.client.set(naming.keys(name).failures, "1")
    try:
        for naming in (fleet.naming, *others):
            found = [key.decode() for key in fleet.client.scan_iter(naming.pattern, count=1000)]
            assert sorted(map(naming.name_of, found)) == ["*", "a", "b:c", "}"]
    finally:
        for naming in others:
            for name in ["a", "b:c", "*", "}"]:
                fleet.client.delete(*naming.keys(name))


def test_importing_it_loads_no_client_library():
    code = (
        "import sys, circuitry.redis.keys, circuitry.redis.script, circuitry.redis.views\n"
        "assert not {'redis', 'valkey', 'anyio'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
