"""One run as an inline SVG: how late each task started, over time, and the faults that were injected.

Shape and place show the kind of a start: a diamond is a repeated start, and a start below the axis was early. Colour
only repeats that. Colours come from the page's style sheet by class, so that dark mode needs no second drawing. All
starts of one kind are one ``path``: with fifty thousand elements the page would open slowly and be ten times as large.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

from ..harness.history import Point


@dataclass(frozen=True, slots=True)
class Mark:
    """One injected fault."""

    at_s: float
    """Seconds since the first task was due; negative if the fault came before."""
    what: str
    """For people, such as ``SIGKILL worker 4711``."""
    until_s: float | None = None
    """When a fault that lasts (a partition, a frozen process) ended; None for an instantaneous one."""


WIDTH, HEIGHT = 900, 362
LEFT, RIGHT, TOP, FLOOR = 64, 888, 46, 270  # the frame; FLOOR is where the lateness axis begins
EARLY = 26  # height of the band below the floor that holds the early starts

LEAST_MS = 0.1  # starts that are less late are drawn here, since a logarithmic axis has no zero
TICKS = (
    (0.1, "0.1 ms"), (1, "1 ms"), (10, "10 ms"), (100, "100 ms"), (1_000, "1 s"), (10_000, "10 s"),
    (60_000, "1 min"), (600_000, "10 min"), (3_600_000, "1 h"),
)  # fmt: skip

DRAWN_WHOLE = 2_000  # up to this number of ordinary starts, all are drawn
STRATA = 5  # of more starts, each pixel column shows the least late, the most late, and so many between them
GOLDEN = 0.6180339887  # multiples of it, modulo 1, are spread evenly

DOT, DIAMOND, TRIANGLE = "h0", "m0-4.5l4 4.5-4 4.5-4-4.5z", "m0-4.5l4.5 8h-9z"
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def text(value: object) -> str:
    """``value`` escaped for HTML and SVG; characters that these may not contain become U+FFFD."""
    return escape(UNPRINTABLE.sub("\ufffd", str(value)))


def spell_ms(value: float | None) -> str:
    """Milliseconds for people, in a suitable unit: ``0.42 ms``, ``1.50 s``, ``2.0 min``; a dash for None."""
    if value is None:
        return "–"
    if abs(value) < 1_000:
        return f"{value:.2f} ms" if abs(value) < 10 else f"{value:.1f} ms"
    return f"{value / 1_000:.2f} s" if abs(value) < 60_000 else f"{value / 60_000:.1f} min"


def spell_when(mark: Mark) -> str:
    """When a fault happened: ``3.20 s``, or ``3.20 s to 5.00 s`` if it lasted."""
    return f"{mark.at_s:.2f} s" + ("" if mark.until_s is None else f" to {mark.until_s:.2f} s")


def in_order(marks: Iterable[Mark]) -> list[Mark]:
    """The faults by time: the order in which the plot and the list below it number them."""
    return sorted(marks, key=lambda mark: (mark.at_s, mark.what, -math.inf if mark.until_s is None else mark.until_s))


def draw(points: Sequence[Point], marks: Sequence[Mark]) -> str:
    """The plot as an ``svg`` element; the same input in any order gives the same text."""
    marks = in_order(marks)
    axes = _Axes(points, marks)
    early = [point for point in points if point.late_ms < 0]
    again = [point for point in points if point.again]
    ordinary = [point for point in points if point.late_ms >= 0 and not point.again]
    thinned = thin(ordinary, axes.column)
    never_dropped = sum(point.again or point.late_ms < 0 for point in points)
    drawn = f"{len(thinned) + never_dropped:,} of {len(points):,} starts drawn"
    if len(thinned) < len(ordinary):
        drawn += f": all repeated and early ones; of the others each column's least, worst and {STRATA} between"
    return "".join(
        [
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Lateness over time: {drawn}">\n',
            _grid(axes),
            _faults(marks, axes),
            _starts("first", thinned, DOT, axes),
            _starts("again", [point for point in again if point.late_ms >= 0], DIAMOND, axes),
            _starts("early", [point for point in early if not point.again], TRIANGLE, axes),
            _starts("early again", [point for point in early if point.again], DIAMOND, axes),
            _legend(len(points) - len(again), len(again), early, marks),
            _label(LEFT, HEIGHT - 26, "start", "seconds since the first task was due"),
            _label(LEFT, HEIGHT - 8, "start", drawn, "drawn"),
            "</svg>\n",
        ]
    )


def thin(points: Sequence[Point], column: Callable[[Point], int]) -> list[Point]:
    """The points to draw: all, or of many the least late, the most late and some ranks between in each column."""
    if len(points) <= DRAWN_WHOLE:
        return list(points)
    columns: defaultdict[int, list[Point]] = defaultdict(list)
    for point in points:
        columns[column(point)].append(point)
    drawn = []
    for number, members in columns.items():
        if len(members) > STRATA + 2:
            members.sort(key=lambda point: (point.late_ms, point.at_s))
            between = len(members) - 2
            # different ranks in each column: the same ones would draw bands that are not in the data
            phase = number * GOLDEN % 1
            ranks = [0, *(1 + int((stratum + phase) / STRATA * between) for stratum in range(STRATA)), -1]
            members = [members[rank] for rank in ranks]
        drawn += members
    return drawn


class _Axes:
    """From seconds and milliseconds to the drawing's coordinates."""

    def __init__(self, points: Sequence[Point], marks: Sequence[Mark]) -> None:
        times = [point.at_s for point in points]
        for mark in marks:
            times += [mark.at_s] if mark.until_s is None else [mark.at_s, mark.until_s]
        self.begin = min([*times, 0.0])
        self.end = max([*times, self.begin + 1.0])  # at least a second wide
        worst = max((point.late_ms for point in points), default=0.0)
        self.top_ms = next((tick for tick, _ in TICKS[2:] if tick >= worst), worst)
        self._across = (RIGHT - LEFT) / (self.end - self.begin)
        self._up = (FLOOR - TOP) / math.log(self.top_ms / LEAST_MS)

    def x(self, at_s: float) -> float:
        return LEFT + (at_s - self.begin) * self._across

    def y(self, late_ms: float) -> float:
        if late_ms < 0:
            return FLOOR + EARLY / 2
        return FLOOR - math.log(max(late_ms, LEAST_MS) / LEAST_MS) * self._up

    def column(self, point: Point) -> int:
        return int(self.x(point.at_s))

    def seconds(self) -> list[float]:
        """Round times for the x axis, at most ten."""
        rough = (self.end - self.begin) / 9
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
        first, last = math.ceil(self.begin / step), math.floor(self.end / step)
        return [number * step for number in range(first, last + 1)]


def _label(x: float, y: float, anchor: str, words: str, kind: str = "label") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text(words)}</text>\n'


def _grid(axes: _Axes) -> str:
    bottom = FLOOR + EARLY
    parts = [f'<rect class="band" x="{LEFT}" y="{FLOOR}" width="{RIGHT - LEFT}" height="{EARLY}"/>\n']
    for tick, name in TICKS:
        if tick <= axes.top_ms:
            y = axes.y(tick)
            parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{RIGHT}"/>\n')
            parts.append(_label(LEFT - 6, y + 4, "end", name, "tick"))
    parts.append(_label(LEFT - 6, FLOOR + EARLY / 2 + 6, "end", "early"))
    for at_s in axes.seconds():
        x = axes.x(at_s)
        parts.append(f'<path class="grid" d="M{x:.1f} {bottom}v5"/>\n')
        parts.append(_label(x, bottom + 18, "middle", f"{at_s:g}"))
    parts.append(f'<path class="axis" d="M{LEFT} {TOP}V{bottom}M{LEFT} {FLOOR}H{RIGHT}"/>\n')
    return "".join(parts)


def _faults(marks: Sequence[Mark], axes: _Axes) -> str:
    parts = []
    free_from = 0.0  # numbers that would overlap are left out; the tooltip has them all
    height = FLOOR + EARLY - TOP
    for number, mark in enumerate(marks, 1):
        x = axes.x(mark.at_s)
        parts.append(f'<g class="fault"><title>{number}. {text(mark.what)}, {spell_when(mark)}</title>')
        if mark.until_s is not None:
            width = max(axes.x(mark.until_s) - x, 1.0)
            parts.append(f'<rect x="{x:.1f}" y="{TOP}" width="{width:.1f}" height="{height}"/>')
        # the wide, invisible line makes the fault easy to point at
        parts.append(f'<path class="hit" d="M{x:.1f} {TOP}v{height}"/><path d="M{x:.1f} {TOP}v{height}"/>')
        if x >= free_from:
            parts.append(f'<text x="{x:.1f}" y="{TOP - 4}" text-anchor="middle">{number}</text>')
            free_from = x + 8 + 7 * len(str(number))
        parts.append("</g>\n")
    return "".join(parts)


def _starts(kind: str, points: Iterable[Point], shape: str, axes: _Axes) -> str:
    places = sorted((axes.x(point.at_s), axes.y(point.late_ms)) for point in points)
    return f'<path class="{kind}" d="{"".join(f"M{x:.1f} {y:.1f}{shape}" for x, y in places)}"/>\n' if places else ""


def _legend(first: int, again: int, early: Sequence[Point], marks: Sequence[Mark]) -> str:
    by_up_to = f", by up to {spell_ms(-min(point.late_ms for point in early))}" if early else ""
    lasting = sum(mark.until_s is not None for mark in marks)
    area = '<rect y="3" width="12" height="14"/>'
    entries = [
        (f'<path class="first" d="M5 10{DOT}"/>', f"first start ({first:,})"),
        (f'<path class="again" d="M5 10{DIAMOND}"/>', f"repeated start ({again:,})"),
        (f'<path class="early" d="M5 10{TRIANGLE}"/>', f"early start ({len(early):,}{by_up_to})"),
        ('<g class="fault"><path d="M5 3v14"/></g>', f"fault ({len(marks) - lasting:,})"),
        (f'<g class="fault"><path d="M0 3v14"/>{area}</g>', f"fault that lasts ({lasting:,})"),
    ]
    parts, x = [], float(LEFT)
    for sample, words in entries:
        entry = sample + _label(16, 14, "start", words)
        parts.append(f'<g class="legend" transform="translate({x:.0f} 0)">{entry}</g>\n')
        x += 36 + 6.2 * len(words)
    return "".join(parts)
