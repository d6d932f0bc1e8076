"""What runs under chaos have brought to light."""

from __future__ import annotations

import sys
from types import ModuleType

import anyio
import pytest

from circuitry.events import in_event_loop, waker


@pytest.fixture(params=["asyncio", "trio"])
def just_being_imported(request, monkeypatch):
    """Another thread imports it, and has just begun."""
    monkeypatch.setitem(sys.modules, request.param, ModuleType(request.param))
    monkeypatch.delitem(sys.modules, f"{request.param}.lowlevel", raising=False)


@pytest.mark.usefixtures("just_being_imported")
def test_while_an_event_loop_is_imported_in_another_thread_none_runs_in_this_one():
    assert not in_event_loop()


def test_a_caller_on_asyncio_is_woken_while_another_thread_imports_trio(monkeypatch):
    async def wait() -> None:
        monkeypatch.setitem(sys.modules, "trio", ModuleType("trio"))
        monkeypatch.delitem(sys.modules, "trio.lowlevel", raising=False)
        assert in_event_loop()
        woken = anyio.Event()
        waker(woken.set)()
        with anyio.fail_after(5):
            await woken.wait()

    anyio.run(wait, backend="asyncio")
