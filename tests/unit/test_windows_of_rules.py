"""Windows: the latest outcomes, and whether too many of them are bad."""

from __future__ import annotations

import pytest

from circuitry.windows import LastCalls, Streak, Unjudged, Window, WithinSeconds

pytestmark = pytest.mark.core


def seen(window):
    window.refresh()
    return window.calls, window.bad


class TestLastCalls:
    def test_it_begins_empty_and_holds_nothing_against_anybody(self):
        window = LastCalls(3, share=0.5, minimum=1)
        assert seen(window) == (0, 0)
        assert window.failures == 0
        assert not window.holds()

    def test_the_oldest_goes_when_it_is_full(self):
        window = LastCalls(3, share=1.0, minimum=3)
        for bad in (True, False, True):
            window.add(bad)
        assert seen(window) == (3, 2)
        window.add(False)
        assert seen(window) == (3, 1)

    def test_nothing_is_judged_before_the_minimum(self):
        window = LastCalls(10, share=0.5, minimum=3)
        assert [window.add(True), window.add(True)] == [False, False]
        assert window.add(True) is True

    def test_the_share_itself_is_too_many(self):
        window = LastCalls(10, share=0.3, minimum=10)
        answers = [window.add(number < 3) for number in range(10)]
        assert answers == [False] * 9 + [True]
        assert window.holds()

    def test_and_just_below_it_is_not(self):
        window = LastCalls(10, share=0.31, minimum=10)
        answers = [window.add(number < 3) for number in range(10)]
        assert True not in answers
        assert not window.holds()

    def test_a_good_one_that_completes_the_minimum_is_answered_too(self):
        window = LastCalls(10, share=0.5, minimum=2)
        assert window.add(True) is False
        assert window.add(False) is True

    def test_full_of_good_ones_it_says_that_another_changes_nothing(self):
        window = LastCalls(2, share=0.5, minimum=1)
        assert [window.add(False), window.add(False)] == [False, None]

    def test_but_not_while_a_bad_one_is_in_it(self):
        window = LastCalls(2, share=1.0, minimum=1)
        window.add(False)
        assert [window.add(True), window.add(False)] == [False, False]
        assert window.add(False) is None

    def test_a_share_and_a_minimum_may_change_meanwhile(self):
        window = LastCalls(10, share=1.0, minimum=10)
        for bad in (True, False):
            window.add(bad)
        window.share, window.minimum = 0.5, 2
        assert window.holds()


class TestWithinSeconds:
    @pytest.fixture
    def window(self, clock):
        return WithinSeconds(30.0, clock, share=0.5, minimum=2)  # parts of one second

    def test_what_came_within_the_seconds_is_in_it(self, window, clock):
        window.add(True)
        clock.advance(29)
        window.add(False)
        assert seen(window) == (2, 1)

    def test_an_outcome_goes_with_its_part(self, window, clock):
        clock.advance(0.5)
        window.add(True)
        clock.advance(29.4)
        assert seen(window) == (1, 1)
        clock.advance(0.1)  # 29.5 s later: its part, of which half had passed, is 30 s old
        assert seen(window) == (0, 0)

    def test_at_the_beginning_of_its_part_it_stays_for_all_of_the_seconds(self, window, clock):
        window.add(True)
        clock.advance(29.999)
        assert seen(window) == (1, 1)
        clock.advance(0.001)
        assert seen(window) == (0, 0)

    @pytest.mark.parametrize("idle", [30, 31, 59, 60, 61, 1000, 1e9])
    def test_when_it_was_idle_it_is_empty(self, window, clock, idle):
        for _ in range(5):
            window.add(True)
        clock.advance(idle)
        assert window.failures == 0
        assert not window.holds()

    def test_stale_failures_judge_nobody(self, window, clock):
        window.add(True)
        clock.advance(40)
        assert window.add(True) is False  # one call is too few
        assert window.add(False) is True

    def test_it_never_says_that_a_good_one_changes_nothing(self, window):
        assert [window.add(False) for _ in range(50)] == [False] * 50

    def test_a_clock_that_goes_back_a_little_harms_nothing(self, clock):
        now = [1000.0]
        window = WithinSeconds(30.0, lambda: now[0], share=0.5, minimum=2)
        window.add(True)
        now[0] = 999.0
        window.add(True)
        assert seen(window) == (2, 2)

    def test_it_begins_where_the_clock_stands(self):
        window = WithinSeconds(3.0, lambda: -1e6, share=0.5, minimum=1)
        assert window.add(True) is True

    def test_to_move_on_costs_thirty_steps_at_most_however_long_it_was_idle(self, window, clock):
        class Steps(list):
            written = 0

            def __setitem__(self, place, value):
                Steps.written += 1
                super().__setitem__(place, value)

        window._calls_then = Steps(window._calls_then)
        clock.advance(1e7)
        window.add(True)
        assert Steps.written == 30


def test_what_keeps_nothing_is_no_window():
    with pytest.raises(NotImplementedError):
        Window(0.5, 1).add(True)


class TestHeirs:
    """A streak that another rule takes over passes on what comes back to it."""

    def test_what_comes_back_to_it_counts_in_its_heir(self):
        old, heir = Streak(5, 1), Streak(2)
        old.hand_over(heir)
        assert old.run is True  # a success has to be told, too
        assert old.failure() is False
        assert heir.failures == 1
        assert old.success() is False
        assert heir.failures == 0
        old.failure()
        assert old.failure() is True
        assert old.owner is heir

    def test_and_in_the_heir_of_its_heir(self):
        old, middle, heir = Streak(5), Streak(5), Streak(5)
        old.hand_over(middle)
        middle.hand_over(heir)
        old.failure()
        assert (heir.failures, old.owner) == (1, heir)

    def test_what_judges_nothing_has_nothing_to_pass_on(self):
        unjudged = Unjudged()
        unjudged.hand_over(Streak(1))
        assert unjudged.row == 0
        assert unjudged.failure() is False


class TestStreakInARule:
    def test_it_answers_like_a_window(self):
        streak = Streak(2)
        assert streak.add(False) is None
        assert streak.add(True) is False
        assert not streak.holds()
        assert streak.add(True) is True
        assert streak.holds()
        assert streak.add(False) is None
        assert (streak.failures, streak.row) == (0, 0)
