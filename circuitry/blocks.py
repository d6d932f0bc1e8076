"""`with` and `async with`: which permit belongs to which block.

One breaker serves blocks that are nested, concurrent in threads and tasks, and interleaved in
generators. What tells them apart is the frame they stand in: a block is entered and left by the
same frame, and the blocks of one frame are nested. So permits are kept by frame.

`ExitStack` enters a block in one frame and leaves it in another. But it takes `__exit__` from the
*class*, in the frame that enters, while a `with` statement looks past it: hence the property of
the metaclass, which hands out an exit that remembers that frame.

Who calls `__enter__` and `__exit__` by hand in two methods of an object, is known by the object.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, NamedTuple, TypeAlias

from circuitry.machine import Admission


class Nested(NamedTuple):
    """The innermost admission of a frame, and what is around it."""

    admission: Admission
    outer: Held


#: What a frame holds: the admission of its one block, or of the innermost of several.
Held: TypeAlias = "Admission | Nested"
Blocks: TypeAlias = dict[FrameType, Held]


class BlockType(type):
    """The class of a class whose objects are blocks."""

    @property
    def __exit__(cls) -> Callable[..., bool]:  # noqa: PLE0302 - a property of the class, no method of it
        frame = sys._getframe(1)

        def leave(breaker: Any, kind: object, error: BaseException | None, traceback: object) -> bool:
            left: bool = breaker._leave(frame, error)
            return left

        return leave

    @property
    def __aexit__(cls) -> Callable[..., Any]:  # noqa: PLE0302
        frame = sys._getframe(1)

        async def leave(breaker: Any, kind: object, error: BaseException | None, traceback: object) -> bool:
            left: bool = breaker._leave(frame, error)
            return left

        return leave


def frame_of(blocks: Blocks, leaving: FrameType) -> FrameType:
    """The frame whose block ends when another frame than it leaves one.

    It is the only one, or the latest that entered for the same object as `leaving` leaves for.

    Raises:
        RuntimeError: it can't be told.
    """
    entered = list(blocks)
    if len(entered) == 1:
        return entered[0]
    owner = _owner(leaving)
    for frame in reversed(entered):
        if owner is not None and _owner(frame) is owner:
            return frame
    raise RuntimeError(
        "this block was entered somewhere else, and which permit it holds can't be told: use "
        "`with circuit(name):`, which is an object of its own, or breaker.acquire()"
    )


def _owner(frame: FrameType) -> object:
    """The object whose method runs in a frame: its first argument."""
    code = frame.f_code
    return frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None
