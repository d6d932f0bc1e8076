"""One run of the demo: the platforms, a gateway with circuits and one without, and their visitors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import anyio

from circuitry import CircuitState
from circuitry.cli.demo.platforms import PLATFORMS, SICK, PlatformServer
from circuitry.cli.demo.scenario import Fault
from circuitry.cli.demo.traffic import send_visitors

if TYPE_CHECKING:
    from circuitry import CircuitBreaker, TransitionEvent
    from circuitry.cli.demo.platforms import Platform
    from circuitry.cli.demo.scenario import Scenario
    from circuitry.cli.demo.traffic import Visitors

WITH = "gateway-with-circuits"
WITHOUT = "gateway-without-circuits"
LAST_ANSWERS = 1.0  # seconds for those still waiting when the run ends


class News(NamedTuple):
    """Something that happened, so many seconds after the start. `about` is a circuit's state or a fault."""

    moment: float
    about: str
    text: str


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two gateways, and all who visit it."""

    name: str
    visitors: Visitors


@dataclass(frozen=True, slots=True)
class Circuit:
    """A platform's circuit, and the states it was in, each with the moment it began."""

    platform: Platform
    breaker: CircuitBreaker
    history: list[tuple[float, str]]


class Stage:
    """All that takes part in a run, for the displays and the report to look at."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.servers = [PlatformServer(platform, scenario.slow_answer) for platform in PLATFORMS]
        self.sick = next(server for server in self.servers if server.platform is SICK)
        self.circuits: list[Circuit] = []
        self.sides: list[Side] = []
        self.faults: list[tuple[float, Fault]] = [(0.0, Fault.NONE)]
        self.news: list[News] = []
        self.ports: dict[str, int] = {}
        self._start = anyio.current_time()

    def now(self) -> float:
        """Seconds since the start."""
        return anyio.current_time() - self._start

    def fault(self) -> Fault:
        """How the sick platform is now."""
        return self.sick.fault

    def watch(self, platform_id: str, breaker: CircuitBreaker) -> None:
        """Follow a platform's circuit."""
        platform = next(platform for platform in PLATFORMS if platform.id == platform_id)
        circuit = Circuit(platform, breaker, [(0.0, CircuitState.CLOSED)])
        self.circuits.append(circuit)

        def heard(event: TransitionEvent) -> None:
            circuit.history.append((self.now(), event.new_state))
            self.news.append(News(self.now(), event.new_state, f"{platform.name}: {_told(event)}"))

        breaker.on_transition(heard)

    async def run(self) -> None:
        """Send the visitors while the sick platform breaks and heals."""
        crowds = [side.visitors for side in self.sides]
        self._start = anyio.current_time()
        async with anyio.create_task_group() as group:
            group.start_soon(self._break_and_heal)
            await send_visitors(crowds, self.scenario.pages_per_second, self.scenario.seconds, LAST_ANSWERS)

    async def _break_and_heal(self) -> None:
        for phase in self.scenario.phases:
            await anyio.sleep_until(self._start + phase.start)
            self.sick.fault = phase.fault
            self.faults.append((self.now(), phase.fault))
            self.news.append(News(self.now(), phase.fault, self._tell(phase.fault)))

    def _tell(self, fault: Fault) -> str:
        told = {
            Fault.NONE: "is well",
            Fault.ERRORS: "breaks: it answers 500 to everything",
            Fault.HANGING: "hangs: it takes requests and never answers",
            Fault.SLOW: f"is slow: it takes {self.scenario.slow_answer:.1f} s, and the gateways "
            f"wait {self.scenario.client_timeout:.1f} s",
        }
        return f"{SICK.name} {told[fault]}"


def _told(event: TransitionEvent) -> str:
    """`closed -> open (TimeoutError: no answer within 0.5 s)`: what opened it, or why else it changed."""
    why = event.last_failure if event.new_state == CircuitState.OPEN else None
    change = f"{event.old_state} -> {event.new_state}".replace("_", "-")
    return f"{change} ({why or event.reason.replace('_', ' ')})"
