"""The committed files of grafana/ are up to date, complete and uniform. No server is needed to check that."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from dueq.core.telemetry.metrics import DEFINITIONS

from .committed import HOME, ROOT, VARIABLES, alerts, boards, filled, panels, queries, rules
from .promql import matchers, outside_of_ranges, selectors

_BOARDS, _PANELS, _QUERIES = boards(), list(panels()), queries()
_RECORDED = {rule["record"] for rule in rules() if "record" in rule}
_UNITS = {"s", "percentunit", "short", "cps", "bytes", "suffix:×", "bool_on_off"}
_COMMON = {"namespace", "instance", "job"}
_HISTOGRAM_PARTS = ("_bucket", "_count", "_sum")

every_panel = pytest.mark.parametrize(
    "panel", [pytest.param(panel, id=f"{uid}/{panel['title']}") for uid, panel in _PANELS]
)


def expressions() -> list[tuple[str, str]]:
    """Every query, of panels (with variables filled in) and of rules, with a name."""
    asked = [(query.name, filled(query.expr, step="5m", whole="1h")) for query in _QUERIES]
    return asked + [(rule.get("record") or rule["alert"], rule["expr"]) for rule in rules()]


every_expression = pytest.mark.parametrize("expr", [pytest.param(expr, id=name) for name, expr in expressions()])


def metric_of(series: str) -> str:
    """The metric that a series belongs to: a histogram has several."""
    for part in _HISTOGRAM_PARTS:
        if series.endswith(part) and DEFINITIONS.get(base := series.removesuffix(part)):
            return base
    return series


def test_what_is_committed_is_what_the_code_makes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, HOME / "build.py", tmp_path], check=True, timeout=60)
    made = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    committed = {*(HOME / "dashboards").iterdir(), HOME / "prometheus" / "rules" / "dueq-recording.yml"}
    assert made.keys() == {str(path.relative_to(HOME)) for path in committed}
    stale = [name for name, text in made.items() if (HOME / name).read_text() != text]
    assert stale == [], "run 'make dashboards' and commit what it changes"


def test_boards_and_their_variables() -> None:
    assert set(_BOARDS) == {"dueq-overview", "dueq-strategies", "dueq-processes"}
    for board in _BOARDS.values():
        variables = {variable["name"]: variable for variable in board["templating"]["list"]}
        assert list(variables) == ["datasource", *VARIABLES]
        assert board["schemaVersion"] == 41
        assert board["editable"] is False
        for name in VARIABLES:
            assert variables[name]["multi"]
            assert variables[name]["includeAll"]
            assert variables[name]["datasource"]["uid"] == "${datasource}"
            assert variables[name]["query"].endswith(f", {name})")


def test_numbers_and_places_are_unique() -> None:
    for board in _BOARDS.values():
        assert max(Counter(panel["id"] for panel in board["panels"]).values()) == 1
        assert max(Counter(panel["title"] for panel in board["panels"]).values()) == 1
        taken: set[tuple[int, int]] = set()
        for panel in board["panels"]:
            at: dict[str, int] = panel["gridPos"]
            cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            assert at["x"] + at["w"] <= 24
            assert not cells & taken, panel["title"]
            taken |= cells


@every_panel
def test_every_panel_can_be_read(panel: dict[str, Any]) -> None:
    assert panel["fieldConfig"]["defaults"]["unit"] in _UNITS
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    # what it shows, and then what to do
    assert len(panel["description"]) > 80
    assert panel["description"].count(". ") + panel["description"].count(": ") >= 1
    assert [target["refId"] for target in panel["targets"]] == [*"ABCD"[: len(panel["targets"])]]
    for target in panel["targets"]:
        assert target["legendFormat"]
        assert target["datasource"] == panel["datasource"]


@every_panel
def test_every_runbook_that_a_panel_names_is_there(panel: dict[str, Any]) -> None:
    named = re.findall(r"Dueq\w+", panel["description"])
    titles = re.findall(r"^### (\w+)$", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE)
    assert set(named) <= set(titles)
    assert len(named) == panel["description"].count("runbook")


@pytest.mark.parametrize("query", [pytest.param(query, id=query.name) for query in _QUERIES])
def test_every_query_has_every_variable_and_a_window_of_grafanas(query: Any) -> None:
    for variable in VARIABLES:
        assert f'{variable}=~"${variable}"' in query.expr
    windows = query.expr.count("[")
    assert windows == query.expr.count("[$__rate_interval]") + query.expr.count("[$__range]")
    if not query.instant:
        assert "$__range" not in query.expr  # would be the same all along the line


@every_expression
def test_every_series_and_label_is_one_that_dueq_has(expr: str) -> None:
    for selector in selectors(expr):
        metric = metric_of(selector.name)
        labels = {} if selector.name in _RECORDED else DEFINITIONS[metric].labels
        known = {*labels, *_COMMON} if labels or metric in DEFINITIONS else {"namespace", "strategy", "queue"}
        if metric in DEFINITIONS:
            assert (DEFINITIONS[metric].kind == "histogram") == (metric != selector.name)
        for label, value in matchers(selector):
            if label == "le":
                bounds = [str(bound) for bound in DEFINITIONS[metric].buckets]
                assert value in bounds, "an objective can only be read off at a bound"
                continue
            assert label in known
            if (allowed := labels.get(label)) and value != ".*":
                assert {*value.split("|")} <= {*allowed}


@every_expression
def test_counters_are_only_looked_at_over_a_window(expr: str) -> None:
    """... unless for who exposes them."""
    counters = ("_total", *_HISTOGRAM_PARTS)
    assert {name for name in outside_of_ranges(expr) if name.endswith(counters)} <= {"dueq_deliveries_total"}


def test_every_metric_is_of_use() -> None:
    used = {metric_of(selector.name) for _, expr in expressions() for selector in selectors(expr)}
    assert set(DEFINITIONS) - used == set()
    assert {rule["record"] for rule in rules() if "record" in rule} - used - {
        # only alerts look so far back, or at the two in between
        name
        for rule in alerts().values()
        for name in _RECORDED
        if name in rule["expr"]
    } == set()


def test_what_an_alert_goes_by_is_on_a_panel() -> None:
    """Whoever is woken by it wants to see it."""
    shown = {
        metric_of(selector.name)
        for query in _QUERIES
        for selector in selectors(filled(query.expr, step="5m", whole="1h"))
    }
    asked = {metric_of(selector.name) for rule in alerts().values() for selector in selectors(rule["expr"])}
    assert (asked & set(DEFINITIONS)) - shown == set()


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    for name, rule in alerts().items():
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}
        runbook = rule["annotations"]["runbook"].rpartition("docs/operations.md, ")[2].rstrip(".")
        assert name.startswith(runbook)
        assert f"### {runbook}" in page
        assert f"`{name}`" in page
