"""What the keys of a shared circuit are called.

A circuit `netflix` keeps its state under `circuit:netflix:state`, and seven more keys beside it. The
name is always what stands between the prefix and the last part, so no two names share a key. A
Redis Cluster wants all keys of a circuit in one slot, which it picks by the text between the first
`{` and the next `}`: there the name stands in braces, `circuit:{netflix}:state`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

from circuitry.checks import check_name, is_unnameable, refuse

PREFIX = "circuit:"


class Keys(NamedTuple):
    """The keys of one circuit, in the order in which the script takes them.

    The first three are for everybody to read; the rest belongs to the protocol.
    """

    state: str  # "closed", "open" or "half_open": the truth
    failures: str  # the streak of failures, an integer
    last_failure: str  # when the last one was, in unix seconds of the server's clock
    meta: str  # a hash: version, epoch, deadline, mode, cause, ...
    probes: str  # a sorted set: token -> end of its lease
    peers: str  # a sorted set: member -> end of its presence
    history: str  # a list: the last transitions, oldest first
    windows: str  # a hash: member -> what its windows hold, while something in them is bad


@dataclass(frozen=True)
class Naming:
    """How names become keys.

    Args:
        prefix: what all keys and the channel begin with.
        hash_tag: put the name in braces, as a Redis Cluster needs it.

    Raises:
        ConfigurationError: the prefix isn't a text, is empty or has control characters; or it
            holds `{}`, with `hash_tag`, so that keys of one circuit would lie in different slots.
    """

    prefix: str = PREFIX
    hash_tag: bool = False

    def __post_init__(self) -> None:
        _check_prefix(self.prefix, self.hash_tag)

    def keys(self, name: str) -> Keys:
        """The keys of the circuit of this name.

        Raises:
            ConfigurationError: the name is empty, has control characters, or starts with `}`
                although it is to stand in braces.
        """
        check_name(name)
        if self.hash_tag and name.startswith("}"):
            refuse("name", name, "a text that doesn't start with '}', for it is put in braces")
        stem = f"{self.prefix}{{{name}}}" if self.hash_tag else f"{self.prefix}{name}"
        return Keys(*(f"{stem}:{kind}" for kind in Keys._fields))

    def channel(self, db: int) -> str:
        """Where changes are published: pub/sub knows nothing of databases, so each has its own."""
        return f"{self.prefix}events:{db}"

    @property
    def pattern(self) -> str:
        """Matches the state keys of all circuits, as a glob for SCAN."""
        literal = "".join(f"\\{char}" if char in "*?[]^\\" else char for char in self.prefix)
        return literal + ("{?*}:state" if self.hash_tag else "?*:state")

    def name_of(self, state_key: str) -> str | None:
        """The name of the circuit whose state is under this key; None if it isn't such a key."""
        before, after = (self.prefix + "{", "}:state") if self.hash_tag else (self.prefix, ":state")
        name = state_key[len(before) : -len(after)]
        return name if name and state_key == before + name + after else None

    def tagged(self) -> Naming:
        """The same, for a Redis Cluster."""
        return dataclasses.replace(self, hash_tag=True)


def _check_prefix(prefix: object, hash_tag: bool) -> None:
    if not isinstance(prefix, str) or not prefix or any(map(is_unnameable, prefix)):
        refuse("prefix", prefix, "a text that isn't empty and has no control characters")
    if hash_tag and "{}" in prefix:
        refuse("prefix", prefix, "a text without '{}', as keys of a Redis Cluster")
