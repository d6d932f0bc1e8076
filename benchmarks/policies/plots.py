"""Plots as SVG, for light pages and dark ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

WIDTH, HEIGHT = 820, 400
LEFT, RIGHT, TOP, BOTTOM = 60, 20, 50, 95  # of the frame around what is plotted
#: A policy looks the same in every plot. These are good on white and on black.
COLOURS = {
    "nothing": "#7b8794",
    "classic 20 %": "#d64545",
    "default": "#de911d",
    "rate 50 %": "#8d6e3f",
    "backoff": "#27ab83",
    "ramp-up": "#3a86d8",
    "slow calls": "#3a86d8",
    "keyed": "#9b59d0",
    "adaptive": "#e05fa0",
    "adaptive, 10 s": "#2ea3b7",
}
DASHED = "nothing"

STYLE = """\
  <style>
    text { font: 13px system-ui, sans-serif; fill: #52606d; text-anchor: middle; dominant-baseline: central }
    .title { font-size: 15px; font-weight: 600; fill: #1f2933; text-anchor: start }
    .right { text-anchor: end } .left { text-anchor: start }
    .grid { stroke: #9aa5b1; stroke-width: 1; opacity: .35 } .fault { fill: #d64545; opacity: .12 }
    polyline { fill: none; stroke-width: 2.2; stroke-linejoin: round }
    @media (prefers-color-scheme: dark) { text { fill: #9aa5b1 } .title { fill: #e4e7eb } }
  </style>"""

Line = Sequence[tuple[float, float]]


class Scale(NamedTuple):
    """From a range of values to a range of pixels."""

    low: float
    high: float
    begin: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.begin + share * (self.end - self.begin), 1)


SHARE = Scale(0.0, 1.0, HEIGHT - BOTTOM, TOP)


def text(x: float, y: float, words: str, kind: str = "") -> str:
    shown = words.replace("&", "&amp;").replace("<", "&lt;")
    return f'  <text{f" class={chr(34)}{kind}{chr(34)}" if kind else ""} x="{x:g}" y="{y:g}">{shown}</text>'


def frame(title: str, content: Sequence[str]) -> str:
    """A whole drawing, with a grid of shares."""
    grid: list[str] = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = SHARE(share)
        grid.append(f'  <path class="grid" d="M{LEFT} {y:g} H{WIDTH - RIGHT}"/>')
        grid.append(text(LEFT - 8, y, f"{share:.0%}".replace("%", " %"), "right"))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
    named = f"  <title>{title}</title>"
    return "\n".join([head, named, STYLE, text(LEFT, 22, title, "title"), *grid, *content, "</svg>", ""])


def legend(names: Sequence[str]) -> list[str]:
    """Who has which colour, below the plot."""
    step = (WIDTH - LEFT - RIGHT) / len(names)
    lines: list[str] = []
    for number, name in enumerate(names):
        x, y = LEFT + number * step, HEIGHT - 24
        lines.append(stroke(name, [(x, y), (x + 22, y)]))
        lines.append(text(x + 28, y, name, "left"))
    return lines


def stroke(name: str, points: Line) -> str:
    dash = ' stroke-dasharray="6 5"' if name == DASHED else ""
    places = " ".join(f"{x:g},{y:g}" for x, y in points)
    return f'  <polyline stroke="{COLOURS[name]}"{dash} points="{places}"/>'


def lines(title: str, series: Mapping[str, Line], fault: float, words: str) -> str:
    """Shares over time, in seconds from the beginning of a fault that lasts `fault` seconds."""
    times = [time for line in series.values() for time, _ in line]
    across = Scale(min(times), max(times), LEFT, WIDTH - RIGHT)
    begin, end = across(0.0), across(fault)
    place = f'x="{begin:g}" y="{TOP}" width="{end - begin:g}" height="{SHARE(0) - TOP:g}"'
    drawn = [f'  <rect class="fault" {place}/>']
    step = 60 if max(times) > 200 else 20
    ticks = range(-(int(-min(times)) // step) * step, int(max(times)) + 1, step)
    drawn += [text(across(tick), SHARE(0) + 16, f"{tick} s") for tick in ticks]
    drawn.append(text((LEFT + WIDTH - RIGHT) / 2, SHARE(0) + 38, words))
    for name, line in reversed(list(series.items())):  # the first on top
        drawn.append(stroke(name, [(across(time), SHARE(min(share, 1.0))) for time, share in line]))
    return frame(title, [*drawn, *legend(list(series))])


def bars(title: str, groups: Sequence[str], series: Mapping[str, Sequence[float]], words: str) -> str:
    """Shares side by side: a bar of each series in each group."""
    room = (WIDTH - LEFT - RIGHT) / len(groups)
    width = room * 0.8 / len(series)
    drawn = [text(LEFT + (number + 0.5) * room, SHARE(0) + 16, name) for number, name in enumerate(groups)]
    drawn.append(text((LEFT + WIDTH - RIGHT) / 2, SHARE(0) + 38, words))
    for number, (policy, shares) in enumerate(series.items()):
        for group, share in enumerate(shares):
            x, y = LEFT + group * room + room * 0.1 + number * width, SHARE(min(share, 1.0))
            drawn.append(
                f'  <rect fill="{COLOURS[policy]}" x="{x + 1:.1f}" y="{y:g}" '
                f'width="{width - 2:.1f}" height="{SHARE(0) - y:.1f}"/>'
            )
            drawn.append(text(round(x + width / 2, 1), y - 9, f"{share:.0%}".rstrip("%")))
    return frame(title, [*drawn, *legend(list(series))])
