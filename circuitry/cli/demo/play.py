"""Runs the demo once, from the first server to the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from circuitry.cli.demo.assembly import set_stage
from circuitry.cli.demo.report import report_on

if TYPE_CHECKING:
    from circuitry.cli.demo.display import Display
    from circuitry.cli.demo.report import Report
    from circuitry.cli.demo.scenario import Scenario

PICTURES_PER_SECOND = 8.0


async def play(scenario: Scenario, port: int, display: Display) -> Report:
    """Set the stage, run, and report; whatever happens, the servers stop and the display is closed."""
    async with set_stage(scenario, port) as stage:
        display.open(stage)
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(_keep_showing, display)
                await stage.run()
                group.cancel_scope.cancel()
            display.refresh()
        finally:
            display.close()
        return report_on(stage)


async def _keep_showing(display: Display) -> None:
    while True:
        await anyio.sleep(1 / PICTURES_PER_SECOND)
        display.refresh()
