"""One run of the fleet's demo: the platforms, the workers, Redis and the visitors, and what has happened."""

from __future__ import annotations

import time
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import anyio

from circuitry import CircuitState
from circuitry.cli.demo.fleet.chorus import Chorus, Voices
from circuitry.cli.demo.fleet.crew import PATIENCE, Member, Turn, start_member, until_ready
from circuitry.cli.demo.fleet.plan import AGREEING, Step
from circuitry.cli.demo.fleet.server import OwnServer
from circuitry.cli.demo.fleet.worker import CALL, Settings
from circuitry.cli.demo.gateway import REGIONS
from circuitry.cli.demo.platforms import PLATFORMS, SICK, Platform, PlatformServer
from circuitry.cli.demo.scenario import Fault
from circuitry.cli.demo.stage import News
from circuitry.cli.demo.traffic import Visitors

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from circuitry.cli.demo.fleet.plan import Plan
    from circuitry.cli.demo.fleet.server import GivenServer
    from circuitry.cli.demo.web import Request, Response

LAST_ANSWERS = 0.6  # seconds for those still waiting when the run ends
UP, FROZEN, AWAY = "up", "frozen", "away"


class WatchedPlatform(PlatformServer):
    """A platform that sees which of its requests are probes, and whose."""

    def __init__(self, stage: FleetStage, platform: Platform) -> None:
        super().__init__(platform, slow_answer=0.0)
        self.probes: list[tuple[str, str]] = []  # under way: the worker, and for whom it probes
        self.most_probes: dict[str, int] = {}  # at once
        self.probed: list[tuple[float, str]] = []  # when, and by whom
        self.failed_at: list[float] = []  # when it was asked while sick
        self._stage = stage

    async def handle(self, request: Request) -> Response:
        """Answer, or don't."""
        name, _, role = request.user_agent.partition("/")
        if self.fault is not Fault.NONE:
            self.failed_at.append(self._stage.now())
        if role == CALL:
            return await super().handle(request)
        probe = (name, role)
        self.probes.append(probe)
        self.probed.append((self._stage.now(), name))
        at_once = sum(1 for _, another in self.probes if another == role)
        self.most_probes[role] = max(at_once, self.most_probes.get(role, 0))
        try:
            self._stage.probed(self, name)
            return await super().handle(request)
        finally:
            self.probes.remove(probe)


class FleetStage:
    """All that takes part in a run, for the displays and the report to look at."""

    def __init__(self, plan: Plan, redis: OwnServer | GivenServer) -> None:
        self.plan = plan
        self.redis = redis
        self.servers = [WatchedPlatform(self, platform) for platform in PLATFORMS]
        self.sick = next(server for server in self.servers if server.platform is SICK)
        self.ports: dict[str, int] = {}
        self.members: list[Member] = []  # the killed among them
        self._reserve: list[Member] = []  # started, and not needed yet
        self.news: list[News] = []
        self.faults: list[tuple[float, Fault]] = [(0.0, Fault.NONE)]
        self.redis_states: list[tuple[float, str]] = [(0.0, UP)]
        self.killed: Member | None = None
        self.replacement: Member | None = None
        self.start = time.monotonic()
        self._is_hunting = False
        self._hunted = anyio.Event()
        self._chorus = Chorus()

    def now(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.start

    def fault(self) -> Fault:
        """How the sick platform is now."""
        return self.sick.fault

    @property
    def alive(self) -> list[Member]:
        """The workers that serve."""
        return [member for member in self.members if member.is_alive]

    @property
    def redis_state(self) -> str:
        """How Redis is now."""
        return self.redis_states[-1][1]

    @property
    def agree(self) -> bool:
        """Whether all circuits are closed in all workers."""
        return all(
            state == CircuitState.CLOSED for member in self.alive for state, _ in member.states.values()
        )

    # -- The crew ---------------------------------------------------------------------------------------

    async def gather(self, group: TaskGroup) -> None:
        """Start all workers, and one more for the one that will be killed."""
        for number in range(self.plan.workers + 1):
            self._reserve.append(await start_member(f"worker-{number + 1}"))
            group.start_soon(self._reserve[-1].hear, self._told)
        with anyio.move_on_after(PATIENCE):
            for member in self._reserve:
                await member.loaded.wait()

    async def hire(self, number: int) -> list[Member]:
        """Let so many workers begin, and wait until they serve."""
        hired, self._reserve = self._reserve[:number], self._reserve[number:]
        self.members += hired
        for member in hired:
            await member.begin(self._settings(member.name))
        await until_ready(hired)
        for member in hired:
            member.started_at = self.now()
            member.visitors = Visitors(member.port, self.now, self.fault)
        return hired

    async def dismiss(self) -> None:
        """End all workers."""
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as group:
                for member in (*self.members, *self._reserve):
                    group.start_soon(member.end)

    def _settings(self, name: str) -> Settings:
        plan = self.plan
        return Settings(
            name=name,
            ports=self.ports,
            redis_url=self.redis.url,
            prefix=self.redis.prefix,
            open_for=plan.open_for,
            client_timeout=plan.client_timeout,
            pages_at_once=plan.pages_at_once,
        )

    def _told(self, member: Member, what: str, value: Any) -> None:
        if what == "turned":
            turn = member.turns[-1]
            by_fleet = turn.source == "fleet"
            key = (turn.platform_id, turn.old_state, turn.new_state)
            self._chorus.hear(
                key, member.name, turn.moment, partial(self._tell_turn, turn), by_fleet=by_fleet
            )
        elif what == "redis":
            kind, _, moment = value
            self._chorus.hear(kind, member.name, moment, partial(self._tell_redis, kind))

    def _tell_turn(self, turn: Turn, voices: Voices) -> None:
        name = next(platform.name for platform in PLATFORMS if platform.id == turn.platform_id)
        change = f"{turn.old_state} -> {turn.new_state}".replace("_", "-")
        whose = "fleet" if voices.by_fleet else "alone"
        text = f"{name} {change} {voices.of(len(self.alive))} ({whose})"
        self._tell(turn.new_state, text, voices.first - self.start)

    def _tell_redis(self, kind: str, voices: Voices) -> None:
        self._tell(kind, f"Redis {kind} {voices.of(len(self.alive))}", voices.first - self.start)

    def _tell(self, about: str, text: str, moment: float | None = None) -> None:
        self.news.append(News(self.now() if moment is None else moment, about, text))

    # -- The run ----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Send the visitors while things break and heal."""
        self.start = time.monotonic()
        async with anyio.create_task_group() as inner:
            inner.start_soon(self._chorus.run)
            inner.start_soon(self._take_steps)
            inner.start_soon(self._replace_the_killed)
            await self._send_visitors(inner)
            await anyio.sleep(LAST_ANSWERS)
            inner.cancel_scope.cancel()
        self._chorus.tell_all(time.monotonic())

    async def _send_visitors(self, group: TaskGroup) -> None:
        """One after the other to every worker, never waiting for an answer.

        When the time is over they go on until all agree: without calls, no circuit recovers.
        """
        per_second, begin = self.plan.pages_per_second, anyio.current_time()
        numbers = count()
        while True:
            number = next(numbers)
            moment = number / per_second
            await anyio.sleep_until(begin + moment)
            if moment >= self.plan.seconds and (self.agree or moment >= self.plan.seconds + AGREEING):
                return
            for member in self.alive:
                if member.visitors is not None:
                    group.start_soon(member.visitors.visit, REGIONS[number % len(REGIONS)])

    async def _take_steps(self) -> None:
        begin = anyio.current_time()
        for moment, step in self.plan.steps:
            await anyio.sleep_until(begin + moment)
            await self._take(step)

    async def _take(self, step: Step) -> None:
        match step:
            case Step.BREAK:
                self._set_fault(Fault.ERRORS, "breaks: it answers 500 to everything")
            case Step.HANG:
                self._set_fault(Fault.HANGING, "hangs: it takes requests and never answers")
            case Step.HEAL:
                self._is_hunting = False
                self._set_fault(Fault.NONE, "is well")
            case Step.KILL_PROBER:
                self._is_hunting = True
            case _:
                await self._disturb_redis(step)

    def _set_fault(self, fault: Fault, told: str) -> None:
        if fault is not self.sick.fault:
            self.sick.fault = fault
            self.faults.append((self.now(), fault))
            self._tell(fault, f"{SICK.name} {told}")

    async def _disturb_redis(self, step: Step) -> None:
        redis = self.redis
        assert isinstance(redis, OwnServer)
        if step is Step.FREEZE:
            redis.freeze()
            self._set_redis(FROZEN, "is frozen (SIGSTOP): it takes connections and doesn't answer")
        elif step is Step.THAW:
            redis.thaw()
            self._set_redis(UP, "goes on (SIGCONT)")
        elif step is Step.STOP:
            await redis.stop()
            self._set_redis(AWAY, "is killed (SIGKILL)")
        else:
            await redis.start()
            self._set_redis(UP, "is started again, empty")

    def _set_redis(self, state: str, told: str) -> None:
        self.redis_states.append((self.now(), state))
        self._tell(state, f"Redis {told}")

    # -- The killed prober ------------------------------------------------------------------------------

    def probed(self, server: WatchedPlatform, name: str) -> None:
        """A probe has arrived: if a prober is to be killed, it is this one, with the probe in its hands."""
        if not self._is_hunting or server is not self.sick:
            return
        self._is_hunting = False
        self.killed = next(member for member in self.alive if member.name == name)
        self.killed.kill()
        self.killed.ended_at = self.now()
        self._tell("killed", f"{name} is killed (SIGKILL) while it holds the fleet's only probe")
        self._set_fault(Fault.NONE, "is well from this moment on")
        self._hunted.set()

    async def _replace_the_killed(self) -> None:
        """As any process manager would."""
        await self._hunted.wait()
        (new,) = await self.hire(1)
        self.replacement, new.knew = new, new.states[SICK.id][0]
        told = new.knew.replace("_", "-")
        self._tell("hired", f"{new.name} takes its place, and knows: {SICK.name} is {told}")
