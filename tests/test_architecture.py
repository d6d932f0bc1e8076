"""The house stands as its plan says: floors, small files, an exact front door.

A module imports only from floors below its own. What only type checkers read (`if TYPE_CHECKING:`) isn't
loaded and doesn't count. An import inside a function counts where it is listed, with its reason.
"""

from __future__ import annotations

import ast
import sys
import types
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import pytest

import circuitry

ROOT = Path(circuitry.__file__).parent

#: The floor of each room: a module, or a package whose modules may use each other. Ground floor first.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors", "forking", "kinds", "windows"),  # exceptions; locks; what a callable is; what happened lately
    ("checks",),  # what users give
    (
        "latency",
        "sizes",
        "waiting",
        "watches",
    ),  # times of calls; windows; waits; rules at work
    ("policies", "throttling"),  # when to trip; evidence that sheds calls instead
    ("rates",),  # rules, judged on what a fleet has counted
    ("tripping",),  # rules as circuits go by them
    ("states",),  # the machine's words
    ("machine",),  # the circuit as a value, and every transition
    # what is said, told, counted, asked, and left; who probes; calls whose time is taken
    ("config", "events", "metrics", "gate", "blocks", "probing", "stopwatch"),
    ("judging", "fallback", "last_good", "listening"),  # what a failure is; what stands in; who is told
    ("locked", "panic", "settings"),  # the circuit under its lock; a family's panic; the keywords, and whose
    ("operator", "checking"),  # what operators say; a health check at work
    ("breaker",),  # admission and outcomes
    ("deadline", "permit"),  # how long a call may take; leave to make one, as an object
    ("guards",),  # each kind of callable
    ("decorate",),  # how a guard takes a callable's place
    ("faces",),  # CircuitBreaker
    ("family",),  # one breaker a key
    ("registry",),  # breakers by name
    ("decorator",),  # circuit
    ("__init__",),  # the front door: what stands above it uses circuitry as users do
    ("redis",),
    ("integrations", "telemetry", "testing"),
    ("cli",),
    ("__main__",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

#: Imports inside functions that lead up, or across: (module, room) and why.
CROSSING: dict[tuple[str, str], str] = {
    (
        "faces",
        "redis",
    ): "users look for with_redis there, and only who shares pays for it",
    ("registry", "redis"): "operators name a server by its URL, and only then is there a store",
}

#: What may be imported from outside the standard library: by whom, and where only inside a function.
CORE = {"wrapt"}
ABOVE_THE_DOOR = CORE | {"anyio"}
INSIDE_FUNCTIONS = {
    (
        "events",
        "anyio",
    ): "only who reads events() in async code needs it; it takes longer to import than we do",
    (
        "deadline",
        "anyio",
    ): "only who sets call_timeout needs it",
    (
        "redis/wire",
        "redis",
    ): "the extra: without it the store is there, and says what is missing",
}
BY_MODULE = {
    "telemetry/prometheus": {"prometheus_client"},  # the extra "prometheus"
    "cli/demo/rich_display": {"rich"},  # the extra "rich", where it is installed
    "cli/demo/fleet/rich_display": {"rich"},
}

#: The pure ones know no clock, lock, thread or I/O.
PURE = {
    "machine": {"typing", "circuitry.states", "circuitry.windows"},
    "probing": {"collections.abc", "typing", "circuitry", "circuitry.machine", "circuitry.states"},
    "states": {"collections.abc", "enum", "typing", "circuitry.windows"},
    "windows": {"collections.abc", "itertools", "typing"},
}

MOST_LINES = 400


class Import(NamedTuple):
    """One import: of a dotted name, at the top of a module or inside a function."""

    target: str
    inside: bool


class Reader(ast.NodeVisitor):
    """Collects the imports of a module that are executed."""

    def __init__(self) -> None:
        self.found: list[Import] = []
        self._depth = 0

    def visit_Import(self, node: ast.Import) -> None:
        self.found += [Import(alias.name, self._depth > 0) for alias in node.names]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        assert node.level == 0, "imports are absolute here"
        base = node.module or ""
        for alias in node.names:
            named = f"{base}.{alias.name}"
            self.found.append(
                Import(named if base == "circuitry" and is_room(alias.name) else base, self._depth > 0)
            )

    def visit_If(self, node: ast.If) -> None:
        if "TYPE_CHECKING" not in ast.unparse(node.test) or isinstance(node.test, ast.UnaryOp):
            self.generic_visit(node)
        for other in node.orelse:
            self.visit(other)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._enter(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._enter(node)

    def _enter(self, function: ast.AST) -> None:
        self._depth += 1
        self.generic_visit(function)
        self._depth -= 1


def is_room(name: str) -> bool:
    return (ROOT / f"{name}.py").exists() or (ROOT / name / "__init__.py").exists()


def modules() -> list[str]:
    """Every module of the package, as a path without suffix: "machine", "cli/demo/view"."""
    return sorted(path.relative_to(ROOT).with_suffix("").as_posix() for path in ROOT.rglob("*.py"))


def imports(module: str) -> Iterator[Import]:
    reader = Reader()
    reader.visit(ast.parse((ROOT / f"{module}.py").read_text(encoding="utf-8")))
    return iter(reader.found)


def room_of(module: str) -> str:
    return module.partition("/")[0]


def target_room(target: str) -> str | None:
    """The room that an import leads to; None if it leads out of the house."""
    package, _, rest = target.partition(".")
    if package != "circuitry":
        return None
    return rest.partition(".")[0] or "__init__"


def leads_down(module: str, target: str) -> bool:
    room = target_room(target)
    return room in (None, room_of(module)) or FLOOR[room] < FLOOR[room_of(module)]


MODULES = modules()
EACH = pytest.mark.parametrize("module", MODULES)


# -- Floors --------------------------------------------------------------------------------------------


def test_every_room_has_a_floor_and_every_floor_its_rooms() -> None:
    assert {room_of(module) for module in MODULES} == set(FLOOR)


@EACH
def test_a_module_imports_only_from_floors_below_its_own(module: str) -> None:
    wrong = [one.target for one in imports(module) if not one.inside and not leads_down(module, one.target)]
    assert wrong == []


def test_imports_inside_functions_that_cross_floors_are_listed() -> None:
    crossing = {
        (module, target_room(one.target))
        for module in MODULES
        for one in imports(module)
        if one.inside and not leads_down(module, one.target)
    }
    assert crossing == CROSSING.keys()


@EACH
def test_a_module_in_a_package_is_in_no_circle_of_imports(module: str) -> None:
    """Within one room there are no floors, but still an order."""
    beneath, todo = set[str](), [module]
    while todo:
        for one in imports(todo.pop()):
            path = "/".join(one.target.split(".")[1:])
            found = path if path in MODULES else f"{path}/__init__"
            if not one.inside and found in MODULES and found not in beneath:
                beneath.add(found)
                todo.append(found)
    assert module not in beneath


@EACH
def test_what_comes_from_outside_is_declared(module: str) -> None:
    outside = [one for one in imports(module) if is_foreign(one.target)]
    above = FLOOR[room_of(module)] > FLOOR["__init__"]
    allowed = (ABOVE_THE_DOOR if above else CORE) | BY_MODULE.get(module, set())
    for one in outside:
        package = one.target.partition(".")[0]
        assert package in allowed or (one.inside and (module, package) in INSIDE_FUNCTIONS)


def is_foreign(target: str) -> bool:
    package = target.partition(".")[0]
    return package != "circuitry" and package not in sys.stdlib_module_names


def test_what_is_listed_is_there() -> None:
    """A list that names what is gone would hide what comes."""
    found = {(module, one.target.partition(".")[0]) for module in MODULES for one in imports(module)}
    assert found >= INSIDE_FUNCTIONS.keys()
    assert found >= {(module, package) for module, packages in BY_MODULE.items() for package in packages}


@pytest.mark.parametrize("module", PURE)
def test_the_machine_and_its_evidence_know_no_clock_lock_thread_or_file(module: str) -> None:
    known = {one.target for one in imports(module)} - {"__future__"}
    assert known <= PURE[module]


@pytest.mark.parametrize("module", PURE)
def test_the_machine_and_its_evidence_open_nothing_and_import_nothing_by_name(module: str) -> None:
    tree = ast.parse((ROOT / f"{module}.py").read_text(encoding="utf-8"))
    called = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not called & {"open", "print", "input", "exec", "eval", "__import__"}


# -- The reader can tell ---------------------------------------------------------------------------------

SAMPLE = """
from __future__ import annotations
import os.path
from circuitry import machine, circuit
from circuitry.cli.demo import play
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from circuitry.registry import registry
else:
    import json
class Some:
    import re
    async def method(self):
        if True:
            import trio
"""


def test_the_reader_sees_what_is_executed() -> None:
    reader = Reader()
    reader.visit(ast.parse(SAMPLE))
    names = [one.target for one in reader.found if not one.inside]
    assert names == [
        "__future__",
        "os.path",
        "circuitry.machine",
        "circuitry",
        "circuitry.cli.demo",
        "typing",
        "json",
        "re",
    ]
    assert [one.target for one in reader.found if one.inside] == ["trio"]


@pytest.mark.parametrize(
    ("module", "target", "down"),
    [
        ("machine", "circuitry.windows", True),
        ("machine", "circuitry.config", False),
        ("config", "circuitry.events", False),
        ("guards", "circuitry", False),
        ("cli/demo/view", "circuitry", True),
        ("cli/demo/view", "circuitry.cli.demo.stage", True),
        ("machine", "time", True),
    ],
)
def test_the_floors_can_tell_up_from_down(module: str, target: str, down: bool) -> None:
    assert leads_down(module, target) == down


# -- Files ---------------------------------------------------------------------------------------------


@EACH
def test_no_file_has_more_than_400_lines(module: str) -> None:
    assert len((ROOT / f"{module}.py").read_text(encoding="utf-8").splitlines()) <= MOST_LINES


@EACH
def test_every_module_says_what_it_is_for(module: str) -> None:
    assert ast.get_docstring(ast.parse((ROOT / f"{module}.py").read_text(encoding="utf-8")))


# -- The front door --------------------------------------------------------------------------------------


def test_all_is_exact() -> None:
    public = {
        name
        for name, value in vars(circuitry).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert sorted(circuitry.__all__) == sorted(public)


def test_all_is_in_order_and_names_each_once() -> None:
    assert sorted(set(circuitry.__all__)) == sorted(circuitry.__all__)


def test_a_star_import_gives_all() -> None:
    namespace: dict[str, object] = {}
    exec("from circuitry import *", namespace)
    assert namespace.keys() - {"__builtins__"} == set(circuitry.__all__)


@pytest.mark.parametrize("name", circuitry.__all__)
def test_what_is_public_is_documented(name: str) -> None:
    assert getattr(circuitry, name).__doc__


def test_the_version_is_that_of_the_package() -> None:
    try:
        installed = metadata.version("circuitry-breaker")
    except metadata.PackageNotFoundError:
        pytest.skip("circuitry-breaker isn't installed here")
    assert circuitry.__version__ == installed
