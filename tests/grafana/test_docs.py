"""docs/operations.md describes every metric with its labels, every alert, dashboard and runbook, and no other."""

from __future__ import annotations

import re

from dueq.core.telemetry.metrics import DEFINITIONS

from .committed import ROOT, alerts, boards

_PAGE = (ROOT / "docs" / "operations.md").read_text()


def section(title: str) -> str:
    return _PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


def test_every_metric_is_told_with_its_labels_and_their_values() -> None:
    told = {
        name: (labels, text) for name, labels, text in re.findall(r"^\| `(dueq_\w+)` \| (.*?) \| (.*) \|$", _PAGE, re.M)
    }
    assert list(told) == list(DEFINITIONS)
    for name, definition in DEFINITIONS.items():
        labels, text = told[name]
        assert re.findall(r"`(\w+)`", labels) == list(definition.labels)
        assert text.strip()
        for label, values in definition.labels.items():
            if label not in ("role", "kind"):
                assert all(f"`{value}`" in text for value in values), name


def test_every_bucket_bound_is_told() -> None:
    told = re.findall(
        r"(?<![\d.])\.?\d+(?:\.\d+)?", section("The objective").partition("histogram:")[2].partition(". The")[0]
    )
    assert [float(bound) for bound in told] == list(DEFINITIONS["dueq_task_lateness_seconds"].buckets)


def test_every_alert_is_told_with_its_severity() -> None:
    told = dict(re.findall(r"^\| `(Dueq\w+)` \| (\w+) \| .+ \|$", section("Alerts"), re.M))
    assert told == {name: rule["labels"]["severity"] for name, rule in alerts().items()}


def test_every_runbook_is_of_an_alert() -> None:
    for title in re.findall(r"^### (.+)$", _PAGE, re.M):
        assert any(name.startswith(title) for name in alerts())
    for target in re.findall(r"\]\(#(\w+)\)", _PAGE):
        assert target in {title.lower() for title in re.findall(r"^### (.+)$", _PAGE, re.M)}


def test_every_dashboard_is_told() -> None:
    told = re.findall(r"^\| (dueq / \w+) \|", section("Dashboards"), re.M)
    assert sorted(told) == sorted(board["title"] for board in boards().values())
