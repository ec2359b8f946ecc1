"""The frame of every board: name, variables, refresh, links to the other boards, and rows of panels."""

from __future__ import annotations

from collections.abc import Sequence

from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    QueryVariable,
    Row,
)
from grafana_foundation_sdk.models import dashboard

from .panels import SOURCE, Panel

Rows = dict[str, Sequence[Panel]]
"""Panels by the title of their row, in order."""

_TAG = "dueq"
_KNOWN_BY = "dueq_deliveries_total"  # the source of label values: every supervisor shows it for each of its queues


def board(name: str, description: str, rows: Rows) -> dashboard.Dashboard:
    """A dashboard with these rows. Its address and file are named after ``name``."""
    built = Dashboard(f"dueq / {name}").uid(f"dueq-{name.lower()}").description(description).tags([_TAG])
    # read-only: the next provisioning would overwrite a change by hand
    built.readonly().timezone("browser").time("now-1h", "now").refresh("30s")
    built.tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
    built.link(_links_to_the_others())
    built.variables([_source(), *_choices()])
    number = 0
    for title, panels in rows.items():
        number += 1
        built.with_row(Row(title).id(number))
        for panel in panels:
            number += 1
            built.with_panel(panel.id(number))
    return built.build()


def _links_to_the_others() -> DashboardLink:
    link = DashboardLink("dueq").type(dashboard.DashboardLinkType.DASHBOARDS).tags([_TAG])
    return link.as_dropdown(False).include_vars(True).keep_time(True)


def _source() -> DatasourceVariable:
    return DatasourceVariable("datasource").label("Prometheus").type("prometheus")


def _choices() -> list[QueryVariable]:
    return [
        _choice("namespace", ""),
        _choice("strategy", 'namespace=~"$namespace"'),
        _choice("queue", 'namespace=~"$namespace",strategy=~"$strategy"'),
    ]


def _choice(label: str, matchers: str) -> QueryVariable:
    """A variable that chooses any number of a label's values, out of those that ``matchers`` leave."""
    series = f"{_KNOWN_BY}{{{matchers}}}" if matchers else _KNOWN_BY
    variable = QueryVariable(label).label(label).datasource(SOURCE).query(f"label_values({series}, {label})")
    variable.refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(dashboard.VariableSort.ALPHABETICAL_ASC)
    everything = dashboard.VariableOption(selected=True, text=["All"], value=["$__all"])
    return variable.multi(True).include_all(True).all_value(".*").current(everything)
