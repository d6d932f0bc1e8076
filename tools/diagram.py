"""Draws the state machine for docs/ from its own tables.

    python tools/diagram.py            # writes docs/machine.svg and the tables of docs/machine.md
    python tools/diagram.py --check    # changes nothing; fails if they aren't up to date

What is drawn is `TRANSITIONS` and `ADMINISTRATIVE` of circuitry/machine.py. All that is said here
beside them is when each step is taken; a reason without words, or words without a reason, is an
error.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import NamedTuple

from circuitry.machine import ADMINISTRATIVE, TRANSITIONS
from circuitry.states import CircuitState, Reason

DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- {}: made by tools/diagram.py -->", "<!-- end -->"

#: When a circuit takes a step by itself.
WHEN = {
    Reason.TRIPPED: "failure_threshold consecutive failures",
    Reason.TIMED_OUT: "the first call after timeout_duration",
    Reason.RECOVERED: "success_threshold successful probes",
    Reason.PROBE_FAILED: "one failed probe",
}

#: Which call of an operator it is, and what the circuit does from then on.
CALLS = {
    Reason.RESET: ("reset()", "judges as usual"),
    Reason.FORCED_OPEN: ("force_open()", "rejects every call"),
    Reason.DISABLED: ("disable()", "admits every call and judges none"),
    Reason.SHADOWED: ("shadow()", "judges as usual and rejects nothing"),
}

STYLE = """\
  <style>
    text { font: 15px system-ui, sans-serif; fill: #1f2933; text-anchor: middle; dominant-baseline: central }
    .why { font-weight: 600 }
    .when { font-size: 13px; fill: #52606d }
    .left { text-anchor: start } .right { text-anchor: end }
    .state { font-weight: 600; font-size: 16px; fill: #1f2933 }
    rect { stroke-width: 2 }
    path { fill: none; stroke: #7b8794; stroke-width: 2 } polygon { fill: #7b8794 }
    .closed rect { fill: #c6f7e2; stroke: #27ab83 } .open rect { fill: #ffe3e3; stroke: #d64545 }
    .half_open rect { fill: #fff3c4; stroke: #de911d } .other rect { fill: #e4e7eb; stroke: #7b8794 }
    @media (prefers-color-scheme: dark) {
      text { fill: #e4e7eb } .when { fill: #9aa5b1 } .state { fill: #1f2933 }
    }
  </style>
"""


class Point(NamedTuple):
    """A place in the drawing, or the way from one to another."""

    x: float
    y: float

    def towards(self, other: Point, share: float) -> Point:
        return Point(self.x + (other.x - self.x) * share, self.y + (other.y - self.y) * share)

    def __str__(self) -> str:
        return f"{self.x:.0f} {self.y:.0f}"


WIDTH, RING_HEIGHT, ROW = 820, 450, 60
CENTRE = Point(WIDTH / 2, 210)
RADIUS = Point(230, 165)
BOX = Point(150, 44)
BEND = 48.0


def ring() -> dict[CircuitState, Point]:
    """Where the circuit's own states stand: on a ring, in the order of the table, clockwise."""
    states = list(dict.fromkeys(state for state, _ in TRANSITIONS))
    angles = [math.radians(150 - 360 * index / len(states)) for index in range(len(states))]
    places = [Point(CENTRE.x + RADIUS.x * math.cos(a), CENTRE.y - RADIUS.y * math.sin(a)) for a in angles]
    return dict(zip(states, places, strict=True))


def curve(start: Point, middle: Point, end: Point, share: float) -> Point:
    """A point of a quadratic curve."""
    return start.towards(middle, share).towards(middle.towards(end, share), share)


def outside(point: Point, centre: Point) -> bool:
    """Whether a point is well outside the box around `centre`."""
    return abs(point.x - centre.x) > BOX.x / 2 + 6 or abs(point.y - centre.y) > BOX.y / 2 + 6


def arrow(start: Point, end: Point, why: str, when: str) -> list[str]:
    """One step: it bends to its left, so that two that go to and fro keep apart."""
    length = math.dist(start, end)
    left = Point((end.y - start.y) / length, (start.x - end.x) / length)
    half = start.towards(end, 0.5)
    middle = Point(half.x + 2 * BEND * left.x, half.y + 2 * BEND * left.y)
    points = [curve(start, middle, end, share / 200) for share in range(201)]
    free = [index for index, at in enumerate(points) if outside(at, start) and outside(at, end)]
    first, last = free[0] / 200, free[-1] / 200
    control = start.towards(middle, first).towards(middle.towards(end, first), last)
    tip = points[free[-1]]
    path = f'  <path d="M{points[free[0]]} Q{control} {tip}"/>'
    away = BEND + 14 + 14 * abs(left.y)  # two lines of text are higher than wide
    at = Point(half.x + away * left.x, half.y + away * left.y)
    side = "left" if left.x > 0.3 else "right" if left.x < -0.3 else "middle"
    return [path, head(control, tip), *label(at, side, why, when)]


def head(origin: Point, tip: Point) -> str:
    """An arrow's head: drawn, since not everything that shows SVG turns markers rightly."""
    length = math.dist(origin, tip)
    way = Point((tip.x - origin.x) / length, (tip.y - origin.y) / length)
    back = Point(tip.x - 8 * way.x, tip.y - 8 * way.y)
    corners = (
        Point(tip.x + 4 * way.x, tip.y + 4 * way.y),
        Point(back.x - 6 * way.y, back.y + 6 * way.x),
        Point(back.x + 6 * way.y, back.y - 6 * way.x),
    )
    return f'  <polygon points="{" ".join(f"{at.x:.1f},{at.y:.1f}" for at in corners)}"/>'


def label(at: Point, side: str, why: str, when: str) -> list[str]:
    """Two lines of text beside a curve."""
    return [
        f'  <text class="why {side}" x="{at.x:.0f}" y="{at.y - 9:.0f}">{why}</text>',
        f'  <text class="when {side}" x="{at.x:.0f}" y="{at.y + 9:.0f}">{when}</text>',
    ]


def box(at: Point, text: str, kind: str) -> list[str]:
    """One state."""
    corner = f'x="{at.x - BOX.x / 2:.0f}" y="{at.y - BOX.y / 2:.0f}"'
    rect = f'<rect {corner} width="{BOX.x:.0f}" height="{BOX.y:.0f}" rx="12"/>'
    name = f'<text class="state" x="{at.x:.0f}" y="{at.y:.0f}">{text}</text>'
    return [f'  <g class="{kind}">{rect}{name}</g>']


def kind_of(state: CircuitState) -> str:
    return state.value if state in ring() else "other"


def own_steps() -> list[str]:
    """The upper part: what the circuit decides by itself."""
    places = ring()
    lines: list[str] = []
    for (state, reason), to in TRANSITIONS.items():
        lines += arrow(places[state], places[to], reason.value, WHEN[reason])
    for state, at in places.items():
        lines += box(at, state.value, kind_of(state))
    return lines


def administrative_steps() -> list[str]:
    """The lower part: what an operator decides, from any state."""
    rows = len(ADMINISTRATIVE)
    source = Point(95, RING_HEIGHT + ROW * rows / 2)
    lines: list[str] = []
    for index, (reason, state) in enumerate(ADMINISTRATIVE.items()):
        call, does = CALLS[reason]
        at = Point(435, RING_HEIGHT + ROW * (index + 0.5))
        start, end = Point(source.x + BOX.x / 2 + 4, source.y), Point(at.x - BOX.x / 2 - 6, at.y)
        level = Point(start.x + 60, end.y)
        bend = f"C{start.x + 40:.0f} {start.y:.0f} {level.x - 40:.0f} {level.y:.0f} {level}"
        lines.append(f'  <path d="M{start} {bend} L{end}"/>')
        lines.append(head(start._replace(y=end.y), end))
        lines.append(f'  <text class="why right" x="{end.x - 14:.0f}" y="{end.y - 13:.0f}">{call}</text>')
        lines += box(at, state.value, kind_of(state))
        lines.append(
            f'  <text class="when left" x="{at.x + BOX.x / 2 + 14:.0f}" y="{at.y:.0f}">{does}</text>'
        )
    return lines + box(source, "any state", "other")


def svg() -> str:
    """The drawing."""
    height = RING_HEIGHT + ROW * len(ADMINISTRATIVE) + 10
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">'
    title = "  <title>The states of a circuit, and the ways between them</title>"
    body = "\n".join([*own_steps(), *administrative_steps()])
    return f"{head}\n{title}\n{STYLE}{body}\n</svg>\n"


def transitions_table() -> str:
    """`TRANSITIONS` for readers."""
    rows = ["| from | reason | to | when |", "|---|---|---|---|"]
    for (state, reason), to in TRANSITIONS.items():
        rows.append(f"| `{state}` | `{reason}` | `{to}` | {WHEN[reason]} |")
    return "\n".join(rows)


def administrative_table() -> str:
    """`ADMINISTRATIVE` for readers."""
    rows = ["| call | reason | to | from then on the circuit |", "|---|---|---|---|"]
    for reason, state in ADMINISTRATIVE.items():
        call, does = CALLS[reason]
        rows.append(f"| `{call}` | `{reason}` | `{state}` | {does} |")
    return "\n".join(rows)


def with_tables(page: str) -> str:
    """A page with its marked parts as the tables are now."""
    for name, table in (("transitions", transitions_table()), ("administrative", administrative_table())):
        before, begin, rest = page.partition(BEGIN.format(name) + "\n")
        _, end, after = rest.partition(END)
        if not begin or not end:
            raise SystemExit(f"docs/machine.md has no marked place for the table {name!r}")
        page = f"{before}{begin}\n{table}\n\n{end}{after}"
    return page


def check_words() -> None:
    """Every reason has its words here, and no other."""
    drawn = {reason for _, reason in TRANSITIONS} | set(ADMINISTRATIVE)
    told = set(WHEN) | set(CALLS)
    if drawn != told:
        raise SystemExit(f"tools/diagram.py and the tables differ on {sorted(drawn ^ told)}")


def outdated() -> dict[Path, str]:
    """The files that aren't what the tables say, and what they should be."""
    check_words()
    page = DOCS / "machine.md"
    wanted = {DOCS / "machine.svg": svg(), page: with_tables(page.read_text(encoding="utf-8"))}
    return {
        path: text
        for path, text in wanted.items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    }


def main(arguments: list[str]) -> int:
    stale = outdated()
    if arguments == ["--check"]:
        for path in stale:
            print(f"docs/{path.name} is not what the machine's tables say: run `python tools/diagram.py`")
        return 1 if stale else 0
    for path, text in stale.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
