"""Generator functions: guarded from the first `next` to the end of the iteration."""

from __future__ import annotations

import gc
import inspect
import sys

import pytest

from circuitry import CircuitOpenError

pytestmark = pytest.mark.core


@pytest.fixture
def heard():
    """What the generators of these tests have got from outside."""
    return []


@pytest.fixture
def talk(breaker, heard):
    """A guarded generator that writes down all it is sent or thrown."""

    @breaker
    def talk(*items):
        try:
            for item in items:
                try:
                    heard.append((yield item))
                except ValueError as error:
                    heard.append(error)
                    yield "caught"
        finally:
            heard.append("closed")
        return "returned"

    return talk


def counts(breaker):
    metrics = breaker.metrics()
    return metrics.successes, metrics.failures, metrics.ignored


def test_it_is_still_a_generator_function(talk):
    assert inspect.isgeneratorfunction(talk)
    assert inspect.isgenerator(talk())


def test_a_whole_iteration_is_one_success(breaker, talk):
    assert list(talk(1, 2, 3)) == [1, 2, 3]
    assert counts(breaker) == (1, 0, 0)


def test_an_empty_stream_is_a_success(breaker, talk):
    assert list(talk()) == []
    assert counts(breaker) == (1, 0, 0)


def test_the_permit_is_taken_at_the_first_next(breaker, talk):
    stream = talk(1)
    breaker.force_open()
    with pytest.raises(CircuitOpenError):
        next(stream)
    assert breaker.metrics().rejected == 1


def test_the_permit_is_held_to_the_end(breaker, talk, clock, fail):
    fail(breaker, 3)
    clock.advance(10)
    stream = talk(1, 2)
    assert [next(stream), next(stream)] == [1, 2]
    assert breaker.metrics().half_open_calls == 1
    assert next(stream, "end") == "end"
    assert (breaker.metrics().half_open_calls, breaker.success_count) == (0, 1)


def test_a_rejected_stream_is_over(breaker, talk):
    breaker.force_open()
    stream = talk(1)
    with pytest.raises(CircuitOpenError):
        next(stream)
    with pytest.raises(StopIteration):
        next(stream)


def test_send_reaches_the_generator(talk, heard):
    stream = talk(1, 2)
    next(stream)
    assert stream.send("hello") == 2
    assert heard == ["hello"]


def test_a_stream_that_has_not_begun_takes_no_value(talk):
    with pytest.raises(TypeError, match="just-started"):
        talk(1).send("hello")


def test_throw_reaches_the_generator_which_may_go_on(talk, heard, breaker):
    error = ValueError("thrown")
    stream = talk(1, 2)
    next(stream)
    assert stream.throw(error) == "caught"
    assert heard == [error]
    assert list(stream) == [2]
    assert counts(breaker) == (1, 0, 0)


def test_what_is_thrown_and_not_caught_is_a_failure(talk, breaker):
    error = LookupError("thrown")
    stream = talk(1)
    next(stream)
    with pytest.raises(LookupError) as caught:
        stream.throw(error)
    assert caught.value is error
    assert counts(breaker) == (0, 1, 0)


def test_a_stop_iteration_thrown_in_becomes_a_runtime_error_as_ever(talk, breaker):
    stream = talk(1)
    next(stream)
    with pytest.raises(RuntimeError, match="raised StopIteration"):
        stream.throw(StopIteration())
    assert counts(breaker) == (0, 1, 0)


def test_what_is_thrown_before_the_first_item_takes_no_permit(talk, breaker):
    with pytest.raises(ValueError):
        talk(1).throw(ValueError())
    assert counts(breaker) == (0, 0, 0)


def test_yield_from_gives_the_returned_value(talk):
    def outer():
        result = yield from talk(1, 2)
        yield result

    assert list(outer()) == [1, 2, "returned"]


def test_the_end_carries_the_returned_value(talk):
    stream = talk()
    with pytest.raises(StopIteration) as end:
        next(stream)
    assert end.value.value == "returned"


def test_yield_from_passes_on_what_is_sent_and_thrown(talk, heard):
    def outer():
        yield from talk(1, 2, 3)

    error = ValueError()
    stream = outer()
    next(stream)
    stream.send("hello")
    stream.throw(error)
    stream.close()
    assert heard == ["hello", error, "closed"]


def test_a_stream_closed_after_an_item_is_a_success(talk, heard, breaker):
    stream = talk(1, 2)
    next(stream)
    stream.close()
    assert heard == ["closed"]
    assert counts(breaker) == (1, 0, 0)


def test_a_stream_left_after_an_item_is_a_success(talk, heard, breaker):
    for _item in talk(1, 2):
        break
    gc.collect()
    assert heard == ["closed"]
    assert counts(breaker) == (1, 0, 0)


def test_a_stream_closed_before_any_item_counts_nowhere(talk, heard, breaker):
    talk(1).close()
    assert heard == []
    assert counts(breaker) == (0, 0, 0)


def test_a_probe_left_early_gives_its_slot_back_and_counts(talk, breaker, clock, fail):
    fail(breaker, 3)
    clock.advance(10)
    for _ in range(2):
        for _item in talk(1, 2):
            break
    assert breaker.state == "closed"


def test_a_stream_left_early_ends_a_streak(talk, breaker, fail):
    fail(breaker, 2)
    stream = talk(1, 2)
    next(stream)
    stream.close()
    assert breaker.failure_count == 0


def test_a_generator_exit_thrown_in_comes_out_again(talk, heard, breaker):
    stream = talk(1, 2)
    next(stream)
    with pytest.raises(GeneratorExit):
        stream.throw(GeneratorExit())
    assert heard == ["closed"]
    assert counts(breaker) == (1, 0, 0)


def test_a_generator_that_will_not_close_is_a_failure(breaker):
    @breaker
    def stubborn():
        try:
            yield 1
        except GeneratorExit:
            yield 2

    stream = stubborn()
    next(stream)
    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        stream.close()
    assert counts(breaker) == (0, 1, 0)


def test_an_error_while_closing_comes_out_and_is_a_failure(breaker):
    @breaker
    def breaks_when_closed():
        try:
            yield 1
        finally:
            raise OSError("while closing")

    stream = breaks_when_closed()
    next(stream)
    with pytest.raises(OSError, match="while closing"):
        stream.close()
    assert counts(breaker) == (0, 1, 0)


@pytest.mark.skipif(sys.version_info < (3, 13), reason="close() gives a value since Python 3.13")
def test_close_gives_the_value_returned_then(breaker):
    @breaker
    def last_word():
        try:
            yield 1
        except GeneratorExit:
            return "last word"

    stream = last_word()
    next(stream)
    assert stream.close() == "last word"


@pytest.mark.parametrize("items_before", [0, 1])
def test_an_error_at_any_item_is_one_failure(breaker, items_before):
    @breaker
    def breaks(items):
        yield from range(items)
        raise OSError("broken")

    with pytest.raises(OSError, match="broken"):
        list(breaks(items_before))
    assert counts(breaker) == (0, 1, 0)


@pytest.mark.parametrize("items_before", [0, 1])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_is_no_exception_is_ignored(breaker, items_before, kind):
    @breaker
    def interrupted():
        yield from range(items_before)
        raise kind

    with pytest.raises(kind):
        list(interrupted())
    assert counts(breaker) == (0, 0, 1)


def test_a_generator_that_exits_by_itself_before_any_item_is_ignored(breaker):
    @breaker
    def exits():
        raise GeneratorExit
        yield

    with pytest.raises(GeneratorExit):
        next(exits())
    assert counts(breaker) == (0, 0, 1)


def test_interleaved_streams_have_permits_of_their_own(talk, breaker, clock, fail):
    fail(breaker, 3)
    clock.advance(10)
    first, second = talk(1, 2), talk(1, 2)
    next(first), next(second)
    assert breaker.metrics().half_open_calls == 2
    with pytest.raises(LookupError):
        first.throw(LookupError())
    assert breaker.state == "open"
    assert list(second) == [2]
    assert breaker.state == "open"


def test_one_that_outlives_the_probe_timeout_has_lost_its_slot(talk, breaker, clock, fail):
    fail(breaker, 3)
    clock.advance(10)
    slow = talk(1)
    next(slow)
    clock.advance(10)
    assert breaker.metrics().half_open_calls == 0
    assert [list(talk(1)), breaker.success_count] == [[1], 1]
    assert list(slow) == []
    assert breaker.state == "closed", "it still counts in its generation"


def test_failures_of_streams_open_the_circuit(breaker):
    @breaker
    def breaks():
        yield 1
        raise OSError("broken")

    for _ in range(3):
        with pytest.raises(OSError):
            list(breaks())
    with pytest.raises(CircuitOpenError) as caught:
        list(breaks())
    assert caught.value.last_failure == "OSError: broken"


def test_wrong_arguments_raise_when_it_begins(talk, breaker):
    @breaker
    def one(argument):
        yield argument

    with pytest.raises(TypeError, match="missing 1 required"):
        next(one())
