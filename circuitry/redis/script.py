"""What is said to the script: each operation becomes a `Command`.

What comes back is read by `views.py`. Nothing here does I/O or knows a client library: whoever can
run a command on Redis passes in how.
"""

from __future__ import annotations

import hashlib
import math
import pkgutil
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from circuitry.redis.keys import Keys, Naming
from circuitry.redis.views import Refusal, refusal
from circuitry.states import CircuitState, Limits, Outcome

#: The longest that a probe's slot is kept for a member from which nothing is heard.
LONGEST_LEASE = 5.0
_TEN_YEARS_MS = 315_360_000_000  # further ahead, the server's microseconds would lose digits

#: What a member of a fleet may do, as `ACL SETUSER` takes it. `{prefix}` is the setting. Where the
#: database isn't 0, `+select` comes on top; in a Redis Cluster `+cluster|slots +command`, which redis-py
#: needs to find the nodes.
MEMBER_RIGHTS = (
    "resetchannels ~{prefix}* &{prefix}* +eval +evalsha +time +get +set +del +hmget +hset +hgetall +hdel "
    "+pexpire +persist +pttl +zadd +zrem +zcount +zscore +zrangebyscore +zremrangebyscore "
    "+zremrangebyrank +rpush +ltrim +publish +subscribe +unsubscribe +ping +hello"
)

#: What somebody may do who only looks on: a command line, a page. No write among it.
OBSERVER_RIGHTS = (
    "resetchannels ~{prefix}* &{prefix}* +eval +evalsha +time +get +hmget +zcount +zrangebyscore +lrange "
    "+scan +subscribe +unsubscribe +ping +hello"
)


class Rules(NamedTuple):
    """The settings of a circuit as the script takes them; durations in milliseconds.

    The script judges by the rules of whoever asks: members may differ, for example during a
    deployment.
    """

    failure_threshold: int  # 0 where a rule judges: then members report windows, and trip it themselves
    success_threshold: int
    timeout_ms: int
    half_open_max_calls: int
    lease_ms: int  # how long a probe's slot is kept without a renewal
    keep_ms: int  # how long the keys stay at least, on top of the time until the deadline
    quorum: int = 1  # so many members' failures open the circuit
    presence_ms: int = 30_000  # how long a member counts as present after it was last heard of

    @classmethod
    def of(cls, limits: Limits, *, quorum: int = 1, check_period: float = 10.0) -> Rules:
        """The rules of a circuit with these limits, whose members check every `check_period`."""
        timeout = _milliseconds(limits.timeout_duration)
        check = _milliseconds(check_period)
        return cls(
            limits.failure_threshold if limits.rule is None else 0,
            limits.success_threshold,
            timeout,
            limits.half_open_max_calls,
            _milliseconds(min(LONGEST_LEASE, limits.probe_timeout)),
            keep_ms=max(4 * timeout, 6 * check),
            quorum=quorum,
            presence_ms=3 * check,
        )

    @property
    def lease(self) -> float:
        """Seconds that a lease lasts."""
        return self.lease_ms / 1000

    @property
    def fingerprint(self) -> str:
        """To compare with `View.rules`: equal if both go by the same numbers."""
        return "/".join(map(str, self[:4]))


def _milliseconds(seconds: float) -> int:
    """Rounded up: a deadline may come late, never early."""
    return max(1, math.ceil(min(seconds * 1000, _TEN_YEARS_MS)))


class Subject(NamedTuple):
    """A circuit, as operations name it."""

    name: str
    keys: Keys
    rules: Rules


class Command(NamedTuple):
    """One call of the script."""

    keys: tuple[str, ...]
    argv: tuple[str, ...]

    @property
    def tail(self) -> tuple[str | int, ...]:
        """What EVAL and EVALSHA take after the script."""
        return len(self.keys), *self.keys, *self.argv


def compact(runs: Sequence[int]) -> tuple[int, ...]:
    """The shortest runs with the same effect, at most five.

    Runs are in the order in which calls ended: n > 0 is n failures, 0 is a success. The first
    failures add to the streak that stands in Redis, the last ones begin the one that will; of
    those between two successes only the longest can open the circuit.
    """
    streaks = [0]
    for run in runs:
        if run:
            streaks[-1] += run
        else:
            streaks.append(0)
    if len(streaks) > 2:
        streaks = [streaks[0], max(streaks[1:-1]), streaks[-1]]
        if not streaks[1]:
            del streaks[1]
    spelled = [number for streak in streaks for number in (0, streak)][1:]
    return tuple(number for place, number in enumerate(spelled) if number or place % 2)


class Script:
    """The script as one member sees it.

    Args:
        naming: how names become keys.
        member: who speaks: a text without white space, a new one for each process and store.
        db: the database, which names the channel.
        source: another text of the script, for tests of the tests.
    """

    def __init__(self, naming: Naming, member: str, db: int = 0, source: str | None = None) -> None:
        self.naming = naming
        self.member = member
        self.channel = naming.channel(db)
        self.source = SOURCE if source is None else source
        self.sha = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()
        #: The server's time in microseconds, for tests; None asks the server.
        self.now: int | None = None

    def subject(self, name: str, rules: Rules) -> Subject:
        """The circuit of this name under these rules.

        Raises:
            ConfigurationError: the name can't be made into keys.
        """
        return Subject(name, self.naming.keys(name), rules)

    # -- Operations ----------------------------------------------------------------------------------

    def sync(self, *asked: tuple[Subject, int]) -> Command:
        """See where circuits stand, as a member: each with the version known of it, or 0.

        In a Redis Cluster one at a time. The reply is for `views_of`.
        """
        return self._command("sync", asked)

    def peek(self, *subjects: Subject) -> Command:
        """See where circuits stand, and change nothing. The reply is for `views_of`."""
        return self._command("peek", [(subject, 0) for subject in subjects])

    def batch(
        self,
        subject: Subject,
        known: int,
        epoch: int,
        runs: Sequence[int],
        cause: str,
        *,
        settled: bool = True,
        best_before: int | None = None,
        wait: float | None = None,
    ) -> Command:
        """Tell how closed calls ended that were admitted in `epoch`: see `compact`.

        `best_before`: after that time of the server's (in microseconds) it is to be taken for stale.

        `wait`: the seconds for which it stays open if it opens by this; None is its timeout.

        `settled`: this member has been present for a whole presence period, or has seen another
        one. Until then it doesn't take itself for the last one left, which would do for a quorum.
        """
        counts = tuple(str(run) for run in runs)
        rest = _or_nothing(best_before), _wait(wait), cause
        return self._one("batch", subject, known, epoch, int(settled), *rest, *counts)

    def pool(
        self,
        subject: Subject,
        known: int,
        epoch: int,
        counts: Sequence[tuple[int, int]],
        *,
        sign: str,
        keep_ms: int,
        best_before: int | None = None,
        seat: int = 1,
    ) -> Command:
        """Tell what this member's windows hold, and learn what those of the whole fleet do: `View.pooled`.

        `counts`: of each window, how many calls are in it and how many of them are bad. Only windows with
        the same `sign`, a text without white space, are added up. They count for `keep_ms`, or until they
        are told anew. `seat` tells circuits of one name apart that this member has.
        """
        numbers = [number for pair in counts for number in pair]
        until = _or_nothing(best_before)
        return self._one("pool", subject, known, epoch, until, seat, keep_ms, sign, *numbers)

    def acquire(self, subject: Subject, known: int, token: str) -> Command:
        """Ask for leave to probe. A token is used for one request only."""
        return self._one("acquire", subject, known, token)

    def done(
        self,
        subject: Subject,
        known: int,
        epoch: int,
        token: str,
        outcome: Outcome,
        cause: str = "",
        *,
        wait: float | None = None,
    ) -> Command:
        """Tell how a probe ended; `wait` as for `batch`."""
        return self._one("done", subject, known, epoch, token, outcome.value, _wait(wait), cause)

    def renew(self, subject: Subject, known: int, epoch: int, tokens: Sequence[str]) -> Command:
        """Go on holding the slots of probes that still run."""
        return self._one("renew", subject, known, epoch, *tokens)

    def trip(
        self,
        subject: Subject,
        known: int,
        epoch: int,
        cause: str,
        *,
        best_before: int | None = None,
        wait: float | None = None,
    ) -> Command:
        """Open the circuit by a rule that was evaluated elsewhere, on evidence of `epoch`."""
        return self._one("trip", subject, known, epoch, _or_nothing(best_before), _wait(wait), cause)

    def force(
        self, subject: Subject, known: int, mode: CircuitState, actor: str, seconds: float | None = None
    ) -> Command:
        """Bring the fleet into an administrative state, for ever or for `seconds`."""
        duration = "" if seconds is None else _milliseconds(seconds)
        return self._one("force", subject, known, mode.value, duration, actor)

    def reset(self, subject: Subject, known: int, actor: str) -> Command:
        """Close the circuit for the fleet, and forget all."""
        return self._one("reset", subject, known, actor)

    def _one(self, op: str, subject: Subject, known: int, *rest: object) -> Command:
        return self._command(op, [(subject, known)], *rest)

    def _command(self, op: str, asked: Sequence[tuple[Subject, int]], *rest: object) -> Command:
        argv: list[object] = [op, "" if self.now is None else self.now, self.channel, self.member]
        keys: list[str] = []
        for subject, known in asked:
            keys += subject.keys
            argv += [subject.name, known, *subject.rules]
        return Command(tuple(keys), tuple(str(value) for value in (*argv, *rest)))

    # -- Running ---------------------------------------------------------------------------------------

    def by_sha(self, command: Command) -> tuple[str | int, ...]:
        """The command as Redis takes it, if it knows the script."""
        return "EVALSHA", self.sha, *command.tail

    def by_source(self, command: Command) -> tuple[str | int, ...]:
        """The command as Redis takes it, script and all."""
        return "EVAL", self.source, *command.tail

    def run(self, execute: Callable[..., Any], command: Command) -> Any:
        """Run it by `execute(*args)`: by its hash, and by its text where the server lacks it."""
        try:
            return execute(*self.by_sha(command))
        except Exception as error:
            if refusal(error) is not Refusal.NOSCRIPT:
                raise
        return execute(*self.by_source(command))


def _or_nothing(number: int | None) -> object:
    return "" if number is None else number


def _wait(seconds: float | None) -> object:
    return "" if seconds is None else _milliseconds(seconds)


def _source() -> str:
    files = [pkgutil.get_data(__name__, name) or b"" for name in ("circuit.lua", "keeping.lua")]
    return b"\n".join(files).decode()


#: The script: what a circuit does, and how it is kept.
SOURCE = _source()
