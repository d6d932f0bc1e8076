"""A thread that works for an object and doesn't keep it alive: it ends with it, or when it is told to."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import NamedTuple, Protocol


class Pause(NamedTuple):
    """Until the next turn: seconds, and whether a `poke` shortens them."""

    seconds: float
    can_be_shortened: bool


class Owner(Protocol):
    """Whose work is done."""

    def _turn(self, *, is_last: bool) -> Pause:
        """Do what is to be done now. It raises nothing."""
        ...


class Background:
    """The thread of one owner. It runs from `start` on; nothing here waits but `wait` and `join`."""

    def __init__(self, owner: Owner, name: str) -> None:
        self._owner = weakref.ref(owner)
        self._name = name
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._turned = threading.Condition()
        self._news = threading.Event()
        self._over = threading.Event()
        weakref.finalize(owner, self.stop).atexit = False

    @property
    def is_stopped(self) -> bool:
        """Whether it was told to end."""
        return self._over.is_set()

    def start(self) -> None:
        """Let it run, unless it does or has been told to end."""
        with self._lock:
            if self._thread is None and not self.is_stopped:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def poke(self) -> None:
        """There is something to do."""
        self._news.set()
        if self._thread is None:
            self.start()

    def stop(self) -> None:
        """Take one last turn, and end."""
        self._over.set()
        self._news.set()

    def join(self, timeout: float) -> None:
        """Wait for its end, for so many seconds at most."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def wait(self, is_so: Callable[[], bool], timeout: float) -> bool:
        """Wait until something holds after a turn, for so many seconds at most; whether it does."""
        with self._turned:
            return self._turned.wait_for(is_so, timeout)

    def _run(self) -> None:
        is_last = False
        while not is_last:
            self._news.clear()
            is_last = self.is_stopped
            owner = self._owner()
            if owner is None:
                return
            pause = owner._turn(is_last=is_last)
            del owner
            with self._turned:
                self._turned.notify_all()
            if not is_last:
                (self._news if pause.can_be_shortened else self._over).wait(pause.seconds)
