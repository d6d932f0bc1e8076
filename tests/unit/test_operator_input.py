"""Operators' settings are read only where they are named, and an error in them is said with its place."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from circuitry import ConfigurationError, registry
from circuitry.testing import fresh_registry

pytestmark = [pytest.mark.core, pytest.mark.usefixtures("fresh")]

Write = Callable[[str], Path]


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of whoever runs the tests."""
    for variable in os.environ:
        if variable.startswith("CIRCUITRY_"):
            monkeypatch.delenv(variable)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a settings file."""

    def write(text: str) -> Path:
        path = tmp_path / "circuits.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def threshold(name: str = "netflix") -> int:
    return registry.get_or_create(name).config.failure_threshold


def refused(path: Path | str) -> str:
    """The message with which a file is refused; it names the file."""
    with pytest.raises(ConfigurationError) as caught:
        registry.load(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


# -- Files ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [str, Path])
def test_a_file_may_be_named_by_text_or_path(kind: Callable[[Path], str | Path], write: Write) -> None:
    registry.load(kind(write("[circuits.netflix]\nfailure_threshold = 30")))
    assert threshold() == 30


@pytest.mark.parametrize("text", ["", "# nothing", "[circuits]", "[circuits.netflix]"])
def test_a_file_may_say_nothing(text: str, write: Write) -> None:
    registry.load(write(text))
    assert threshold() == 5


@pytest.mark.parametrize("name", ["a b", "a.b", "日本", "shard[eu]", "quote'd"])
def test_any_name_may_have_a_table(name: str, write: Write) -> None:
    registry.load(write(f'[circuits."{name}"]\nfailure_threshold = 30'))
    assert threshold(name) == 30


@pytest.mark.parametrize(("written", "shown"), [('""', '""'), ('"a\\nb"', r"'a\nb'")])
def test_a_table_for_a_name_that_no_circuit_can_have_is_refused(
    written: str, shown: str, write: Write
) -> None:
    message = refused(write(f"[circuits.{written}]\nfailure_threshold = 30"))
    assert f"[circuits.{shown}]: name=" in message


def test_every_setting_that_text_can_say_may_stand_in_a_file(write: Write) -> None:
    registry.load(
        write(
            """
            [circuits.netflix]
            preset = "pubnub"
            failure_threshold = 11
            success_threshold = 12
            timeout_duration = 13
            half_open_max_calls = 14
            probe_timeout = 1.5
            initial_state = "shadow"
            """
        )
    )
    config = registry.get_or_create("netflix").config
    assert (config.failure_threshold, config.success_threshold, config.half_open_max_calls) == (11, 12, 14)
    assert (config.timeout_duration, config.probe_timeout, config.initial_state) == (13.0, 1.5, "shadow")


VALUES = {
    "failure_threshold": ["0", "-1", "true", "2.5", '"5"', "nan", "inf", "[5]"],
    "timeout_duration": [
        "0",
        "-0.5",
        "false",
        '"30"',
        "nan",
        "inf",
        "2026-01-01",
        "12:00:00",
        "1" + "0" * 400,
    ],
    "ramp_up": ["0", "-1", "nan", "true", '"30"'],
    "probe_timeout": ["0", '"none"'],
    "initial_state": ['"open"', '"half_open"', "1"],
    "preset": ['"nope"', "3", "[]"],
}


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in VALUES.items() for value in values]
)
def test_a_wrong_value_is_refused_with_file_table_and_key(key: str, value: str, write: Write) -> None:
    message = refused(write(f"[circuits.netflix]\n{key} = {value}"))
    assert re.search(rf"circuits\.toml: \[circuits\.netflix\] {key}: {key}=", message)
    assert "must be" in message or "there are platform_api, pubnub, embedding_service" in message


@pytest.mark.parametrize(
    "key", ["failure_treshold", "include", "exclude", "failure_if", "fallback", "limits", "clock"]
)
def test_an_unknown_key_is_refused_with_those_that_are_known(key: str, write: Write) -> None:
    message = refused(write(f'[circuits.netflix]\n{key} = "x"'))
    assert (
        f"[circuits.netflix] {key}: unknown setting {key!r}: allowed are preset, failure_threshold, "
        in message
    )


def test_a_name_that_needs_quotes_is_shown_in_quotes(write: Write) -> None:
    assert '[circuits."shard[eu]"] failure_threshold: ' in refused(
        write('[circuits."shard[eu]"]\nfailure_threshold = 0')
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("failure_threshold = 3", "unknown key 'failure_threshold': allowed are circuits, redis_url"),
        ("[netflix]\nfailure_threshold = 3", "unknown key 'netflix': allowed are circuits, redis_url"),
        ("circuits = 3", "circuits=3 is not allowed: it must be a table"),
        ("[[circuits]]", "circuits=[{}] is not allowed: it must be a table"),
        ("[circuits]\nnetflix = 3", "[circuits.netflix]=3 is not allowed: it must be a table"),
        ("[circuits.netflix", "Expected ']'"),
        ("[circuits.a]\n[circuits.a]", "twice"),
    ],
)
def test_a_file_of_another_shape_is_refused(text: str, said: str, write: Write) -> None:
    assert said in refused(write(text))


def test_a_file_that_can_not_be_read_is_refused(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "missing.toml")
    refused(tmp_path)
    refused(f"{tmp_path}\0")
    (tmp_path / "latin.toml").write_bytes("[circuits.é]".encode("latin-1"))
    assert "utf-8" in refused(tmp_path / "latin.toml")


def test_a_file_that_is_refused_changes_nothing(write: Write) -> None:
    breaker = registry.get_or_create("netflix")
    registry.load(write("[circuits.netflix]\nfailure_threshold = 30"))
    refused(write("[circuits.netflix]\nfailure_threshold = 31\n[circuits.other]\nfailure_threshold = 0"))
    assert breaker.config.failure_threshold == 30
    assert threshold("other") == 5


def test_a_wrong_variable_stops_a_file_from_changing_anything(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, last = registry.get_or_create("first"), registry.get_or_create("last")
    monkeypatch.setenv("CIRCUITRY_LAST__FAILURE_THRESHOLD", "x")
    with pytest.raises(ConfigurationError, match="CIRCUITRY_LAST__FAILURE_THRESHOLD"):
        registry.load(write("[circuits.first]\nfailure_threshold = 30"))
    assert (first.config.failure_threshold, last.config.failure_threshold) == (5, 5)
    monkeypatch.delenv("CIRCUITRY_LAST__FAILURE_THRESHOLD")
    registry.clear()
    assert threshold("first") == 5


# -- The file that the environment names ---------------------------------------------------------------


def test_the_environment_may_name_the_file(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIRCUITRY_CONFIG", str(write("[circuits.netflix]\nfailure_threshold = 30")))
    assert threshold() == 30
    assert threshold("other") == 5


def test_a_file_that_is_loaded_takes_the_place_of_the_one_the_environment_names(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CIRCUITRY_CONFIG", str(write("[circuits.netflix]\nfailure_threshold = 30")))
    other = tmp_path / "other.toml"
    other.write_text("[circuits.netflix]\nsuccess_threshold = 9")
    assert threshold() == 30
    registry.load(other)
    assert threshold() == 5


def test_an_empty_variable_names_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIRCUITRY_CONFIG", "")
    assert threshold() == 5


def test_a_wrong_file_of_the_environment_is_refused_until_it_is_right(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("[circuits.netflix]\nfailure_threshold = 0")
    monkeypatch.setenv("CIRCUITRY_CONFIG", str(path))
    for _ in range(2):
        with pytest.raises(
            ConfigurationError, match=re.escape(f"{path}: [circuits.netflix] failure_threshold: ")
        ):
            threshold()
        assert "netflix" not in registry
    write("[circuits.netflix]\nfailure_threshold = 30")
    assert threshold() == 30


def test_a_file_loaded_in_a_fresh_registry_holds_only_there(write: Write) -> None:
    registry.load(write("[circuits.netflix]\nfailure_threshold = 30"))
    with fresh_registry():
        assert threshold() == 5
        registry.load(write("[circuits.netflix]\nfailure_threshold = 40"))
        assert threshold() == 40
    assert threshold() == 30


# -- Variables -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("netflix", "NETFLIX"),
        ("Prime Video", "PRIME_VIDEO"),
        ("app.client.fetch", "APP_CLIENT_FETCH"),
        ("shard[eu]", "SHARD_EU"),
        ("a--b__c", "A_B_C"),
        ("app.f.<locals>.g", "APP_F_LOCALS_G"),
        ("s3", "S3"),
    ],
)
def test_a_variable_is_named_after_the_circuit(
    name: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"CIRCUITRY_{variable}__FAILURE_THRESHOLD", "30")
    assert threshold(name) == 30


def test_a_variable_of_another_circuit_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIRCUITRY_NETFLIX_EU__FAILURE_THRESHOLD", "30")
    monkeypatch.setenv("CIRCUITRY_NET__NONSENSE", "30")
    assert threshold("netflix") == 5


@pytest.mark.parametrize(("text", "seconds"), [("7", 7.0), ("7.5", 7.5), ("1e3", 1000.0), (" 7 ", 7.0)])
def test_a_number_in_a_variable_is_a_number(
    text: str, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CIRCUITRY_NETFLIX__TIMEOUT_DURATION", text)
    assert registry.get_or_create("netflix").config.timeout_duration == seconds


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("FAILURE_THRESHOLD", "0"),
        ("FAILURE_THRESHOLD", "five"),
        ("FAILURE_THRESHOLD", "true"),
        ("FAILURE_THRESHOLD", "2.5"),
        ("FAILURE_THRESHOLD", ""),
        ("TIMEOUT_DURATION", "nan"),
        ("TIMEOUT_DURATION", "inf"),
        ("TIMEOUT_DURATION", "-1"),
        ("TIMEOUT_DURATION", "9" * 5000),
        ("INITIAL_STATE", "open"),
        ("PRESET", "nope"),
    ],
)
def test_a_wrong_variable_is_refused_by_its_name(
    key: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"CIRCUITRY_NETFLIX__{key}", value)
    with pytest.raises(ConfigurationError, match=rf"CIRCUITRY_NETFLIX__{key}: {key.lower()}="):
        threshold()
    assert "netflix" not in registry


def test_an_unknown_key_in_a_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIRCUITRY_NETFLIX__FAILURE_TRESHOLD", "3")
    with pytest.raises(
        ConfigurationError, match=r"CIRCUITRY_NETFLIX__FAILURE_TRESHOLD: unknown setting .*allowed are"
    ):
        threshold()


# -- Nothing else is read ------------------------------------------------------------------------------

WATCHER = """
import os, sys
here = os.getcwd()
opened = []
sys.addaudithook(lambda event, args: event == "open" and opened.append(str(args[0])))
from circuitry import circuit, registry
assert circuit("netflix")(len)("abc") == 3
print(registry["netflix"].config.failure_threshold)
print([path for path in opened if os.path.dirname(os.path.abspath(path)) == here])
"""


def test_nothing_is_read_from_the_working_directory_by_itself(tmp_path: Path) -> None:
    for name in (
        "circuitry.toml",
        "circuits.toml",
        "pyproject.toml",
        "setup.cfg",
        ".env",
        ".circuitry",
        "CIRCUITRY_CONFIG",
    ):
        (tmp_path / name).write_text("[circuits.netflix]\nfailure_threshold = 30\n")
    command = [sys.executable, "-P", "-c", WATCHER]
    paths = os.pathsep.join(path for path in sys.path if path)
    run = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.split("\n")[:2] == ["5", "[]"]
