"""Leave to make one call, as an object: for two-step use, and for what outlives its call."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Literal

from circuitry.breaker import Breaker
from circuitry.judging import Judge
from circuitry.machine import Admission


class Permit:
    """Leave to make one call, from `breaker.acquire()`.

    Say exactly once how the call ended: `success()`, `failure()` or `release()`. A permit that is
    dropped without a word counts as released. Any thread or task may resolve it.

    As a context manager it resolves itself: success if the block ends, what the breaker makes of
    the exception if it doesn't; unless the block has resolved it.
    """

    __slots__ = ("_admission", "_breaker")

    def __init__(self, breaker: Breaker, admission: Admission) -> None:
        self._breaker = breaker
        self._admission = [admission]  # popped by who resolves it: `list.pop` is atomic

    def take(self) -> Admission:
        """What the machine gave, for somebody who sees to the outcome himself.

        Raises:
            RuntimeError: the permit is resolved already.
        """
        try:
            return self._admission.pop()
        except IndexError:
            raise RuntimeError(f"this permit of circuit {self._breaker.name!r} is resolved already") from None

    @property
    def resolved(self) -> bool:
        """Whether the outcome has been said."""
        return not self._admission

    def success(self) -> None:
        """The call has succeeded.

        Raises:
            RuntimeError: the permit is resolved already.
        """
        self._breaker.success(self.take())

    def failure(self, error: BaseException | None = None) -> None:
        """The call has failed; `error` is what `last_failure` may tell of it.

        Raises:
            RuntimeError: the permit is resolved already.
        """
        self._breaker.failure(self.take(), error)

    def release(self) -> None:
        """The call says nothing about the dependency, or wasn't made: counted as ignored.

        Raises:
            RuntimeError: the permit is resolved already.
        """
        self._breaker.ignore(self.take())

    def ended(self, error: BaseException, judge: Judge | None) -> None:
        """The call has raised `error`: what `judge` makes of it.

        Raises:
            RuntimeError: the permit is resolved already.
        """
        self._breaker.ended(self.take(), error, judge)

    def __enter__(self) -> Permit:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> Literal[False]:
        if self.resolved:
            return False
        if error is None:
            self.success()
        else:
            self.ended(error, None)
        return False

    def __del__(self) -> None:
        # May run in a thread that holds the breaker's lock: `ignore` takes none.
        if self._admission:
            self._breaker.ignore(self._admission.pop())

    def __repr__(self) -> str:
        return f"<Permit of circuit {self._breaker.name!r}{', resolved' if self.resolved else ''}>"


class Admitted:
    """A breaker as its guards see it, with one call admitted already: by a permit."""

    def __init__(self, permit: Permit, result: Any) -> None:
        self._permit = permit
        self._close = result.close if isinstance(result, Coroutine) else None

    @property
    def evidence(self) -> Admission:
        """The permit's admission: it goes over to the guard, which sees to the outcome."""
        return self._permit.take()

    def __del__(self) -> None:
        # The guard was closed before it began: then what it stands for is closed, as it would be alone.
        if self._close is not None and not self._permit.resolved:
            self._close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._permit._breaker, name)
