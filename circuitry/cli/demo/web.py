"""Just enough HTTP/1.1 for the demo, over anyio's sockets: one request a connection, `GET` only."""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode, urlsplit

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from anyio.abc import SocketStream
    from anyio.streams.stapled import MultiListener

    Handler = Callable[["Request"], Awaitable["Response"]]
    Listener = MultiListener[SocketStream]

HOST = "127.0.0.1"
_END_OF_HEAD = b"\r\n\r\n"
_LONGEST_HEAD = 65536
_GONE = (
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.DelimiterNotFound,  # a head without end
    anyio.EndOfStream,
    anyio.IncompleteRead,
)


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks: `query` holds the first value of each name."""

    path: str
    query: Mapping[str, str]
    user_agent: str


@dataclass(frozen=True, slots=True)
class Response:
    """What a server answers. With `drip`, the body takes that many seconds to send."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    drip: float = 0.0


class PlatformError(Exception):
    """A platform answered with an error."""


@dataclass(frozen=True, slots=True)
class Client:
    """An HTTP client for one server. It waits `timeout` seconds for the whole of an answer, then gives up."""

    port: int
    timeout: float
    user_agent: str

    async def get(self, path: str, **query: str) -> bytes:
        """Return the body of a good answer; raise `PlatformError` on any other, `TimeoutError` on none."""
        status, body = await self.ask(path, **query)
        if status != HTTPStatus.OK:
            raise PlatformError(f"answered {status} {HTTPStatus(status).phrase}")
        return body

    async def ask(self, path: str, **query: str) -> tuple[int, bytes]:
        """Return status and body of any answer."""
        target = f"{path}?{urlencode(query)}" if query else path
        try:
            with anyio.fail_after(self.timeout):
                return await self._exchange(target)
        except TimeoutError:
            raise TimeoutError(f"no answer within {self.timeout:.3g} s") from None
        except _GONE as gone:
            raise ConnectionError("the server hung up") from gone

    async def _exchange(self, target: str) -> tuple[int, bytes]:
        async with await anyio.connect_tcp(HOST, self.port) as connection:
            await connection.send(
                f"GET {target} HTTP/1.1\r\nHost: {HOST}:{self.port}\r\n"
                f"User-Agent: {self.user_agent}\r\nConnection: close\r\n\r\n".encode()
            )
            stream = BufferedByteReceiveStream(connection)
            first, headers = _parse_head(await stream.receive_until(_END_OF_HEAD, _LONGEST_HEAD))
            return int(first.split()[1]), await stream.receive_exactly(int(headers["content-length"]))


async def listen(port: int = 0) -> Listener:
    """Take a port on loopback; 0 takes any free one."""
    return await anyio.create_tcp_listener(local_host=HOST, local_port=port)


async def serve(listener: Listener, handler: Handler) -> None:
    """Answer every connection until cancelled."""

    async def answer(connection: SocketStream) -> None:
        try:
            async with connection:
                await _answer(connection, handler)
        except* _GONE:
            pass  # the client left in the middle: its own affair

    async with listener:
        await listener.serve(answer)


async def _answer(connection: SocketStream, handler: Handler) -> None:
    stream = BufferedByteReceiveStream(connection)
    request = _parse_request(await stream.receive_until(_END_OF_HEAD, _LONGEST_HEAD))
    if request is None:
        await _send(connection, Response(HTTPStatus.BAD_REQUEST, b"GET only, please\n", "text/plain"))
        return
    async with anyio.create_task_group() as group:
        group.start_soon(_cancel_when_the_client_leaves, stream, group.cancel_scope)
        await _send(connection, await handler(request))
        group.cancel_scope.cancel()


async def _cancel_when_the_client_leaves(stream: BufferedByteReceiveStream, scope: anyio.CancelScope) -> None:
    try:
        await stream.receive()
    except _GONE:
        scope.cancel()


async def _send(connection: SocketStream, response: Response) -> None:
    headers = {
        "Content-Type": response.content_type,
        "Content-Length": str(len(response.body)),
        "Connection": "close",
        **response.headers,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    status = HTTPStatus(response.status)
    await connection.send(f"HTTP/1.1 {status.value} {status.phrase}\r\n{lines}\r\n".encode())
    if response.drip:
        await _drip(connection, response)
    else:
        await connection.send(response.body)


async def _drip(connection: SocketStream, response: Response) -> None:
    """Send the body in pieces: bytes keep coming, so only a limit on the whole answer ends the wait."""
    size = max(1, len(response.body) // 20)
    pieces = [response.body[start : start + size] for start in range(0, len(response.body), size)]
    for piece in pieces:
        await anyio.sleep(response.drip / len(pieces))
        await connection.send(piece)


def _parse_request(head: bytes) -> Request | None:
    first, headers = _parse_head(head)
    method, _, rest = first.partition(" ")
    if method != "GET" or not rest.startswith("/"):
        return None
    url = urlsplit(rest.split(" ")[0])
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    return Request(url.path, query, headers.get("user-agent", ""))


def _parse_head(head: bytes) -> tuple[str, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return first, {name.strip().lower(): value.strip() for name, _, value in pairs}
