"""A deadline for the call: of coroutine functions, which can be stopped from outside."""

from __future__ import annotations

import functools
import subprocess
import sys

import anyio
import pytest

from circuitry import (
    CircuitBreakerConfig,
    CircuitFamily,
    CircuitOpenError,
    ConfigurationError,
    circuit,
    circuit_of,
    registry,
)
from circuitry.deadline import OverdueError

pytestmark = [pytest.mark.core, pytest.mark.usefixtures("fresh")]

SHORT = 0.02


@pytest.fixture
def run(anyio_backend):
    """Run a coroutine function, with its arguments."""
    return lambda fn, *args: anyio.run(functools.partial(fn, *args), backend=anyio_backend)


async def hangs(*_args):
    await anyio.sleep_forever()


async def answers(value="yes"):
    await anyio.sleep(0)
    return value


class Client:
    async def __call__(self):
        await hangs()

    async def fetch(self):
        await hangs()


@pytest.mark.parametrize(
    "fn",
    [hangs, Client(), Client().fetch, functools.partial(hangs, 1), functools.partial(Client())],
    ids=["function", "object", "method", "partial", "partial of an object"],
)
@pytest.mark.parametrize("way", ["decoration", "breaker", "call"])
def test_what_hangs_is_stopped_raises_and_counts_as_a_failure(make_breaker, run, fn, way):
    if way == "decoration":
        guarded = circuit("netflix", call_timeout=SHORT, failure_threshold=1)(fn)
        breaker = circuit_of(guarded)
    else:
        breaker = make_breaker(call_timeout=SHORT, failure_threshold=1)
        guarded = breaker(fn) if way == "breaker" else functools.partial(breaker.call, fn)
    with pytest.raises(TimeoutError, match=r"no result within call_timeout=0\.02 s"):
        run(guarded)
    assert breaker.metrics().failures == 1
    assert breaker.state == "open"
    with pytest.raises(CircuitOpenError) as caught:
        run(guarded)
    assert caught.value.last_failure == "OverdueError: no result within call_timeout=0.02 s"


def test_what_ends_in_time_is_as_it_was(make_breaker, run):
    breaker = make_breaker(call_timeout=60)
    assert run(breaker(answers)) == "yes"
    assert run(breaker(answers), "no") == "no"
    assert breaker.metrics().successes == 2


def test_an_error_of_its_own_reaches_the_caller_as_it_is(make_breaker, run):
    error = LookupError("gone")

    async def fails():
        raise error

    with pytest.raises(LookupError) as caught:
        run(make_breaker(call_timeout=60)(fails))
    assert caught.value is error


def test_a_cancellation_from_outside_is_still_ignored(make_breaker, run):
    breaker = make_breaker(call_timeout=60)

    async def main():
        with anyio.move_on_after(SHORT):
            await breaker(hangs)()

    run(main)
    metrics = breaker.metrics()
    assert (metrics.ignored, metrics.failures) == (1, 0)


def test_a_timeout_within_the_function_is_its_own(make_breaker, run):
    breaker = make_breaker(call_timeout=60, exclude=TimeoutError)

    async def impatient():
        with anyio.fail_after(SHORT):
            await hangs()

    with pytest.raises(TimeoutError) as caught:
        run(breaker(impatient))
    assert type(caught.value) is TimeoutError
    assert breaker.metrics().ignored == 1


@pytest.mark.parametrize("judging", [{"exclude": TimeoutError}, {"include": LookupError}], ids=str)
def test_the_deadline_is_a_failure_whatever_else_is_one(make_breaker, run, judging):
    breaker = make_breaker(call_timeout=SHORT, **judging)
    with pytest.raises(TimeoutError):
        run(breaker(hangs))
    assert breaker.metrics().failures == 1


def test_but_only_of_its_own_circuit(make_breaker, run):
    inner, outer = make_breaker(call_timeout=SHORT), make_breaker("outer", exclude=TimeoutError)
    with pytest.raises(TimeoutError):
        run(outer(inner(hangs)))
    assert (inner.metrics().failures, outer.metrics().failures, outer.metrics().ignored) == (1, 0, 1)


def test_a_probe_that_hangs_fails(make_breaker, run, clock):
    breaker = make_breaker(call_timeout=SHORT, failure_threshold=1)
    guarded = breaker(hangs)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            run(guarded)
        assert breaker.state == "open"
        clock.advance(10)


def test_a_fallback_may_stand_in_for_it(run):
    @circuit("netflix", call_timeout=SHORT, fallback=answers, fallback_on=TimeoutError)
    async def fetch(value):
        await hangs()

    assert run(fetch, "cached") == "cached"
    assert circuit_of(fetch).metrics().fallbacks == 1


def test_two_functions_on_one_circuit_may_have_different_ones(run):
    @circuit("netflix", call_timeout=SHORT)
    async def quick():
        await hangs()

    @circuit("netflix", call_timeout=60)
    async def patient():
        return "yes"

    @circuit("netflix")
    async def for_ever():
        return "yes"

    with pytest.raises(TimeoutError):
        run(quick)
    assert run(patient) == run(for_ever) == "yes"
    assert registry["netflix"].config.call_timeout is None


def test_where_a_decoration_says_nothing_its_circuit_does(run):
    breaker = registry.get_or_create("netflix", call_timeout=SHORT)

    @circuit("netflix")
    async def fetch():
        await hangs()

    @circuit("netflix", call_timeout=None)
    async def patient():
        await anyio.sleep(2 * SHORT)
        return "yes"

    @circuit("netflix", call_timeout=60)
    async def fairly_patient():
        await anyio.sleep(2 * SHORT)
        return "yes"

    with pytest.raises(TimeoutError):
        run(fetch)
    assert run(patient) == run(fairly_patient) == "yes"
    assert breaker.metrics().calls == 3


def test_it_may_change_at_run_time(make_breaker, run):
    breaker = make_breaker()
    guarded = breaker(hangs)
    breaker.reconfigure(call_timeout=SHORT)
    with pytest.raises(TimeoutError):
        run(guarded)
    breaker.reconfigure(call_timeout=None)
    assert breaker.evidence is not None  # calls are admitted at once again


@pytest.mark.parametrize("said", [{}, {"call_timeout": 60}, {"call_timeout": None}], ids=str)
def test_operators_go_before_the_code(run, tmp_path, said):
    @circuit("netflix", **said)
    async def fetch():
        await hangs()

    path = tmp_path / "circuits.toml"
    path.write_text(f"[circuits.netflix]\ncall_timeout = {SHORT}")
    registry.load(path)
    registry.reconfigure("netflix", failure_threshold=7)
    with pytest.raises(TimeoutError):
        run(fetch)


def test_operators_deadline_leaves_alone_what_cant_be_stopped(tmp_path):
    path = tmp_path / "circuits.toml"
    path.write_text("[circuits.netflix]\ncall_timeout = 1")
    registry.load(path)

    @circuit("netflix")
    def fetch():
        return "yes"

    assert fetch() == "yes"
    with circuit("netflix") as breaker:
        assert breaker.config.call_timeout == 1
    registry.reconfigure("netflix", failure_threshold=7)
    breaker.reconfigure(success_threshold=1)
    with circuit("netflix"):
        pass


def test_each_member_of_a_family_has_it(run):
    @circuit("platform", key=lambda key: key, call_timeout=SHORT)
    async def fetch(key):
        await hangs()

    with pytest.raises(TimeoutError):
        run(fetch, "hulu")
    assert circuit_of(fetch, CircuitFamily)["hulu"].metrics().failures == 1


def test_so_has_a_family_that_was_told_itself(run):
    registry.get_or_create_family("platform", call_timeout=SHORT)

    @circuit("platform", key=lambda key: key)
    async def fetch(key):
        await hangs()

    with pytest.raises(TimeoutError):
        run(fetch, "hulu")

    with pytest.raises(TypeError, match="call_timeout"):

        @circuit("platform", key=lambda key: key)
        def sync(key): ...


# -- What can't be stopped ---------------------------------------------------------------------------------


def plain():
    """A sync function."""


def numbers():
    yield 1


async def async_numbers():
    yield 1


@pytest.mark.parametrize(
    ("fn", "advice"),
    [
        (plain, "nothing stops a thread from outside; give the client beneath it a timeout"),
        (functools.partial(plain), "isn't async"),
        (numbers, "put a timeout around each item"),
        (async_numbers, "put a timeout around each item"),
    ],
    ids=["function", "partial", "generator", "async generator"],
)
def test_it_is_refused_with_advice(make_breaker, fn, advice):
    for refuse in (
        circuit("netflix", call_timeout=2),
        circuit("netflix", config=CircuitBreakerConfig(call_timeout=2)),
        circuit(call_timeout=2),
        make_breaker(call_timeout=2),
        make_breaker(call_timeout=2).call,
    ):
        with pytest.raises(TypeError, match=advice):
            refuse(fn)
    assert len(registry) == 0  # what is refused has taken no name


def test_where_the_circuit_has_one_a_sync_function_has_to_say_that_it_wants_none():
    registry.get_or_create("netflix", call_timeout=2)
    with pytest.raises(TypeError, match=r"call_timeout=2\.0 .*say call_timeout=None for it"):
        circuit("netflix")(plain)
    assert circuit("netflix", call_timeout=None)(plain)() is None


def test_blocks_are_refused_with_advice(make_breaker, colour):
    registry.get_or_create("netflix", call_timeout=2)
    for block in (make_breaker(call_timeout=2), circuit("netflix")):
        with pytest.raises(TypeError, match=r"a block can't be stopped from outside: put anyio\.fail_after"):
            colour.block(block)
    with pytest.raises(TypeError, match="call_timeout"):
        colour.block(circuit("search", call_timeout=2))


def test_permits_have_none(make_breaker, colour):
    """Who takes one makes the call himself."""
    breaker = make_breaker(call_timeout=2)
    colour.acquire(breaker).success()
    assert breaker.metrics().successes == 1


@pytest.mark.parametrize("seconds", [0, -1, "2", True, float("inf")], ids=repr)
def test_it_is_a_duration(seconds):
    for refuse in (
        lambda: CircuitBreakerConfig(call_timeout=seconds),
        lambda: circuit("n", call_timeout=seconds)(hangs),
    ):
        with pytest.raises(ConfigurationError, match="call_timeout="):
            refuse()


def test_a_decoration_may_not_contradict_its_circuit():
    with pytest.raises(ConfigurationError, match=r"call_timeout=2\.0 and trip=SlowCallRate.* disagree"):
        circuit("netflix", call_timeout=2, slow_call_duration=5, slow_call_rate_threshold=0.5)(hangs)


def test_the_error_is_a_timeout_error():
    assert issubclass(OverdueError, TimeoutError)


def test_who_doesnt_use_it_imports_no_anyio():
    code = """
import sys
from circuitry import circuit

@circuit("netflix", failure_rate_threshold=0.5)
async def fetch(): ...

assert "anyio" not in sys.modules
circuit("search", call_timeout=1)(fetch)
assert "anyio" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
