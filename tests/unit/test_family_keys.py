"""What chooses a circuit of a family: a function of the call's own arguments, for every kind of callable."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from circuitry import CircuitFamily, CircuitOpenError, circuit, circuit_of, registry

pytestmark = [pytest.mark.core, pytest.mark.usefixtures("fresh")]


def first(key: Any, *_: object, **__: object) -> Any:
    """The usual key function: the first argument."""
    return key


# -- Key functions -------------------------------------------------------------------------------------


def calls(family: CircuitFamily) -> int:
    return sum(one.calls for one in family.metrics().values())


def wrong_key(*_: object) -> object:
    raise KeyError("no such tenant")


@pytest.mark.parametrize(
    ("key", "error"), [(wrong_key, KeyError), (lambda *_: [], TypeError)], ids=["raising", "unhashable"]
)
def test_what_a_key_function_raises_comes_out_and_takes_no_permit(key: Any, error: type[Exception]) -> None:
    run: list[object] = []
    fetch = circuit("shard", key=key, fallback_value="not served")(run.append)
    with pytest.raises(error):
        fetch("x")
    family = circuit_of(fetch, CircuitFamily)
    assert (run, len(family), calls(family)) == ([], 0, 0)


def test_a_key_function_sees_the_arguments_as_they_are() -> None:
    seen: list[object] = []

    def key(*args: object, **kwargs: object) -> int:
        seen.append((args, kwargs))
        return 1

    circuit("shard", key=key)(lambda *args, **kwargs: None)(1, 2, three=3)
    assert seen == [((1, 2), {"three": 3})]


def test_a_key_may_call_the_guarded_function_while_it_is_turned_into_text() -> None:
    """No lock of the family is held while a key's own code runs."""
    fetch = circuit("shard", key=first)(first)

    class Key:
        def __str__(self) -> str:
            return f"key {fetch(5)}"

    worker = threading.Thread(target=fetch, args=(Key(),), daemon=True)
    worker.start()
    worker.join(10)
    assert not worker.is_alive()
    assert {"shard[5]", "shard[key 5]"} == {one.name for one in circuit_of(fetch, CircuitFamily)}


# -- Every kind of callable ----------------------------------------------------------------------------


def plain(key: str) -> str:
    return key


async def coroutine(key: str) -> str:
    return key


def generator(key: str) -> Iterator[str]:
    yield key


async def async_generator(key: str) -> AsyncIterator[str]:
    yield key


async def run(guarded: Callable[..., Any], *args: object) -> object:
    """The result of a call, or all items of its iteration."""
    result = guarded(*args)
    if hasattr(result, "__await__"):
        return await result
    if hasattr(result, "__aiter__"):
        return "".join([item async for item in result])
    return "".join(result)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "kind", [plain, coroutine, generator, async_generator], ids=lambda kind: kind.__name__
)
async def test_every_kind_of_callable_may_have_keys(kind: Callable[..., Any]) -> None:
    guarded = circuit("shard", key=first)(kind)
    family = circuit_of(guarded, CircuitFamily)
    family["sick"].force_open()
    assert await run(guarded, "well") == "well"
    with pytest.raises(CircuitOpenError, match=r"shard\[sick\]"):
        await run(guarded, "sick")
    assert family["well"].metrics().successes == 1
    assert family["sick"].metrics().rejected == 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    "kind", [plain, coroutine, generator, async_generator], ids=lambda kind: kind.__name__
)
async def test_a_key_function_that_raises_raises_for_every_kind(kind: Callable[..., Any]) -> None:
    with pytest.raises(KeyError, match="no such tenant"):
        await run(circuit("shard", key=wrong_key)(kind), "x")


def test_the_key_of_a_method_sees_self_first() -> None:
    class Client:
        def __init__(self, region: str) -> None:
            self.region = region

        @circuit("client", key=lambda self, *_: self.region)
        def fetch(self, title: str) -> str:
            return title

        @circuit("class", key=lambda cls, title: (cls.__name__, title))
        @classmethod
        def of_class(cls, title: str) -> str:
            return title

        @circuit("static", key=first)
        @staticmethod
        def static(title: str) -> str:
            return title

    client = Client("eu")
    assert [client.fetch("a"), client.of_class("b"), client.static("c")] == ["a", "b", "c"]
    assert {one.name for one in registry} == {"client[eu]", "class[('Client', 'b')]", "static[c]"}


def test_a_fallback_serves_the_rejections_of_a_member() -> None:
    fetch = circuit("shard", key=first, fallback=lambda key: f"spare {key}")(first)
    circuit_of(fetch, CircuitFamily)["sick"].force_open()
    assert [fetch("sick"), fetch("well")] == ["spare sick", "well"]
