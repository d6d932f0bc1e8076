"""Locks, also in a forked child: whoever held one doesn't exist there."""

from __future__ import annotations

import os
import weakref
from threading import RLock
from typing import Any


class LockHolder:
    """Something with a lock, which is a new one in a forked child.

    The lock knows its owner, for the garbage collector may run somebody's code in the midst of a step.
    """

    __slots__ = ("__weakref__", "_lock")

    def __init__(self) -> None:
        self._lock: Any = RLock()

    def _rearm(self) -> None:
        self._lock = RLock()

    def _is_stepping(self) -> bool:
        """Whether this very thread holds the lock: then this is a finalizer, and must leave all as it is."""
        owned: bool = self._lock._is_owned()
        return owned


_holders: weakref.WeakSet[LockHolder] = weakref.WeakSet()


def rearm_after_fork(holder: LockHolder) -> None:
    """See to the lock of something that is wholly made."""
    _holders.add(holder)


def holders() -> list[LockHolder]:
    """All that somebody still holds."""
    while True:
        try:
            return list(_holders)
        except RuntimeError:  # another thread has just made one
            pass


def _rearm_all() -> None:
    for holder in holders():
        holder._rearm()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_rearm_all)
