"""Runs the demo once, from the first server to the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

from circuitry.cli.demo.assembly import set_stage
from circuitry.cli.demo.report import report_on

if TYPE_CHECKING:
    from circuitry.cli.demo.display import Display
    from circuitry.cli.demo.report import Report
    from circuitry.cli.demo.scenario import Scenario
    from circuitry.cli.demo.stage import Stage

PICTURES_PER_SECOND = 8.0


async def play(scenario: Scenario, port: int, display: Display[Stage, Report]) -> Report:
    """Set the stage, run, and report; whatever happens, the servers stop and the display is closed."""
    async with set_stage(scenario, port) as stage:
        display.open(stage)
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(keep_showing, display)
                await stage.run()
                group.cancel_scope.cancel()
            display.refresh()
        finally:
            display.close()
        return report_on(stage)


async def keep_showing(display: Display[Any, Any]) -> None:
    """Show what is new, several times a second, until cancelled."""
    while True:
        await anyio.sleep(1 / PICTURES_PER_SECOND)
        display.refresh()
