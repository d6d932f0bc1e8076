"""`CircuitBreaker`: the faces of one breaker. It is called, it decorates, it is a block."""

from __future__ import annotations

import time
from collections.abc import Callable
from sys import _getframe as calling_frame
from types import FrameType
from typing import Any, Literal, ParamSpec, TypeVar, Unpack

from circuitry.blocks import Blocks, BlockType, Held, Nested, frame_of
from circuitry.breaker import Breaker
from circuitry.checks import check_fields, refuse
from circuitry.config import DEFAULT, CircuitBreakerConfig
from circuitry.decorate import F, decorate
from circuitry.fallback import Fallback
from circuitry.gate import LOCAL
from circuitry.guards import Terms, guard
from circuitry.judging import Judge, result_test
from circuitry.machine import Admission
from circuitry.permit import Permit
from circuitry.settings import BREAKER, BreakerSettings, Store, check_store, config_of, stand_in_of

P = ParamSpec("P")
R = TypeVar("R")


class CircuitBreaker(Breaker, metaclass=BlockType):
    """A circuit breaker of one's own; `circuit(name)` gives the registered ones.

    Args:
        name: any text that isn't empty and has no control characters.
        config: the settings; or `preset=` by name. Fields of `CircuitBreakerConfig` given beside
            override them. The default is the preset `platform_api`.
        fallback: stands in for what this breaker rejects, for functions that have none of
            their own; or `fallback_value`; and `fallback_on` (exception types) for failures too.
        clock: a callable that returns monotonic seconds.
        store: where a fleet keeps its verdict; None for a breaker on its own.

    Safe to use from any number of threads and tasks, under asyncio and trio, at once.

    Raises:
        ConfigurationError: a setting isn't allowed; the message names it, its value and what is.
    """

    __slots__ = ("_blocks", "fallback", "store", "used")

    fallback: Fallback | None
    #: Where its fleet keeps the verdict; None for a breaker on its own.
    store: Store | None
    #: When a family last used it, in the family's own count.
    used: int

    def __init__(
        self, name: str, config: CircuitBreakerConfig | None = None, **settings: Unpack[BreakerSettings]
    ) -> None:
        given = {**settings} if config is None else {**settings, "config": config}
        check_fields(given, BREAKER)
        clock = settings.get("clock", time.monotonic)
        if not callable(clock):
            refuse("clock", clock, "a callable that returns monotonic seconds")
        super().__init__(name, config_of(given) or DEFAULT, clock)
        store = settings.get("store")
        self.store = None
        if store is not None:
            self._join(store)
            self._wake()
        self.fallback = stand_in_of(given)
        self.used = 0
        self._blocks: Blocks = {}

    @classmethod
    def with_redis(
        cls, name: str, config: CircuitBreakerConfig | None, client: Any, **settings: Unpack[BreakerSettings]
    ) -> CircuitBreaker:
        """A breaker whose verdict is shared on Redis.

        Args:
            name: the circuit's name, the same in the whole fleet.
            config: the settings, or None.
            client: a URL, a client of redis-py, or a `RedisStore`. One store, and so one link, serves
                all breakers that are given the same.
            **settings: as for `CircuitBreaker`.

        Raises:
            ConfigurationError: a setting isn't allowed.
            ImportError: redis-py isn't installed; the message says how to.
        """
        from circuitry.redis.store import shared_store

        settings["store"] = shared_store(client)
        return cls(name, config, **settings)

    def _join(self, store: Store | None) -> None:
        """Share the verdict by this store from now on; or with nobody."""
        check_store(store)
        if store is not self.store:
            self._share(LOCAL if store is None else store.gate(self))
            self.store = store

    def __repr__(self) -> str:
        return f"<CircuitBreaker {self.name!r}: {self.state}>"

    def __reduce__(self) -> str:
        raise TypeError(
            f"circuit {self.name!r} can't be copied or pickled: it is the state of this process; "
            "name it, circuit(name), where it is used"
        )

    # -- Calling -----------------------------------------------------------------------------------

    def call(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call `fn(*args, **kwargs)` under this circuit.

        Returns:
            For a plain function its result; for an async one an awaitable, rejected when awaited;
            for a generator function a guarded generator.

        Raises:
            CircuitOpenError: the call is rejected.
            TypeError: `fn` can't be guarded.
            Exception: whatever `fn` raises, as it is.
        """
        result: R = guard(fn, self._terms())(*args, **kwargs)
        return result

    def call_with_fallback(
        self, fn: Callable[P, R], fallback: Callable[..., Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """The same, with `fallback(*args, **kwargs)` in place of a rejection."""
        terms = self._terms()._replace(fallback=stand_in_of({"fallback": fallback}))
        result: R = guard(fn, terms)(*args, **kwargs)
        return result

    def __call__(self, fn: F) -> F:
        """Guard a function, coroutine function, generator, method or callable object."""
        return decorate(fn, self._terms(), self)

    def _terms(self) -> Terms:
        return Terms(self, result_failed=result_test(self.judge), fallback=self.fallback)

    # -- Two steps -----------------------------------------------------------------------------------

    def acquire(self) -> Permit:
        """Leave to make one call.

        Returns:
            A permit, on which to call `success()`, `failure(error)` or `release()`, once.

        Raises:
            CircuitOpenError: the call is rejected.
        """
        return Permit(self, self.evidence or self.admit())

    async def acquire_async(self) -> Permit:
        """The same; differs only where a fleet must be asked."""
        return Permit(self, self.evidence or await self.admit_async())

    # -- Blocks --------------------------------------------------------------------------------------

    def __enter__(self) -> CircuitBreaker:
        admission: Admission | None = self.evidence
        if admission is None:
            admission = self._for_blocks().admit()
        frame, blocks = calling_frame(1), self._blocks
        if self.fallback is None and frame not in blocks:
            blocks[frame] = admission
        else:
            self._enter(blocks, frame, admission)
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> Literal[False]:
        frame, blocks = calling_frame(1), self._blocks
        held, evidence = blocks.pop(frame, None), self.evidence
        if error is None and held is evidence and evidence is not None and not evidence.run:
            next(self.count)
            return False
        return self._left(blocks, frame, held, error)

    async def __aenter__(self) -> CircuitBreaker:
        admission: Admission | None = self.evidence
        if admission is None:
            admission = await self._for_blocks().admit_async()
        frame, blocks = calling_frame(1), self._blocks
        if self.fallback is None and frame not in blocks:
            blocks[frame] = admission
        else:
            self._enter(blocks, frame, admission)
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> Literal[False]:
        frame, blocks = calling_frame(1), self._blocks
        held, evidence = blocks.pop(frame, None), self.evidence
        if error is None and held is evidence and evidence is not None and not evidence.run:
            next(self.count)
            return False
        return self._left(blocks, frame, held, error)

    def _for_blocks(self) -> CircuitBreaker:
        """This breaker, unless its code asks for what a block can't have."""
        if self.fallback is not None:
            raise TypeError(
                f"circuit {self.name!r} has a fallback, and nothing could run in place of a block's lines: "
                "decorate a function, or catch CircuitOpenError around the block"
            )
        deadline = self.config.coded_call_timeout
        if deadline is not None:
            raise TypeError(
                f"circuit {self.name!r} has call_timeout={deadline!r}, and a block can't be stopped "
                "from outside: put anyio.fail_after or asyncio.timeout in it, or decorate a function"
            )
        return self

    def _leave(self, frame: FrameType, error: BaseException | None) -> Literal[False]:
        return self._left(self._blocks, frame, self._blocks.pop(frame, None), error)

    def _enter(self, blocks: Blocks, frame: FrameType, admission: Admission) -> None:
        """The beginning of a block in a `frame` that is in one already; or a refusal."""
        self._for_blocks()
        blocks[frame] = Nested(admission, blocks[frame])

    def _left(
        self,
        blocks: Blocks,
        frame: FrameType,
        held: Held | None,
        error: BaseException | None,
        judge: Judge | None = None,
    ) -> Literal[False]:
        """The end of the block that was entered in `frame`, which held `held`."""
        if held is None:
            frame = frame_of(blocks, frame)
            held = blocks.pop(frame)
        if isinstance(held, Nested):
            blocks[frame] = held.outer
            held = held.admission
        if error is not None:
            self.ended(held, error, judge)
        else:
            self.success(held)
        return False
