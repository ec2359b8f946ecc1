"""Pictures of what the dashboards show of real runs: ``python -m grafana.previews DIRECTORY``, in tests/.

Grafana does not draw them. A real Prometheus watches real engines, first in good health, then with workers killed and
more work than can be done on time. The program sends it every graph's own queries, and draws the replies by matplotlib.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

from .committed import boards, filled
from .prometheus import Labels
from .scene import Scene, played

mpl.use("Agg")

from matplotlib import pyplot as plt  # after the choice of a backend without a screen
from matplotlib.figure import Figure

_COLUMNS = 3
_MIB = 1 << 20
_AXES: dict[str, tuple[str, float]] = {
    "s": ("seconds", 1),
    "suffix:×": ("times the rate that the budget allows", 1),
    "percentunit": ("per cent", 0.01),
    "short": ("how many", 1),
    "cps": ("per second", 1),
    "bytes": ("MiB", _MIB),
}
"""What each of Grafana's units is called on an axis, and how many of its own make one of that."""
STYLES = [(colour, line) for line in ("-", "--", ":") for colour in mpl.colormaps["tab10"].colors]  # type: ignore[attr-defined]
"""How lines are told apart: ten colours, then the same colours broken, then dotted."""


def draw(scene: Scene, board: dict[str, Any], what: str) -> Figure:
    """All graphs of a dashboard as one picture; ``what`` says of which kind of run. Close it after use."""
    graphs = [panel for panel in board["panels"] if panel["type"] == "timeseries"]
    rows = -(-len(graphs) // _COLUMNS)
    figure, axes = plt.subplots(rows, _COLUMNS, figsize=(15, 3.2 * rows), squeeze=False, layout="constrained")
    for at, panel in enumerate(graphs):
        _graph(scene, panel, axes[at // _COLUMNS][at % _COLUMNS])
    for at in range(len(graphs), rows * _COLUMNS):
        axes[at // _COLUMNS][at % _COLUMNS].remove()
    figure.suptitle(f"{board['title']}, {what}: a preview, drawn from the data of a real run, not by Grafana")
    return figure


def _graph(scene: Scene, panel: dict[str, Any], axis: Any) -> None:
    label, size = axis_of(panel)
    lines = list(_lines(scene, panel))
    some = [(name, seconds, values) for name, seconds, values in lines if any(values)]
    for (name, seconds, values), (colour, line) in zip(some, itertools.cycle(STYLES), strict=False):
        axis.plot(seconds, [v / size for v in values], linewidth=1.2, color=colour, linestyle=line, label=name)
    if some:
        axis.set_ylim(bottom=0)
        axis.legend(fontsize=6, loc="upper left")
    else:  # a graph without a line must say why
        text = f"0 throughout ({len(lines)} lines)" if lines else "nothing happened that it could show"
        axis.text(0.5, 0.5, text, ha="center", va="center", fontsize=9, transform=axis.transAxes)
        axis.set_ylim(0, 1)
    axis.set_xlim(0, scene.window.seconds)
    axis.set_title(panel["title"], fontsize=10)
    axis.set_xlabel("seconds since the run began", fontsize=8)
    axis.set_ylabel(label, fontsize=8)
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.3)


def _lines(scene: Scene, panel: dict[str, Any]) -> Iterator[tuple[str, list[int], list[float]]]:
    """Each line of a graph: its name, its seconds, its values."""
    window = scene.window
    for asked in panel["targets"]:
        expr = filled(asked["expr"], step=window.step, whole=window.whole)
        for labels, values in sorted(scene.prometheus.over(expr, window).items(), key=lambda item: sorted(item[0])):
            # a series that begins late has fewer points: it ends with the window
            seconds = range(window.seconds - len(values) + 1, window.seconds + 1)
            yield _name(asked.get("legendFormat", ""), labels), list(seconds), list(values)


def axis_of(panel: dict[str, Any]) -> tuple[str, float]:
    """The title of a graph's vertical axis, and what its values are divided by. Raises KeyError for a new unit."""
    return _AXES[panel["fieldConfig"]["defaults"]["unit"]]


def _name(form: str, labels: Labels) -> str:
    name = form or " ".join(value for _, value in sorted(labels))
    for label, value in labels:
        name = name.replace(f"{{{{{label}}}}}", value)
    return name


def main(arguments: Sequence[str]) -> int:
    """The command line; returns its exit status."""
    if len(arguments) != 1:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    target = Path(arguments[0])
    target.mkdir(parents=True, exist_ok=True)
    for faulty, what, suffix in ((False, "in good health", "-healthy"), (True, "under faults", "")):
        with tempfile.TemporaryDirectory(prefix="dueq-previews-") as name, played(Path(name), faulty=faulty) as scene:
            for uid, board in boards().items():
                figure = draw(scene, board, what)
                figure.savefig(target / f"{uid}{suffix}.png", dpi=70)
                plt.close(figure)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
