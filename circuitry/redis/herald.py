"""Who speaks to listeners of what the link has learned: never the link itself.

A listener is somebody else's code and may take its time, and the link has leases to renew. So a thread
does it that is there while there is something to tell, and ends.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable


class Herald:
    """Calls what it is given, in order, one at a time, in a thread of its own."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], object]] = deque()
        self._lock = threading.Lock()
        self._speaking = False

    def tell(self, news: Callable[[], object]) -> None:
        """Call it soon."""
        self._waiting.append(news)
        with self._lock:
            if self._speaking:
                return
            self._speaking = True
        try:
            threading.Thread(target=self._speak, name="circuitry-news", daemon=True).start()
        except RuntimeError:  # the interpreter is ending: no thread can start any more
            self._speak()

    def _speak(self) -> None:
        while news := self._next():
            try:
                news()
            except BaseException:  # what can be logged has been; sys.exit() ends no thread but its own
                pass

    def _next(self) -> Callable[[], object] | None:
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._speaking = False
            return None
