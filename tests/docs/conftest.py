"""What is written in README.md and docs/, taken apart: fenced blocks, links, headings."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ..fleet.servers import KINDS, REQUIRE_ALL, MissingError, Server, binary, lacks

ROOT = Path(__file__).parents[2]
PAGES = {
    str(path.relative_to(ROOT)): path for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
}

FENCE = re.compile(
    r"^(?P<indent> *)(?P<ticks>```+)(?P<language>[\w-]*) *(?P<rest>[^`\n]*)\n(?P<text>.*?)^ *(?P=ticks)$"
    r"|^<!-- python\n(?P<hidden>.*?)^-->$",
    re.MULTILINE | re.DOTALL,
)
TITLE = re.compile(r'title="([^"]+)"')
SERVER = "<!-- needs a server -->\n"


@dataclass(frozen=True)
class Block:
    """One fenced block. A `<!-- python` comment is a block that readers don't see.

    One below a `<!-- needs a server -->` uses the Redis at redis://localhost:6379.
    """

    line: int
    language: str
    title: str | None
    text: str
    needs_server: bool = False

    @property
    def runs(self) -> bool:
        """`python` is run, as it stands; `py` is not. One with a title is a file."""
        return self.language == "python" and self.title is None

    @property
    def printed(self) -> bool:
        """Whether it shows what the block before it has printed."""
        return self.language == "text" and self.title == "prints"


class Page:
    """One page of the documentation."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.path = path
        self.text = path.read_text(encoding="utf-8")

    @property
    def prose(self) -> str:
        """The page without its blocks."""
        return FENCE.sub("", self.text)

    @property
    def blocks(self) -> list[Block]:
        """The page's blocks, from top to bottom."""
        blocks: list[Block] = []
        for found in FENCE.finditer(self.text):
            title = TITLE.search(found["rest"] or "")
            text = textwrap.dedent(found["text"] if found["hidden"] is None else found["hidden"])
            language = "python" if found["hidden"] is not None else found["language"]
            line = self.text.count("\n", 0, found.start()) + 1
            is_below = self.text.endswith(SERVER, 0, found.start())
            blocks.append(Block(line, language, title and title[1], text, is_below))
        return blocks

    @property
    def anchors(self) -> set[str]:
        """What a link may point to, as MkDocs names it."""
        return {slug(heading) for heading in re.findall(r"^#{1,6} +(.+)$", self.prose, re.MULTILINE)}


def slug(heading: str) -> str:
    """A heading as an anchor: that of Python-Markdown's table of contents."""
    text = re.sub(r"[`*]|\[([^]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", text).strip().lower())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for `page` on each of them."""
    if "page" in metafunc.fixturenames:
        metafunc.parametrize("page", list(PAGES), indirect=True)


@pytest.fixture
def page(request: pytest.FixtureRequest) -> Page:
    """One page after the other."""
    return Page(request.param, PAGES[request.param])


@pytest.fixture
def redis_url(page: Page, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str | None]:
    """A server of one's own for a page that needs one; None if it doesn't, or this machine has none."""
    found = next((kind for kind in KINDS if is_here(kind)), None)
    if not any(block.needs_server for block in page.blocks) or found is None:
        if found is None and REQUIRE_ALL:
            lacks("there is no Redis server for the examples")
        yield None
        return
    server = Server(found, tmp_path_factory.mktemp("redis"))
    try:
        yield server.start().url()
    finally:
        server.stop()


def is_here(kind: str) -> bool:
    """Whether this machine has such a server."""
    try:
        return bool(binary(kind))
    except MissingError:
        return False


@pytest.fixture
def pages() -> dict[str, Page]:
    """All pages, by their path from the root."""
    return {name: Page(name, path) for name, path in PAGES.items()}


@pytest.fixture
def root() -> Path:
    """Where README.md is."""
    return ROOT
