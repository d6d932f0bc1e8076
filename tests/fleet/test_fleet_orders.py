"""What operators say to a fleet and to one process, and what goes before what."""

from __future__ import annotations

import gc
import time

import pytest

from circuitry import CircuitBreaker, CircuitOpenError, CircuitState
from circuitry.redis.keys import Naming
from circuitry.redis.script import Rules, Script

from .fleet_scenes import NUMBERS, admits, fail, open_for_all, until

ORDERS = {"force_open": "forced_open", "disable": "disabled", "shadow": "shadow"}


def say(join, op, **said):
    """What somebody else says to the fleet, who goes by no numbers of ours."""
    script = Script(Naming(join.prefix), "somebody")
    subject = script.subject("netflix", Rules(3, 1, 100, 1, 2000, 60_000))
    script.run(join.client.execute_command, getattr(script, op)(subject, 0, actor="somebody", **said))


# -- Orders to the fleet --------------------------------------------------------------------------------


@pytest.mark.parametrize("order", list(ORDERS))
def test_an_order_holds_in_the_whole_fleet_until_another_one_comes(colour, join, order):
    one, other = join(), join()
    heard = []
    other.on_transition(heard.append)
    getattr(one, order)()
    assert one.state == ORDERS[order]
    until(lambda: other.state == ORDERS[order], "it isn't told")
    assert other.metrics().verdict == "fleet"
    other.reset()
    until(lambda: one.state == "closed", "it isn't told")
    colour.acquire(one).success()
    until(lambda: len(heard) == 2, "no event")
    assert [event.source for event in heard] == ["fleet", "admin"]


def test_an_order_outlives_the_process_that_gave_it(join):
    one = join()
    one.force_open()
    assert one.store.flush()
    one.store.close()
    assert join().state == "forced_open"


def test_an_order_outlives_its_breaker(join):
    """In one line, so that nobody holds the breaker when it is sent."""
    store = join.store()
    join(store=store).force_open()
    gc.collect()
    assert store.flush()
    until(lambda: join().state == "forced_open", "it is lost")


def test_a_shadow_of_the_fleet_judges_together_and_rejects_nothing(colour, join):
    one, other = join(), join()
    one.shadow()
    until(lambda: other.state == "shadow", "it isn't told")
    fail(one, 3)
    until(lambda: other.metrics().shadow_state == "open", "it isn't told of the judgement")
    colour.acquire(other).success()
    assert other.state == "shadow"
    assert other.metrics().shadow_rejected == 1


def test_a_disabled_fleet_judges_nothing(colour, join):
    one, other = join(), join()
    one.disable()
    until(lambda: other.state == "disabled", "it isn't told")
    fail(one, 10)
    fail(other, 10)
    assert one.store.flush()
    colour.acquire(other).success()
    assert (one.state, other.state, join.get("failures")) == ("disabled", "disabled", None)


# -- Orders to one process ------------------------------------------------------------------------------


@pytest.mark.parametrize("order", list(ORDERS))
def test_an_order_to_one_process_is_its_own(join, order):
    one, other = join(), join()
    getattr(one, order)(local=True)
    assert one.store.flush()
    time.sleep(0.03)
    assert (one.state, other.state, join.get("state")) == (ORDERS[order], "closed", "closed")
    assert one.metrics().verdict == "local"
    one.reset(local=True)
    assert one.state == "closed"


def test_what_was_said_here_goes_before_what_was_said_to_all(join):
    one, other = join(), join()
    one.disable(local=True)
    other.force_open()
    until(lambda: one._circuit.fleet_mode == "forced_open", "it isn't told")
    assert one.state == "disabled"
    one.reset(local=True)
    assert (one.state, one.metrics().verdict) == ("forced_open", "fleet")
    other.reset()
    until(lambda: one.state == "closed", "it isn't told")


def test_an_order_to_all_takes_back_what_was_said_here(join):
    one, other = join(), join()
    one.disable(local=True)
    one.force_open()
    until(lambda: other.state == "forced_open", "it isn't told")
    assert one.state == "forced_open"
    one.reset()
    until(lambda: other.state == "closed", "it isn't told")
    assert one.state == "closed"


def test_what_was_said_to_all_goes_before_the_fleets_own_judgement(join):
    one, other = join(timeout_duration=60), join(timeout_duration=60)
    open_for_all(one, other)
    one.disable()
    until(lambda: other.state == "disabled", "it isn't told")
    assert admits(other)


def test_the_fleets_open_goes_before_what_a_process_has_seen(join):
    one, other = join(timeout_duration=60), join(timeout_duration=60)
    for _ in range(5):
        other.acquire().success()
    open_for_all(one, other)
    assert not admits(other)


def test_when_one_process_takes_back_its_word_the_fleets_open_holds_again(join):
    one, other = join(timeout_duration=60), join(timeout_duration=60)
    one.disable(local=True)
    fail(other, 3)
    until(lambda: one._gate.view.state == "open", "it isn't told")
    assert one.state == "disabled"
    one.reset(local=True)
    assert (one.state, one.metrics().verdict) == ("open", "fleet")
    with pytest.raises(CircuitOpenError):
        one.acquire()


# -- While Redis is away ----------------------------------------------------------------------------------


@pytest.mark.parametrize("harm", ["stop", "freeze"])
def test_an_order_given_while_redis_is_away_comes_to_all_when_it_is_back(join_frail, harm):
    """Also where it was on its way when the server was found to be gone."""
    one, other = join_frail(), join_frail()
    getattr(join_frail.server, harm)()
    one.force_open()
    assert one.state == "forced_open"
    until(lambda: one.store.health().link == "down", "it isn't taken for lost")
    assert (other.state, one.store.health().queued) == ("closed", 1)
    join_frail.server.thaw() if harm == "freeze" else join_frail.server.start()
    until(lambda: other.state == "forced_open", "the order is lost")
    assert one.state == "forced_open"


def test_an_order_on_its_way_outlives_its_breaker_and_the_link(join_frail):
    other = join_frail()
    store = join_frail.store()
    one = join_frail(store=store)
    join_frail.server.freeze()
    one.force_open()
    del one
    gc.collect()
    until(lambda: store.health().link == "down", "it isn't taken for lost")
    join_frail.server.restart()  # what it was sent while it was frozen is gone
    until(lambda: other.state == "forced_open", "the order is lost")


def test_what_recovered_alone_follows_its_fleet_again_when_redis_is_back(join_frail):
    one = join_frail(check_period=0.1)
    open_for_all(one)
    join_frail.server.freeze()
    until(lambda: one.store.health().link == "down", "it isn't taken for lost")
    time.sleep(0.1)
    one.acquire().success()
    assert (one.state, one.metrics().verdict) == ("closed", "local")
    join_frail.server.thaw()
    until(lambda: one.state == "open", "it goes on alone")
    assert one.metrics().verdict == "fleet"


def test_of_orders_given_while_redis_is_away_the_last_one_counts(join_frail):
    one, other = join_frail(), join_frail()
    join_frail.server.stop()
    one.force_open()
    one.disable()
    join_frail.server.start()
    until(lambda: other.state == "disabled", "the order is lost")
    assert one.state == "disabled"


def test_an_order_of_the_fleet_holds_while_redis_is_away(join_frail):
    one, other = join_frail(), join_frail()
    one.force_open()
    until(lambda: other.state == "forced_open", "it isn't told")
    join_frail.server.stop()
    until(lambda: other.store.health().link == "down", "it isn't taken for lost")
    assert (one.state, other.state) == ("forced_open", "forced_open")


def test_nothing_of_the_fleet_is_followed_while_an_order_waits(join_frail):
    """Also not when what was said here alone is taken back: the fleet's old word is no news."""
    one = join_frail(timeout_duration=60)
    open_for_all(one)
    join_frail.server.freeze()
    one.reset()
    one.reset(local=True)
    assert one.state == "closed"
    join_frail.server.thaw()
    until(lambda: join_frail.get("state") == "closed", "the order is lost")
    assert one.state == "closed"


def test_an_order_that_the_server_refuses_is_said_again(join_frail):
    one, other = join_frail(check_period=0.1), join_frail()
    heard = []
    one.store.on_event(heard.append)
    join_frail.client.config_set("maxmemory", 1)
    one.force_open()
    until(lambda: any(event.kind == "refused" for event in heard), "it isn't told of the refusal")
    assert other.state == "closed"
    join_frail.client.config_set("maxmemory", 0)
    until(lambda: other.state == "forced_open", "the order is lost")


# -- Races ------------------------------------------------------------------------------------------------


def test_failures_after_ones_own_order_count_from_there(join):
    """With a threshold of 1: the order closes, and the very next failure opens, for all and for good."""
    one, other = (
        join(failure_threshold=1, timeout_duration=60),
        join(failure_threshold=1, timeout_duration=60),
    )
    for _ in range(20):
        one.reset()
        fail(one, 1)
        assert one.state == "open"
        until(lambda: other.state == "open", "the failure is lost")
        assert one.store.flush()
        assert one.state == "open"
        one.reset()
        until(lambda: other.state == "closed", "the order is lost")
        assert one.state == "closed"


def test_orders_of_two_at_once_leave_all_with_one_of_them(join):
    one, other, third = join(), join(), join()
    for _ in range(20):
        one.force_open()
        other.disable()
        assert one.store.flush()
        assert other.store.flush()
        until(lambda: one.state == other.state == third.state, "they don't agree")
        assert one.state in ("forced_open", "disabled")


def test_a_reset_from_before_it_came_closes_nothing_that_a_process_saw_itself(join_frail):
    """The fleet was reset long ago, and this process trips before it hears anything."""
    join_frail().reset()
    until(lambda: join_frail.client.hget(f"{join_frail.prefix}netflix:meta", "reason") == "reset", "no reset")
    join_frail.server.freeze()
    store = join_frail.store(quorum=2)  # so that its failures don't open for all
    late = CircuitBreaker("netflix", store=store, **{**NUMBERS, "timeout_duration": 60})
    fail(late, 3)
    join_frail.server.thaw()
    assert store.wait_ready(5)
    until(lambda: late._gate.view is not None, "it isn't told")
    assert late.state == "open"


def test_what_others_say_is_followed(join):
    """So it isn't only our own process that makes the tests of this file pass."""
    one = join()
    say(join, "force", mode=CircuitState.FORCED_OPEN)
    until(lambda: one.state == "forced_open", "it isn't told")
    say(join, "reset")
    until(lambda: one.state == "closed", "it isn't told")
