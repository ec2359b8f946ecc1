"""The look of panels. Every panel has a unit, and a description that says what to do when it looks bad."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import heatmap as heatmap_builders
from grafana_foundation_sdk.builders import stat as stat_builders
from grafana_foundation_sdk.builders import timeseries as timeseries_builders
from grafana_foundation_sdk.builders.dashboard import ThresholdsConfig
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.models import common, dashboard, heatmap
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")

SECONDS, SHARE, COUNT, RATE, BYTES, TIMES, ON_OFF = (
    "s",
    "percentunit",
    "short",
    "cps",
    "bytes",
    "suffix:×",
    "bool_on_off",
)
"""Units, by Grafana's names. ``RATE`` is counts a second, ``TIMES`` a factor."""

Panel = timeseries_builders.Panel | stat_builders.Panel | heatmap_builders.Panel


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression, and the legend of its series (``{{label}}`` is the label's value)."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class Look:
    """The unit of a panel, its width and height in Grafana's grid of 24 columns, and from which value on it is bad
    (red)."""

    unit: str
    width: int = 12
    height: int = 8
    bad_from: float | None = None


def lines(
    title: str, description: str, look: Look, *queries: Query, stacked: bool = False
) -> timeseries_builders.Panel:
    """Values over time; ``stacked`` if their sum means something."""
    panel = timeseries_builders.Panel().title(title).description(description).datasource(SOURCE)
    panel.targets([_target(number, query) for number, query in enumerate(queries)])
    panel.unit(look.unit).span(look.width).height(look.height).min(0)
    panel.legend(_legend()).tooltip(common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI))
    panel.show_points(common.VisibilityMode.AUTO).fill_opacity(20 if stacked else 0)
    if stacked:
        panel.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL))
    if look.bad_from is not None:
        panel.thresholds(_thresholds(look.bad_from))
        dashed = common_builders.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
        panel.thresholds_style(dashed)
    return panel


def bars(title: str, description: str, look: Look, *queries: Query) -> timeseries_builders.Panel:
    """The number of events in each interval, over time."""
    panel = lines(title, description, look, *queries, stacked=True)
    return panel.draw_style(common.GraphDrawStyle.BARS).fill_opacity(70)


def number(title: str, description: str, look: Look, *queries: Query) -> stat_builders.Panel:
    """A current value, or a total over the range shown: one instant query at the end of the range."""
    panel = stat_builders.Panel().title(title).description(description).datasource(SOURCE)
    panel.targets([_target(number, query).instant() for number, query in enumerate(queries)])
    panel.unit(look.unit).span(look.width).height(look.height)
    panel.reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
    panel.graph_mode(common.BigValueGraphMode.NONE).text_mode(common.BigValueTextMode.AUTO)
    if look.unit == COUNT:
        panel.decimals(0)  # increase() extrapolates to the ends of the range: it makes 4.07 of 4 restarts
    if look.bad_from is not None:
        panel.color_mode(common.BigValueColorMode.BACKGROUND).thresholds(_thresholds(look.bad_from))
    return panel


def histogram(title: str, description: str, look: Look, query: Query) -> heatmap_builders.Panel:
    """Observations over time (columns) and bucket (rows): the darker, the more."""
    panel = heatmap_builders.Panel().title(title).description(description).datasource(SOURCE)
    panel.targets([_target(0, query).format(PromQueryFormat.HEATMAP)])
    panel.unit(look.unit).span(look.width).height(look.height).calculate(False)
    panel.y_axis(heatmap_builders.YAxisConfig().unit(look.unit))
    panel.cell_values(heatmap_builders.CellValues().unit(COUNT))
    panel.color(
        heatmap_builders.HeatmapColorOptions()
        .mode(heatmap.HeatmapColorMode.SCHEME)
        .scheme("Oranges")
        .scale(heatmap.HeatmapColorScale.EXPONENTIAL)
        .exponent(0.5)
        .steps(64)
    )
    return panel


def _target(number: int, query: Query) -> Dataquery:
    return Dataquery().ref_id(chr(ord("A") + number)).expr(query.expr).legend_format(query.legend).datasource(SOURCE)


def _legend() -> common_builders.VizLegendOptions:
    legend = common_builders.VizLegendOptions().show_legend(True).calcs(["lastNotNull", "max"])
    return legend.display_mode(common.LegendDisplayMode.TABLE).placement(common.LegendPlacement.BOTTOM)


def _thresholds(bad_from: float) -> ThresholdsConfig:
    steps: Sequence[dashboard.Threshold] = (
        dashboard.Threshold(value=None, color="green"),
        dashboard.Threshold(value=bad_from, color="red"),
    )
    return ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(list(steps))
