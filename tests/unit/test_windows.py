"""Evidence: what a circuit has seen lately."""

from __future__ import annotations

import copy
import sys
import threading

import pytest

from circuitry.windows import Streak, Unjudged

pytestmark = pytest.mark.core


class TestStreak:
    def test_it_begins_with_no_failure(self):
        streak = Streak(3)
        assert streak.failures == 0
        assert streak.run is False
        assert streak.limit == 3

    @pytest.mark.parametrize("failures", [1, 2])
    def test_or_with_as_many_as_are_given(self, failures):
        streak = Streak(failures + 1, failures)
        assert streak.failures == failures
        assert streak.run is True
        assert streak.failure() is True

    def test_the_failure_that_meets_the_limit_trips(self):
        streak = Streak(3)
        assert [streak.failure() for _ in range(3)] == [False, False, True]

    def test_and_so_does_each_after_it(self):
        """Of several that race, each tries to open the circuit; the machine lets one of them."""
        streak = Streak(1)
        assert [streak.failure(), streak.failure()] == [True, True]

    def test_failures_can_be_read_without_counting_one(self):
        streak = Streak(3)
        streak.failure()
        assert [streak.failures, streak.failures] == [1, 1]
        assert streak.failure() is False

    def test_a_long_streak_is_counted_on(self):
        streak = Streak(20_000, 12_344)
        streak.failure()
        assert streak.failures == 12_345

    def test_after_a_failure_the_next_success_has_to_be_told(self):
        streak = Streak(3)
        streak.failure()
        assert streak.run is True

    def test_a_success_ends_it_and_no_step_is_due(self):
        streak = Streak(3, 2)
        assert streak.success() is False
        assert streak.failures == 0
        assert streak.run is False
        assert [streak.failure() for _ in range(3)] == [False, False, True]

    def test_the_limit_may_change_meanwhile(self):
        streak = Streak(5)
        streak.failure()
        streak.limit = 2
        assert streak.failure() is True

    def test_a_copy_goes_its_own_way(self):
        streak = Streak(3, 1)
        other = copy.copy(streak)
        other.failure()
        assert (streak.failures, other.failures) == (1, 2)
        assert (other.limit, other.run) == (3, True)

    def test_a_failure_that_comes_in_the_middle_of_a_success_leaves_its_mark(self):
        """A mark without a failure costs a success that is told in vain. A failure without a mark
        would cost one that is never told, and the streak would go on."""

        class Meddled(Streak):
            __slots__ = ()
            meddling = None

            def __setattr__(self, name, value):
                super().__setattr__(name, value)
                if name == self.meddling:
                    self.failure()

        streak = Meddled(3, 1)
        Meddled.meddling = "_next"  # as the new streak begins
        streak.success()
        assert streak.failures == 1
        assert streak.run is True

    def test_of_threads_that_fail_at_once_none_is_lost_and_one_meets_the_limit(self):
        streak = Streak(4000)
        met = []

        def fail():
            for _ in range(1000):
                if streak.failure():
                    met.append(streak.failures)

        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            threads = [threading.Thread(target=fail) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            sys.setswitchinterval(interval)
        assert streak.failures == 4000
        assert met == [4000]


class TestUnjudged:
    def test_it_never_trips_and_takes_no_step(self):
        unjudged = Unjudged()
        assert [unjudged.failure(), unjudged.success()] == [False, False]

    def test_it_counts_nothing_and_needs_to_be_told_nothing(self):
        unjudged = Unjudged()
        unjudged.failure()
        assert unjudged.failures == 0
        assert unjudged.run is False
