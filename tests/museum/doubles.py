"""`Naive`: the circuit breaker of the textbook, to be broken one method at a time."""

from __future__ import annotations

import contextlib
import functools
import inspect
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Literal

from circuitry import CircuitOpenError


class Ticket:
    """Leave to make one call."""

    def __init__(self, breaker: Naive, admission: Any) -> None:
        self.breaker, self.admission = breaker, admission

    def success(self) -> None:
        self.breaker.ended(self.admission, None)

    def failure(self, error: BaseException | None = None) -> None:
        self.breaker.ended(self.admission, error or OSError("down"))

    def release(self) -> None:
        self.breaker.ended(self.admission, GeneratorExit())


class Naive:
    """Right where one caller at a time makes plain calls that always end: no more is asked of it."""

    def __init__(
        self,
        name: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        failure_threshold: Any = 3,
        success_threshold: Any = 1,
        timeout_duration: Any = 10.0,
        half_open_max_calls: Any = 1,
        exclude: tuple[type[BaseException], ...] = (),
        **_ignored: Any,
    ) -> None:
        self.name, self.clock, self.exclude = name, clock, exclude
        self.failure_threshold, self.success_threshold = failure_threshold, success_threshold
        self.timeout_duration, self.half_open_max_calls = timeout_duration, half_open_max_calls
        self.listeners: list[Callable[[Any], object]] = []
        self.blocks: list[Any] = []
        self.state, self.generation, self.opened, self.deadline = "closed", 0, 0, 0.0
        self.last_failure: str | None = None
        self.enter("closed")

    # -- The machine -------------------------------------------------------------------------------

    def enter(self, state: str) -> None:
        old, self.state = self.state, state
        self.generation += 1
        self.failure_count = self.success_count = self.in_flight = 0
        if state == "open":
            self.opened += 1
            self.deadline = self.clock() + self.timeout_duration
        if state != old:
            self.tell(SimpleNamespace(old_state=old, new_state=state))

    def tell(self, event: Any) -> None:
        for listener in self.listeners:
            listener(event)

    def admit(self) -> Any:
        if self.state == "open" and self.clock() >= self.deadline:
            self.enter("half_open")
        if self.state == "open" or (self.state == "half_open" and self.is_full()):
            raise self.rejection()
        self.in_flight += 1
        return self.generation

    def is_full(self) -> bool:
        return self.in_flight >= self.half_open_max_calls

    def rejection(self) -> Exception:
        left = max(self.deadline - self.clock(), 0.0)
        return CircuitOpenError(self.name, self.state, left, self.last_failure)

    def ended(self, admission: Any, error: BaseException | None) -> None:
        if admission != self.generation:
            return
        self.in_flight -= 1
        if error is None:
            self.succeeded()
        elif self.is_failure(error):
            self.last_failure = f"{type(error).__name__}: {error}"
            self.failed()
        else:
            self.ignored(error)

    def is_failure(self, error: BaseException) -> bool:
        return isinstance(error, Exception) and not isinstance(error, self.exclude)

    def succeeded(self) -> None:
        self.failure_count = 0
        self.success_count += self.state == "half_open"
        if self.state == "half_open" and self.success_count >= self.success_threshold:
            self.enter("closed")

    def failed(self) -> None:
        self.failure_count += 1
        if self.state == "half_open" or self.failure_count >= self.failure_threshold:
            self.enter("open")

    def ignored(self, error: BaseException) -> None:
        """It says nothing."""

    # -- Its faces -----------------------------------------------------------------------------------

    def is_async(self, fn: Callable[..., Any]) -> bool:
        return inspect.iscoroutinefunction(fn)

    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fn, updated=())
        def guarded(*args: Any, **kwargs: Any) -> Any:
            admission = self.admit()
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:
                self.ended(admission, error)
                raise
            self.ended(admission, None)
            return result

        @functools.wraps(fn, updated=())
        async def guarded_async(*args: Any, **kwargs: Any) -> Any:
            admission = self.admit()
            try:
                result = await fn(*args, **kwargs)
            except BaseException as error:
                self.ended(admission, error)
                raise
            self.ended(admission, None)
            return result

        return guarded_async if self.is_async(fn) else guarded

    def call(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self(fn)(*args, **kwargs)

    def acquire(self) -> Ticket:
        return Ticket(self, self.admit())

    async def acquire_async(self) -> Ticket:
        return self.acquire()

    def __enter__(self) -> Naive:
        self.blocks.append(self.admit())
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> Literal[False]:
        self.ended(self.blocks.pop(), error)
        return False

    async def __aenter__(self) -> Naive:
        return self.__enter__()

    async def __aexit__(self, *details: Any) -> Literal[False]:
        return self.__exit__(*details)

    def on_transition(self, listener: Callable[[Any], object]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    def metrics(self) -> Any:
        return SimpleNamespace(
            state=self.state,
            failure_count=self.failure_count,
            success_count=self.success_count,
            half_open_calls=self.in_flight if self.state == "half_open" else 0,
            opened=self.opened,
        )

    def reset(self) -> None:
        self.enter("closed")


class Stateless(Naive):
    """Asks no result which generation admitted it: the mother of all late-result bugs."""

    def ended(self, admission: Any, error: BaseException | None) -> None:
        super().ended(self.generation, error)


class ForLoop(Naive):
    """Goes through the items in a loop, past everything else a generator can do."""

    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        def guarded() -> Any:
            with self:
                for item in fn():  # noqa: UP028 - the defect
                    yield item

        async def guarded_async() -> Any:
            with self:
                async with contextlib.aclosing(fn()) as items:
                    async for item in items:
                        yield item

        return guarded_async if inspect.isasyncgenfunction(fn) else guarded


class Latch:
    """A lock that says "deadlock" where the real one would wait for its own thread for ever."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner: int | None = None

    def __enter__(self) -> None:
        assert self._owner != threading.get_ident(), "deadlock"
        self._lock.acquire()
        self._owner = threading.get_ident()

    def __exit__(self, *details: object) -> None:
        self._owner = None
        self._lock.release()
