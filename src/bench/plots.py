"""Plots of the figures. matplotlib is an optional extra, so it is imported only when something is drawn."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.errors import ConfigurationError
from .report import Report, find

# colours for every kind of colour vision (Okabe and Ito), and dashes for print
_STYLES = (
    ("#0072B2", "-"),
    ("#D55E00", "--"),
    ("#009E73", "-."),
    ("#CC79A7", ":"),
    ("#56B4E9", (0, (5, 1, 1, 1, 1, 1))),
)
_SIZE_INCHES = (8.0, 4.0)
_LEAST_MS = 0.05  # a logarithm has no zero


def require() -> None:
    """Raise ConfigurationError, which names what to install, if matplotlib is missing."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigurationError(
            "plots need matplotlib: install dueq with its extra, pip install 'dueq[plots]' (in a clone: '.[plots]')"
        )


def draw(reports: Sequence[Report], directory: Path) -> list[Path]:
    """Draw each plot that the reports have figures for into ``directory``, which is made if need be; returns the files.

    The same reports give the same bytes. Raises OSError if a file cannot be written.
    """
    import matplotlib
    from matplotlib.figure import Figure as Canvas  # not pyplot, which opens windows and keeps global state

    directory.mkdir(parents=True, exist_ok=True)
    drawn = []
    with matplotlib.rc_context({"svg.hashsalt": "dueq", "svg.fonttype": "none", "font.size": 10}):
        for name, painter in _PAINTERS.items():
            canvas = Canvas(figsize=_SIZE_INCHES, layout="constrained")
            if painter(canvas, reports):
                path = directory / f"{name}.svg"
                canvas.savefig(path, metadata={"Date": None})
                drawn.append(path)
    return drawn


def _lateness(canvas: Any, reports: Sequence[Report]) -> bool:
    """The share of tasks against their lateness."""
    axes, any_drawn = canvas.subplots(), False
    for report, style in _styled(reports):
        if curve := report["lateness_curve_ms"]:
            shares, late_ms = zip(*curve, strict=True)
            axes.plot([max(ms, _LEAST_MS) for ms in late_ms], shares, label=report["strategy"], **style)
            any_drawn = True
    _floor(axes.axvline, reports, "lateness", "started p50")
    axes.set_xscale("log")
    axes.set(xlabel="milliseconds from due time to start", ylabel="share of tasks", ylim=(0, 1.01))
    axes.set_title("Lateness at 100 tasks a second, two workers", loc="left")
    _finish(axes)
    return any_drawn


def _pending(canvas: Any, reports: Sequence[Report]) -> bool:
    """Lateness against the number of pending tasks."""
    axes, any_drawn = canvas.subplots(), False
    for report, style in _styled(reports):
        for name, thinner in (("started p99", 1.0), ("started p50", 0.5)):
            points = _over(report, "scale", name)
            if points:
                pending, late_ms = zip(*points, strict=True)
                label = report["strategy"] if thinner == 1.0 else None
                width = style["linewidth"] * thinner
                axes.plot(pending, late_ms, marker="o", markersize=4, label=label, **(style | {"linewidth": width}))
                any_drawn = True
    _floor(axes.axhline, reports, "scale", "started p50")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set(xlabel="tasks pending", ylabel="milliseconds late")
    axes.set_title("Lateness against pending tasks: p99, and p50 (thin)", loc="left")
    _finish(axes)
    return any_drawn


def _cost(canvas: Any, reports: Sequence[Report]) -> bool:
    """What a task costs Redis, from its scheduling to its ack."""
    some = [report for report in reports if _value(report, "lateness", "commands a task") is not None]
    names = [report["strategy"] for report in some]
    left, right = canvas.subplots(1, 2)
    for axes, figure, title in (
        (left, "commands a task", "commands, those inside scripts included"),
        (right, "Redis time a task", "microseconds of Redis"),
    ):
        bars = axes.barh(names, [_value(report, "lateness", figure) or 0.0 for report in some], color=_STYLES[0][0])
        axes.bar_label(bars, fmt="%.0f", padding=3)
        axes.invert_yaxis()
        axes.margins(x=0.15)
        axes.set_title(title, loc="left", fontsize="medium")
        axes.spines[["top", "right"]].set_visible(False)
    canvas.suptitle("Cost of a task, from schedule to ack", x=0.01, ha="left")
    return bool(some)


_PAINTERS: Mapping[str, Callable[[Any, Sequence[Report]], bool]] = {
    "lateness": _lateness,
    "pending": _pending,
    "cost": _cost,
}


def _styled(reports: Sequence[Report]) -> list[tuple[Report, dict[str, Any]]]:
    styles = [_STYLES[number % len(_STYLES)] for number in range(len(reports))]
    return [
        (report, {"color": color, "linestyle": dashes, "linewidth": 1.8})
        for report, (color, dashes) in zip(reports, styles, strict=True)
    ]


def _floor(line: Callable[..., Any], reports: Sequence[Report], suite: str, name: str) -> None:
    """Draw a line at the lowest floor that was measured under any strategy."""
    floors = [
        one["floor"] for report in reports for one in report["figures"] if (one["suite"], one["name"]) == (suite, name)
    ]
    if known := [floor for floor in floors if floor is not None]:
        line(min(known), color="0.5", linewidth=1, linestyle=(0, (1, 2)), label="wake-up of a\nblocked client, p50")


def _over(report: Report, suite: str, name: str) -> list[tuple[int, float]]:
    return [
        (one["at"], one["value"])
        for one in report["figures"]
        if (one["suite"], one["name"]) == (suite, name) and one["at"] is not None and one["value"] is not None
    ]


def _value(report: Report, suite: str, name: str) -> float | None:
    figure = find(report, suite, name)
    return None if figure is None else figure["value"]


def _finish(axes: Any) -> None:
    axes.grid(True, which="major", color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
