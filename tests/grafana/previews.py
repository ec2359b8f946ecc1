"""Pictures of what the dashboards show of a real run: ``python -m grafana.previews DIRECTORY``, in tests/.

No Grafana draws them. A real Prometheus watches real engines whose workers are killed; every graph's own queries are
put to it, and matplotlib draws what it answers.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

from .committed import boards, filled
from .prometheus import Labels
from .scene import Scene, played

mpl.use("Agg")

from matplotlib import pyplot as plt  # after the choice of a backend without a screen

_COLUMNS = 3
_UNITS = {"s": "seconds", "percentunit": "share", "reqps": "per second", "ops": "per second", "bytes": "bytes"}


def draw(scene: Scene, board: dict[str, Any], target: Path) -> None:
    """Draw all graphs of a dashboard into one picture."""
    graphs = [panel for panel in board["panels"] if panel["type"] == "timeseries"]
    rows = -(-len(graphs) // _COLUMNS)
    figure, axes = plt.subplots(rows, _COLUMNS, figsize=(15, 3.2 * rows), squeeze=False, layout="constrained")
    for at, panel in enumerate(graphs):
        _graph(scene, panel, axes[at // _COLUMNS][at % _COLUMNS])
    for at in range(len(graphs), rows * _COLUMNS):
        axes[at // _COLUMNS][at % _COLUMNS].set_axis_off()
    figure.suptitle(f"{board['title']}: a preview, drawn from the data of a real run, not by Grafana")
    figure.savefig(target, dpi=70)
    plt.close(figure)


def _graph(scene: Scene, panel: dict[str, Any], axis: Any) -> None:
    window = scene.window
    for asked in panel["targets"]:
        expr = filled(asked["expr"], step=window.step, whole=window.whole)
        for labels, values in sorted(scene.prometheus.over(expr, window).items(), key=lambda item: sorted(item[0])):
            # a series that begins late has fewer points: it ends with the window
            seconds = range(window.seconds - len(values) + 1, window.seconds + 1)
            axis.plot(list(seconds), values, linewidth=1.2, label=_name(asked.get("legendFormat", ""), labels))
    axis.set_title(panel["title"], fontsize=10)
    unit = panel.get("fieldConfig", {}).get("defaults", {}).get("unit", "")
    axis.set_ylabel(_UNITS.get(unit, unit), fontsize=8)
    axis.set_ylim(bottom=0)
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.3)
    if axis.get_legend_handles_labels()[1]:
        axis.legend(fontsize=6, loc="upper left")


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
    with tempfile.TemporaryDirectory(prefix="dueq-previews-") as name, played(Path(name)) as scene:
        for uid, board in boards().items():
            draw(scene, board, target / f"{uid}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
