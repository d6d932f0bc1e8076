"""The parts of `circuitry demo`: the worked example's normalizers, servers, measurements and displays."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib.resources import files
from itertools import pairwise
from types import ModuleType
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from circuitry import CircuitBreaker, CircuitBreakerConfig, CircuitState
from circuitry.cli.demo.display import LineDisplay, choose_display
from circuitry.cli.demo.gateway import EVERYTHING, REGIONS, Gateway
from circuitry.cli.demo.normalizers import DisneyPlus, Netflix, PrimeVideo, RateLimit, Title, guarded
from circuitry.cli.demo.platforms import PLATFORMS, SICK, PlatformServer
from circuitry.cli.demo.report import figures, percentile, report_on
from circuitry.cli.demo.scenario import Fault, Scenario
from circuitry.cli.demo.stage import WITH, WITHOUT, News, Side, Stage
from circuitry.cli.demo.summary import duration, recovery_line, share
from circuitry.cli.demo.traffic import Visit, Visitors
from circuitry.cli.demo.view import Cell, view_circuit, view_states, view_visits
from circuitry.cli.demo.web import HOST, Client, PlatformError, Request, Response, listen, serve
from circuitry.integrations.normalizers import PlatformNormalizer

pytestmark = pytest.mark.anyio


class RecordedClient:
    """Serves a recorded catalogue without a socket."""

    def __init__(self, file: str) -> None:
        self._body = files("circuitry.cli.demo").joinpath("catalogues", file).read_bytes()

    async def get(self, path: str, **query: str) -> bytes:
        return self._body


def recorded() -> list[PlatformNormalizer[Any, Title]]:
    netflix, prime_video, disney_plus = (RecordedClient(platform.file) for platform in PLATFORMS)
    return [Netflix(netflix), PrimeVideo(prime_video), DisneyPlus(disney_plus)]


each_platform = pytest.mark.parametrize("normalizer", recorded(), ids=lambda it: it.platform_id)


# --- the three normalizers ---------------------------------------------------------------------------------


@each_platform
async def test_each_normalizer_is_one_and_brings_all_its_catalogue_into_the_common_form(
    normalizer: PlatformNormalizer[Any, Title],
) -> None:
    assert isinstance(normalizer, PlatformNormalizer)
    titles = {
        title.content_id: title
        for region in REGIONS
        for title in map(normalizer.normalize, await normalizer.fetch_catalog_delta(EVERYTHING, region))
    }
    assert len(titles) == 12
    for title in titles.values():
        assert title.platform == normalizer.platform_id
        assert title.kind in ("film", "series")
        assert (title.minutes is not None) == (title.kind == "film")
        assert title.link == normalizer.generate_deep_link(title.content_id)
        assert all(title.genres)


async def test_the_same_form_from_three_formats() -> None:
    netflix, prime_video, disney_plus = recorded()

    async def find(normalizer: PlatformNormalizer[Any, Title], name: str) -> Title:
        raw = await normalizer.fetch_catalog_delta(EVERYTHING, "US")
        return next(title for title in map(normalizer.normalize, raw) if title.name == name)

    assert await find(netflix, "Roma") == Title(
        platform="netflix",
        content_id="80240715",
        name="Roma",
        kind="film",
        year=2018,
        minutes=135,
        genres=("Drama",),
        link="https://www.netflix.com/title/80240715",
    )
    assert await find(prime_video, "Manchester by the Sea") == Title(
        platform="prime-video",
        content_id="B01MQVZVUH",
        name="Manchester by the Sea",
        kind="film",
        year=2016,
        minutes=137,
        genres=("Drama",),
        link="https://www.primevideo.com/detail/B01MQVZVUH",
    )
    assert await find(disney_plus, "Soul") == Title(
        platform="disney-plus",
        content_id="soul-77zl",
        name="Soul",
        kind="film",
        year=2020,
        minutes=100,
        genres=("Animation", "Family"),
        link="https://www.disneyplus.com/browse/entity-soul-77zl",
    )


@each_platform
async def test_a_delta_has_only_what_changed_since_then_in_that_region(
    normalizer: PlatformNormalizer[Any, Title],
) -> None:
    all_of_it = await normalizer.fetch_catalog_delta(EVERYTHING, "US")
    delta = await normalizer.fetch_catalog_delta(datetime(2024, 5, 20, tzinfo=UTC), "US")
    assert 0 < len(delta) < len(all_of_it) <= 12
    assert len(await normalizer.fetch_catalog_delta(EVERYTHING, "FR")) < 12
    assert list(await normalizer.fetch_catalog_delta(EVERYTHING, "nowhere")) == []


@each_platform
async def test_each_platform_has_a_rate_limit(normalizer: PlatformNormalizer[Any, Title]) -> None:
    assert isinstance(normalizer.rate_limit_config(), RateLimit)


@each_platform
async def test_a_guarded_normalizer_serves_the_merged_catalogue_when_open(
    normalizer: PlatformNormalizer[Any, Title],
) -> None:
    platform = guarded(normalizer, CircuitBreakerConfig())
    everything = await platform.fetch_catalog_delta(EVERYTHING, "US")
    await platform.fetch_catalog_delta(datetime(2024, 5, 25, tzinfo=UTC), "US")
    platform.circuit_breaker.force_open()
    cached = await platform.fetch_catalog_delta(EVERYTHING, "US")
    assert {platform.normalize(raw) for raw in cached} == {platform.normalize(raw) for raw in everything}


# --- servers and clients -----------------------------------------------------------------------------------


@asynccontextmanager
async def serving(handler: Callable[[Request], Awaitable[Response]]) -> AsyncIterator[int]:
    async with anyio.create_task_group() as group:
        listener = await listen()
        group.start_soon(serve, listener, handler)
        yield listener.extra(SocketAttribute.local_port)
        group.cancel_scope.cancel()


async def test_a_request_arrives_as_it_was_asked() -> None:
    seen: list[Request] = []

    async def handler(request: Request) -> Response:
        seen.append(request)
        return Response(200, b"body")

    async with serving(handler) as port:
        assert await Client(port, 5.0, "me").get("/catalog", region="DE", q="a b&c") == b"body"
    assert seen == [Request("/catalog", {"region": "DE", "q": "a b&c"}, "me")]


async def test_what_is_no_good_answer_is_a_platform_error() -> None:
    async def handler(request: Request) -> Response:
        return Response(503, b"", headers={"Retry-After": "3"})

    async with serving(handler) as port:
        with pytest.raises(PlatformError, match=r"^answered 503 Service Unavailable$"):
            await Client(port, 5.0, "me").get("/")


async def test_a_server_that_hangs_up_is_a_connection_error() -> None:
    async def hang_up(connection: SocketStream) -> None:
        await connection.aclose()

    async with await listen() as listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, hang_up)
        with pytest.raises(ConnectionError):
            await Client(listener.extra(SocketAttribute.local_port), 5.0, "me").get("/")
        group.cancel_scope.cancel()


@pytest.mark.parametrize("fault", [Fault.HANGING, Fault.SLOW])
async def test_a_platform_that_takes_too_long_is_a_timeout_error(fault: Fault) -> None:
    platform = PlatformServer(SICK, slow_answer=5.0)
    platform.fault = fault
    async with serving(platform.handle) as port:
        with pytest.raises(TimeoutError, match=r"^no answer within 0\.2 s$"):
            await Client(port, 0.2, "me").get("/catalog")
    assert platform.reached_by("me", while_sick=True) == 1


async def test_a_slow_platform_answers_in_the_end() -> None:
    platform = PlatformServer(SICK, slow_answer=0.05)
    platform.fault = Fault.SLOW
    async with serving(platform.handle) as port:
        slow = await Client(port, 5.0, "me").get("/catalog")
        platform.fault = Fault.NONE
        assert await Client(port, 5.0, "me").get("/catalog") == slow
    assert platform.reached_by("me", while_sick=True) == 1
    assert platform.reached_by("me", while_sick=False) == 2


@pytest.mark.parametrize("head", ["POST / HTTP/1.1", "GET http://[ HTTP/1.1", "hello"])
async def test_what_is_not_understood_is_refused(head: str) -> None:
    async def handler(request: Request) -> Response:
        raise AssertionError

    async with serving(handler) as port, await anyio.connect_tcp(HOST, port) as connection:
        await connection.send(f"{head}\r\n\r\n".encode())
        assert (await connection.receive()).startswith(b"HTTP/1.1 400 Bad Request\r\n")


async def test_a_client_that_leaves_ends_its_request_and_nothing_else() -> None:
    asked, left = anyio.Event(), anyio.Event()

    async def handler(request: Request) -> Response:
        if request.path == "/hang":
            asked.set()
            try:
                await anyio.sleep_forever()
            finally:
                left.set()
        return Response(200, b"still here")

    async with serving(handler) as port:
        async with await anyio.connect_tcp(HOST, port) as connection:
            await connection.send(b"GET /hang HTTP/1.1\r\n\r\n")
            await asked.wait()
        with anyio.fail_after(5):
            await left.wait()
        for head in (b"GET /half a requ", b"GET /" + b"endless" * 20_000):
            async with await anyio.connect_tcp(HOST, port) as connection:
                await connection.send(head)
        assert await Client(port, 5.0, "me").get("/") == b"still here"


async def test_the_gateway_makes_one_page_of_three_platforms() -> None:
    answer = await Gateway(recorded(), workers=1).handle(Request("/catalog", {"region": "DE"}, "me"))
    page = json.loads(answer.body)
    assert (answer.status, page["region"]) == (200, "DE")
    assert [row["platform"] for row in page["rows"]] == [platform.id for platform in PLATFORMS]
    assert all(row["cached_for"] is None and row["titles"] for row in page["rows"])


async def test_the_gateway_tells_how_old_a_cached_row_is() -> None:
    platform = guarded(recorded()[0], CircuitBreakerConfig())
    gateway, request = Gateway([platform], workers=1), Request("/catalog", {}, "me")
    await gateway.handle(request)
    platform.circuit_breaker.force_open()
    (row,) = json.loads((await gateway.handle(request)).body)["rows"]
    assert 0 <= row["cached_for"] < 60


async def test_the_gateway_answers_503_when_a_platform_is_rejected_and_nothing_is_cached() -> None:
    platform = guarded(recorded()[0], CircuitBreakerConfig(timeout_duration=7.0))
    platform.circuit_breaker.force_open()
    answer = await Gateway([platform], workers=1).handle(Request("/catalog", {}, "me"))
    assert (answer.status, answer.headers["Retry-After"]) == (503, "7")
    assert "netflix" in json.loads(answer.body)["error"]


async def test_the_gateway_answers_502_when_a_platform_fails() -> None:
    netflix = Netflix(Client(port=1, timeout=5.0, user_agent="me"))
    answer = await Gateway([netflix], workers=1).handle(Request("/catalog", {}, "me"))
    assert answer.status == 502


@pytest.mark.parametrize(("path", "region"), [("/", "US"), ("/catalog", "XX")])
async def test_the_gateway_says_what_can_be_asked(path: str, region: str) -> None:
    answer = await Gateway([], workers=1).handle(Request(path, {"region": region}, "me"))
    assert answer.status == 404
    assert "/catalog?region=" in json.loads(answer.body)["error"]


# --- the plan, and what is measured ------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [8.0, 24.0, 28.0])
async def test_a_run_has_each_fault_once_between_times_of_health(seconds: float) -> None:
    phases = Scenario(seconds).phases
    assert [phase.fault for phase in phases] == [
        Fault.NONE,
        Fault.ERRORS,
        Fault.NONE,
        Fault.HANGING,
        Fault.NONE,
        Fault.SLOW,
        Fault.NONE,
    ]
    assert phases[0].start == 0.0
    assert phases[-1].end == pytest.approx(seconds)
    assert all(one.end == other.start for one, other in pairwise(phases))


async def test_percentiles_are_of_the_nearest_rank() -> None:
    hundred = [float(number) for number in range(1, 101)]
    assert (percentile(hundred, 0.5), percentile(hundred, 0.99)) == (50.0, 99.0)
    assert (percentile([7.0], 0.5), percentile([7.0], 0.99)) == (7.0, 7.0)
    assert percentile([], 0.5) is None


async def test_who_is_not_answered_has_waited_until_now() -> None:
    answered = Visit(1.0, Fault.NONE, seconds=0.5, status=200, cached={"netflix": 3.0, "prime-video": 8.0})
    seen = figures([answered, Visit(2.0, Fault.NONE, seconds=0.1, status=502), Visit(3.0, Fault.NONE)], 10.0)
    assert (seen.asked, seen.served, seen.unanswered) == (3, 1, 1)
    assert (seen.median, seen.p99) == (0.5, 7.0)
    assert (seen.served_with_cached_row, seen.oldest_cached_row) == (1, 8.0)


async def test_a_visitor_who_cannot_connect_got_no_page() -> None:
    visitors = Visitors(1, lambda: 0.0, lambda: Fault.NONE)
    await visitors.visit("US")
    assert visitors.visits == [Visit(0.0, Fault.NONE)]


async def test_durations_are_in_the_unit_a_person_would_use() -> None:
    assert [duration(value) for value in (None, 0.00123, 0.5, 1.0, 12.345)] == [
        "-",
        "1.23 ms",
        "500 ms",
        "1.00 s",
        "12.35 s",
    ]
    assert share(figures([], 0.0)) == "0 of 0, 0%"


# --- a stage without servers -------------------------------------------------------------------------------


class TimedStage(Stage):
    """A stage whose time is set by hand."""

    time = 0.0

    def now(self) -> float:
        return self.time


@pytest.fixture
async def stage() -> TimedStage:
    stage = TimedStage(Scenario(10.0))
    for platform in PLATFORMS:
        stage.watch(platform.id, CircuitBreaker(platform.id))
    for name in (WITH, WITHOUT):
        stage.ports[name] = 8080
        stage.sides.append(Side(name, Visitors(8080, stage.now, stage.fault)))
    return stage


def sick_breaker(stage: Stage) -> CircuitBreaker:
    return next(circuit.breaker for circuit in stage.circuits if circuit.platform is SICK)


async def test_a_circuit_that_stays_open_has_not_recovered(stage: TimedStage) -> None:
    stage.faults += [(1.0, Fault.ERRORS), (3.0, Fault.NONE), (5.0, Fault.SLOW), (7.0, Fault.NONE)]
    stage.time = 6.0
    sick_breaker(stage).force_open()
    stage.time = 10.0
    report = report_on(stage)
    assert [(it.fault, it.seconds) for it in report.recoveries] == [("errors", 0.0), ("slow", None)]
    assert not report.recovered
    assert report.sick_for == 4.0
    assert recovery_line(report).endswith("errors 0 ms, slow never")


async def test_a_circuits_past_shows_its_most_telling_states(stage: TimedStage) -> None:
    sick = next(circuit for circuit in stage.circuits if circuit.platform is SICK)
    sick.history.extend([(2.5, CircuitState.OPEN), (4.1, CircuitState.HALF_OPEN), (4.2, CircuitState.CLOSED)])
    stage.time = 5.5
    assert view_states(stage, sick, 10) == [
        *["closed", "closed", "open", "open", "half_open", "closed"],
        *[None, None, None, None],
    ]


async def test_the_visitors_past_shows_how_they_fared(stage: TimedStage) -> None:
    side = stage.sides[0]
    side.visitors.visits += [
        Visit(0.1, Fault.NONE, 0.1, 200),
        Visit(0.2, Fault.NONE, 0.1, 502),
        Visit(2.0, Fault.NONE, 2.0, 200, {"netflix": 1.0}),
        Visit(10.5, Fault.NONE),
    ]
    stage.time = 10.6
    cells = view_visits(stage, side, 10)
    assert cells[:3] == [Cell(0.5, slow=False, cached=False), None, Cell(0.0, slow=True, cached=True)]
    assert cells[-1] == Cell(1.0, slow=False, cached=False)


async def test_a_circuits_view_has_the_age_of_what_its_cache_served_lately(stage: TimedStage) -> None:
    netflix = stage.circuits[0]
    stage.sides[0].visitors.visits += [
        Visit(1.0, Fault.NONE, 0.1, 200, {"netflix": 1.5}),
        Visit(1.1, Fault.NONE, 0.1, 200, {"netflix": 1.6}),
        Visit(1.2, Fault.NONE, 0.1, 200),
    ]
    stage.time = 1.5
    assert view_circuit(stage, netflix).cached_for == 1.6
    stage.time = 9.0
    assert view_circuit(stage, netflix).cached_for is None


@pytest.mark.parametrize("colour", [True, False])
async def test_lines_are_coloured_only_where_asked(
    stage: TimedStage, colour: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = LineDisplay(colour=colour)
    lines.open(stage)
    capsys.readouterr()
    stage.news += [News(0.1, CircuitState.OPEN, "it opened"), News(0.2, "", "nothing with a colour")]
    lines.refresh()
    red = "\x1b[31mit opened\x1b[0m" if colour else "it opened"
    assert capsys.readouterr().out == f"  0.1 s  {red}\n  0.2 s  nothing with a colour\n"
    lines.refresh()
    assert capsys.readouterr().out == ""


async def test_the_summary_in_lines_puts_both_gateways_side_by_side(
    stage: TimedStage, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.faults += [(1.0, Fault.ERRORS), (3.0, Fault.NONE)]
    stage.time = 10.0
    stage.sick.requests[WITH, Fault.ERRORS] = 3
    stage.sick.requests[WITHOUT, Fault.ERRORS] = 40
    for side, status in zip(stage.sides, (200, 502), strict=True):
        side.visitors.visits.append(Visit(2.0, Fault.ERRORS, 0.25, status))
    LineDisplay(colour=False).report(report_on(stage))
    headline, table, recovery = capsys.readouterr().out.strip().split("\n\n")
    assert headline.endswith("In 2.0 of 10.0 s Prime Video was sick.")
    cells = {line[:46].strip(): line[46:].split("  ") for line in table.splitlines()}
    figures_of = {label: [cell.strip() for cell in row if cell] for label, row in cells.items()}
    assert figures_of[""] == ["with circuits", "without"]
    assert figures_of["requests that reached Prime Video while sick"] == ["3", "40"]
    assert figures_of["pages served"] == ["1 of 1, 100%", "0 of 1, 0%"]
    assert figures_of["wait while it was sick, median"] == ["250 ms", "250 ms"]
    assert recovery == "closed again after the platform was well: errors 0 ms"


@pytest.mark.parametrize(
    ("environment", "rich", "plain", "expected"),
    [
        ({"PYTHONIOENCODING": "latin-1"}, True, False, "LineDisplay in colour"),
        ({}, True, False, "RichDisplay"),
        ({}, True, True, "LineDisplay"),
        ({"TERM": "dumb"}, True, False, "LineDisplay"),
        ({}, False, False, "LineDisplay in colour"),
        ({"NO_COLOR": "1"}, False, False, "LineDisplay"),
        ({"TERM": "dumb"}, False, False, "LineDisplay"),
    ],
)
async def test_a_terminal_gets_a_picture_if_rich_is_installed(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], rich: bool, plain: bool, expected: str
) -> None:
    terminal = io.TextIOWrapper(io.BytesIO(), environment.get("PYTHONIOENCODING", "utf-8"))
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    module: ModuleType | None = None
    if rich:
        from circuitry.cli.demo import rich_display as module
    monkeypatch.setitem(sys.modules, "circuitry.cli.demo.rich_display", module)
    shown = choose_display(as_json=False, plain=plain)
    colour = " in colour" if isinstance(shown, LineDisplay) and shown._colour else ""
    assert type(shown).__name__ + colour == expected
