"""The report on one strategy: its figures, whether the promises held, and its tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.client.redaction import redact
from ..harness.history import UNEXPLAINED
from ..harness.stats import quantile, summary_ms
from .figures import label, spell
from .sizes import FULL, Sizes
from .work import CAUSES, Found

Report = dict[str, Any]
"""What ``--json`` prints; docs/bench.md explains each key."""

_CURVE_POINTS = 200


@dataclass
class Setting:
    """What was measured, and where. If ``redis_url`` is None, a server was started for it."""

    strategy: str
    sizes: Sizes
    redis_url: str | None
    server: str = ""


def make(
    setting: Setting,
    found: Mapping[str, Found],
    skipped: Mapping[str, str],
    failed: Mapping[str, str],
    duration_s: float,
) -> Report:
    """The report. ``found``, ``skipped`` and ``failed`` (with their reasons) are by suite."""
    every = list(found.values())
    duplicates = sum((one.duplicates for one in every), Counter[str]())
    lateness_us = [late for one in every for late in one.lateness_us]
    figures = [figure for one in every for figure in one.figures]
    return {
        "strategy": setting.strategy,
        "server": setting.server,
        "redis": redact(setting.redis_url) if setting.redis_url else "started for this alone",
        "quick": setting.sizes != FULL,
        "scheduled": sum(one.scheduled for one in every),
        "finished": sum(one.finished for one in every),
        "lost": sum(one.lost for one in every),
        "early": sum(one.early for one in every),
        "duplicates": {cause: duplicates[cause] for cause in (*CAUSES, UNEXPLAINED)},
        "lateness_ms": summary_ms(lateness_us),
        "restarts": sum(one.restarts for one in every),
        "duration_s": round(duration_s, 3),
        "redis_commands_per_task": next((one.commands_per_task for one in every if one.commands_per_task), None),
        "figures": [figure.as_json(setting.strategy) for figure in figures],
        "lateness_curve_ms": curve_ms(sorted(lateness_us)),
        "notes": list(dict.fromkeys(note for one in every for note in one.notes)),
        "troubles": [trouble for one in every for trouble in one.troubles],
        "skipped": dict(skipped),
        "failed": dict(failed),
    }


def curve_ms(ordered_us: Sequence[int]) -> list[list[float]]:
    """Pairs of a share of the tasks, and the lateness in milliseconds that this share does not exceed.

    There are 199 even shares, then 0.999 and 1.
    """
    if not ordered_us:
        return []
    shares = [*(step / _CURVE_POINTS for step in range(1, _CURVE_POINTS)), 0.999, 1.0]
    return [[share, round((quantile(ordered_us, share) or 0) / 1000, 3)] for share in shares]


def is_clean(report: Report) -> bool:
    """Whether the promises held. Missed targets of speed do not count."""
    return not troubles(report)


def troubles(report: Report) -> list[str]:
    """What keeps a report from being clean, for people."""
    found = []
    if report["lost"]:
        found.append(f"{report['lost']} tasks lost")
    if report["early"]:
        found.append(f"{report['early']} starts before the due time")
    if unexplained := report["duplicates"][UNEXPLAINED]:
        found.append(f"{unexplained} duplicate starts without a cause")
    found += report["troubles"]
    found += [f"{suite} did not complete: {reason}" for suite, reason in report["failed"].items()]
    return found


def asides(reports: Sequence[Report], *, missed: bool = True) -> list[str]:
    """Notes for people, each with the strategies that it is about: what was left out, how to read figures and, if
    ``missed``, which targets were missed."""
    about: dict[str, list[str]] = {}
    for report in reports:
        for aside in _asides(report, missed):
            about.setdefault(aside, []).append(report["strategy"])
    return [f"{', '.join(names)}: {aside}" for aside, names in about.items()]


def _asides(report: Report, missed: bool) -> Iterator[str]:
    skips: dict[str, list[str]] = {}
    for suite, reason in report["skipped"].items():
        skips.setdefault(reason, []).append(suite)
    for reason, suites in skips.items():
        yield f"not measured: {', '.join(suites)}: {reason}"
    for figure in report["figures"]:
        if missed and figure["met"] is False:
            yield (
                f"target missed: {figure['suite']} {label(figure)}: {spell(figure['value'], figure['unit'])}"
                f"{_beside(figure)}, {figure['target']}"
            )
    yield from report["notes"]


def find(report: Report, suite: str, name: str, at: int | None = None) -> Mapping[str, Any] | None:
    """One figure of the report; None if the report does not have it."""
    wanted = (suite, name, at)
    return next((one for one in report["figures"] if (one["suite"], one["name"], one["at"]) == wanted), None)


def columns(reports: Sequence[Report]) -> list[str]:
    """The head of ``rows``."""
    return ["suite", "figure", "target", *(report["strategy"] for report in reports)]


def rows(reports: Sequence[Report]) -> Iterator[list[str]]:
    """A row for each figure, a column for each strategy: the value, and how many times its floor it is."""
    tables = [{(one["suite"], label(one)): one for one in report["figures"]} for report in reports]
    last = ""
    for suite, name in dict.fromkeys(key for table in tables for key in table):
        of_all = [table.get((suite, name)) for table in tables]
        target = next((one["target"] for one in of_all if one and one["target"]), "")
        yield ["" if suite == last else suite, name, target, *map(cell, of_all)]
        last = suite


def cell(figure: Mapping[str, Any] | None) -> str:
    """One figure: ``1.62 ms (8.1 × 0.2) missed``."""
    if figure is None:
        return "–"
    verdict = {True: " met", False: " missed", None: " beyond its design" if figure["beyond"] else ""}[figure["met"]]
    return f"{spell(figure['value'], figure['unit'])}{_beside(figure)}{verdict}"


def _beside(figure: Mapping[str, Any]) -> str:
    if figure["floor"] is None or figure["ratio"] is None:
        return ""
    return f" ({spell(figure['ratio'], '')} × {spell(figure['floor'], '')})"
