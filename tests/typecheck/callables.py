"""Checked by mypy and pyright, never run: what is decorated keeps its type."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator
from typing import Protocol, assert_type

from circuitry import CircuitBreaker, circuit

breaker = CircuitBreaker("own")


class Titled(Protocol):
    """A function with just this signature."""

    def __call__(self, title: str, *, region: str = ...) -> int: ...


def first(title: str, *, region: str = "eu") -> str:
    return title


# -- Functions -------------------------------------------------------------------------------------------


@circuit
def bare(title: str, *, region: str = "eu") -> int:
    return len(title + region)


@circuit("named", failure_threshold=3)
def named(title: str, *, region: str = "eu") -> int:
    return len(title + region)


@breaker
def by_breaker(title: str, *, region: str = "eu") -> int:
    return len(title + region)


@circuit()
def called(title: str, *, region: str = "eu") -> int:
    return len(title + region)


@circuit("platform", key=first)
def keyed(title: str, *, region: str = "eu") -> int:
    return len(title + region)


same: list[Titled] = [bare, named, by_breaker, called, keyed]

assert_type(bare("x", region="us"), int)
assert_type(named("x"), int)
assert_type(by_breaker("x"), int)
assert_type(called("x"), int)
assert_type(keyed("x"), int)

bare(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
named("x", "us")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
by_breaker()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
keyed("x", zone="us")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


# -- Coroutine functions ---------------------------------------------------------------------------------


@circuit("coroutine")
async def fetch(title: str) -> bytes:
    return title.encode()


@circuit
def returns_awaitable(title: str) -> Awaitable[bytes]:
    return fetch(title)


async def awaited() -> None:
    assert_type(await fetch("x"), bytes)
    assert_type(await returns_awaitable("x"), bytes)
    await fetch(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


takes_async: Callable[[str], Awaitable[bytes]] = fetch
not_sync: Callable[[str], bytes] = fetch  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]


# -- Generators ------------------------------------------------------------------------------------------


@circuit("lines")
def lines(path: str) -> Iterator[str]:
    yield path


@circuit("dialogue")
def dialogue() -> Generator[int, str, bool]:
    answer = yield 1
    return bool(answer)


@circuit("stream")
async def stream(path: str) -> AsyncIterator[bytes]:
    yield path.encode()


@circuit("async dialogue")
async def async_dialogue() -> AsyncGenerator[int, str]:
    yield len((yield 1))


for line in lines("x"):
    assert_type(line, str)
assert_type(dialogue().send("yes"), int)
dialogue().send(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def streamed() -> None:
    async for chunk in stream("x"):
        assert_type(chunk, bytes)
    assert_type(await async_dialogue().asend("yes"), int)


# -- Methods ---------------------------------------------------------------------------------------------


class Client:
    """Methods of every kind, with the decorator above and below."""

    @circuit("method")
    def method(self, title: str) -> int:
        return len(title)

    @circuit
    async def async_method(self, title: str) -> bytes:
        return title.encode()

    @circuit("class, above")
    @classmethod
    def class_above(cls, title: str) -> Client:
        return cls()

    @classmethod
    @circuit("class, below")
    def class_below(cls, title: str) -> Client:
        return cls()

    @circuit("static, above")
    @staticmethod
    def static_above(title: str) -> int:
        return len(title)

    @staticmethod
    @circuit("static, below")
    def static_below(title: str) -> int:
        return len(title)

    @circuit
    @classmethod
    async def async_class_above(cls, title: str) -> bytes:
        return title.encode()

    @breaker
    @staticmethod
    async def async_static_above(title: str) -> bytes:
        return title.encode()

    @property
    @circuit("property")
    def size(self) -> int:
        return 1


class Special(Client):
    """A subclass may override a guarded method by a plain one, and the other way round."""

    def method(self, title: str) -> int:
        return 2

    @circuit
    async def async_method(self, title: str) -> bytes:
        return b""


client = Client()
assert_type(client.method("x"), int)
assert_type(Client.method(client, "x"), int)
assert_type(client.class_above("x"), Client)
assert_type(Client.class_above("x"), Client)
assert_type(client.class_below("x"), Client)
assert_type(Client.class_below("x"), Client)
assert_type(client.static_above("x"), int)
assert_type(Client.static_above("x"), int)
assert_type(client.static_below("x"), int)
assert_type(Client.static_below("x"), int)
assert_type(client.size, int)
bound: Callable[[str], int] = client.method

client.method(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
client.method()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Client.class_above(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Client.class_below(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
client.static_above(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
client.static_below(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def async_methods() -> None:
    assert_type(await client.async_method("x"), bytes)
    assert_type(await Client.async_class_above("x"), bytes)
    assert_type(await Client.async_static_above("x"), bytes)


# -- Objects ---------------------------------------------------------------------------------------------


class Fetcher:
    """A callable with attributes of its own."""

    base = "https://example.org"

    def __call__(self, title: str) -> int:
        return len(title)


fetcher = circuit("object")(Fetcher())
assert_type(fetcher, Fetcher)
assert_type(fetcher("x"), int)
assert_type(fetcher.base, str)

partial = circuit("partial")(functools.partial(bare, "x"))
assert_type(partial, functools.partial[int])
assert_type(partial(), int)

circuit("number")(5)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
