"""The rules, tested by promtool: on time series that make each alert fire, and on series that must not."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from .committed import RULES, alerts

_CASES: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "alerts.yml").read_text())

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        shutil.which("promtool") is None, reason="promtool is not installed (Debian: apt-get install prometheus)"
    ),
]


def promtool(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *map(str, words)], text=True, capture_output=True, timeout=60)


def verdict(directory: Path, instead: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Try all cases on the rules, in which some alerts have another expression ``instead``."""
    changed = []
    for path in RULES:
        content = yaml.safe_load(path.read_text())
        for group in content["groups"]:
            for rule in group["rules"]:
                rule["expr"] = instead.get(rule.get("alert", ""), rule["expr"])
        changed.append(directory / path.name)
        changed[-1].write_text(yaml.safe_dump(content))
    for test in _CASES["tests"]:
        for case in test["alert_rule_test"]:
            for expected in case["exp_alerts"]:
                expected["exp_annotations"]["runbook"] = alerts()[case["alertname"]]["annotations"]["runbook"]
    cases = directory / "cases.yml"
    cases.write_text(yaml.safe_dump({**_CASES, "rule_files": [str(path) for path in changed]}))
    return promtool("test", "rules", cases)


def failed(result: subprocess.CompletedProcess[str]) -> set[str]:
    """The alerts that did not do what a case said."""
    return set(re.findall(r"alertname: ?(\w+)", result.stdout + result.stderr))


def test_rules_are_well_formed() -> None:
    result = promtool("check", "rules", "--lint=all", "--lint-fatal", *RULES)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_alert_fires_and_does_not_fire_when_it_should(tmp_path: Path) -> None:
    result = verdict(tmp_path, {})
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_alert_has_a_case_of_each_kind() -> None:
    fires: set[str] = set()
    silent: set[str] = set()
    for test in _CASES["tests"]:
        for case in test["alert_rule_test"]:
            (fires if case["exp_alerts"] else silent).add(case["alertname"])
    assert fires == set(alerts())
    assert silent == set(alerts())


@pytest.mark.parametrize("expr", ["vector(1) < 0", "dueq_redis_up >= 0 or vector(1)"], ids=["never", "always"])
def test_the_cases_tell_a_good_alert_from_one_that_fires(expr: str, tmp_path: Path) -> None:
    """... never, or always."""
    result = verdict(tmp_path, dict.fromkeys(alerts(), expr))
    assert result.returncode != 0
    assert failed(result) == set(alerts())
