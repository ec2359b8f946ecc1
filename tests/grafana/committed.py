"""The content of grafana/: panels with their queries, rules, and the variables in them."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
HOME = ROOT / "grafana"
RULES = sorted((HOME / "prometheus" / "rules").glob("*.yml"))
VARIABLES = ("namespace", "strategy", "queue")


def boards() -> dict[str, dict[str, Any]]:
    """Every dashboard, by its uid."""
    found = [json.loads(path.read_text()) for path in sorted((HOME / "dashboards").glob("*.json"))]
    return {board["uid"]: board for board in found}


@dataclass(frozen=True, slots=True)
class Asked:
    """One query of one panel."""

    board: str
    panel: str
    ref: str
    expr: str
    instant: bool

    @property
    def name(self) -> str:
        return f"{self.board}/{self.panel}/{self.ref}"


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every panel that is not a row, with its board's uid."""
    for uid, board in boards().items():
        for panel in board["panels"]:
            if panel["type"] != "row":
                yield uid, panel


def queries() -> list[Asked]:
    """Every query of every panel."""
    return [
        Asked(uid, panel["title"], target["refId"], target["expr"], bool(target.get("instant")))
        for uid, panel in panels()
        for target in panel["targets"]
    ]


@functools.cache
def rules() -> tuple[dict[str, Any], ...]:
    """Every rule, recording or alerting. Not to be changed."""
    files = [yaml.safe_load(path.read_text()) for path in RULES]
    return tuple(rule for file in files for group in file["groups"] for rule in group["rules"])


def alerts() -> dict[str, dict[str, Any]]:
    """Every alerting rule, by name."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def filled(expr: str, *, step: str, whole: str, chosen: Mapping[str, str] | None = None) -> str:
    """The query as Grafana sends it: windows put in, and what is ``chosen`` of the variables, else all."""
    everything = dict.fromkeys(VARIABLES, ".*")
    values = {"__rate_interval": step, "__range": whole, **everything, **(chosen or {})}
    for name, value in values.items():
        expr = expr.replace(f"${name}", value)
    return expr
