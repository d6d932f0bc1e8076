"""The pytest plugin: fixtures for users' tests, and nothing at all for who doesn't ask for them."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import tomllib
from pathlib import Path

import pytest

pytest_plugins = "pytester"
pytestmark = pytest.mark.core

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def declared() -> str:
    """The module that pytest loads: as installed or, in a checkout, as it would be."""
    installed = importlib.metadata.entry_points(group="pytest11", name="circuitry")
    if installed:
        return next(iter(installed)).value
    if not PYPROJECT.exists():
        pytest.skip("neither the package nor its pyproject.toml is here")
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    module: str = project["entry-points"]["pytest11"]["circuitry"]
    return module


def fixtures() -> dict[str, ast.expr]:
    """The plugin's fixtures and their decorators."""
    spec = importlib.util.find_spec(declared())
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    return {
        node.name: decorator
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        for decorator in node.decorator_list
        if "fixture" in ast.unparse(decorator)
    }


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> object:
    """Run a test file in a process of its own, with the plugin and no other."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(source: str) -> None:
        pytester.makepyfile(source)
        result = pytester.runpytest_subprocess("-p", declared(), "-p", "no:cacheprovider", "-W", "error")
        passed = source.count("def test_")
        result.assert_outcomes(passed=passed)

    return run


def test_the_fixtures_are_these_and_none_is_autouse() -> None:
    assert fixtures().keys() == {"circuitry_clock", "circuitry_registry", "circuitry_disabled"}
    assert all("autouse" not in ast.unparse(decorator) for decorator in fixtures().values())


def test_nothing_of_circuitry_is_imported_before_a_fixture_is_asked_for(run: object) -> None:
    run(
        f"""
        import sys

        def loaded():
            return {{name for name in sys.modules if name.partition(".")[0] == "circuitry"}}

        before = loaded()

        def test_at_collection():
            assert before - {{{declared()!r}}} == set()

        def test_without_a_fixture(request):
            assert loaded() - {{{declared()!r}}} == set()
            assert not [name for name in request.fixturenames if name.startswith("circuitry")]

        def test_with_a_fixture(circuitry_clock):
            assert "circuitry.testing" in loaded()
        """
    )


def test_the_fixtures_do_what_they_say(run: object) -> None:
    run(
        """
        import pytest
        from circuitry import CircuitBreaker, CircuitOpenError, circuit, registry

        outer = registry.get_or_create("netflix", failure_threshold=77)
        sick = CircuitBreaker("sick", failure_threshold=1)
        sick.acquire().failure()

        def test_the_clock_moves_a_circuit(circuitry_clock):
            breaker = CircuitBreaker("x", failure_threshold=1, clock=circuitry_clock)
            breaker.acquire().failure()
            with pytest.raises(CircuitOpenError):
                breaker.acquire()
            circuitry_clock.advance(30)
            breaker.acquire().success()

        def test_each_test_has_a_clock_of_its_own(circuitry_clock):
            assert circuitry_clock() == 0.0

        def test_the_registry_is_empty(circuitry_registry):
            assert circuitry_registry is registry
            assert list(registry) == []
            registry.get_or_create("netflix", failure_threshold=3)

        def test_the_registry_is_put_back():
            assert list(registry) == [outer]

        def test_every_circuit_is_disabled(circuitry_disabled):
            assert sick.state == outer.state == "disabled"
            sick.acquire().success()

        def test_every_circuit_is_put_back():
            assert sick.state == "open"
            assert outer.state == "closed"
        """
    )
