"""Every query of the dashboards and every rule, asked of a real Prometheus that watched a real run with faults.

Each must give finite numbers, and where it speaks of what the ledger knows, the ledger's.
"""

from __future__ import annotations

import math
import subprocess
from collections.abc import Iterator, Mapping

import pytest

from .agreement import Expected, expectations
from .committed import VARIABLES, Asked, alerts, filled, queries, rules
from .prometheus import PROGRAM, Labels, Window, troubles
from .promql import operands
from .scene import Scene, played

_QUERIES = {asked.name: asked for asked in queries()}
_RULES = {rule.get("record") or rule["alert"]: rule for rule in rules()}

pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason="prometheus is not installed (Debian: apt-get install prometheus)"),
    pytest.mark.timeout(180),
    pytest.mark.xdist_group("prometheus"),
]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with played(tmp_path_factory.mktemp("scene")) as scene:
        yield scene


@pytest.fixture(scope="module")
def expected(scene: Scene) -> Mapping[str, Expected]:
    return expectations(scene)


def whole(asked: Asked, window: Window, **chosen: str) -> str:
    """The query with the whole run as the window of its one point."""
    return filled(asked.expr, step=window.whole, whole=window.whole, chosen=chosen)


@pytest.mark.parametrize("name", _QUERIES)
def test_every_query_gives_finite_numbers(name: str, scene: Scene) -> None:
    asked, window = _QUERIES[name], scene.window
    expr = filled(asked.expr, step=window.step, whole=window.whole)
    assert troubles(scene.prometheus, expr, window, instant=asked.instant) == []


@pytest.mark.parametrize("name", _QUERIES)
def test_every_query_agrees_with_the_ledger(name: str, scene: Scene, expected: Mapping[str, Expected]) -> None:
    found = scene.prometheus.now(whole(_QUERIES[name], scene.window), scene.window.end)
    wanted = expected[name]
    assert found.keys() == wanted.keys()
    wrong = {tuple(labels): (value, wanted[labels]) for labels, value in found.items() if value not in wanted[labels]}
    assert wrong == {}


@pytest.mark.parametrize("name", _QUERIES)
def test_every_query_minds_every_variable(name: str, scene: Scene) -> None:
    asked, window = _QUERIES[name], scene.window

    def shown(**chosen: str) -> dict[Labels, float]:
        return scene.prometheus.now(whole(asked, window, **chosen), window.end)

    everything = shown()
    assert shown(namespace="chaos", strategy="(lua|watch|buckets)", queue="chaos") == everything
    for variable in VARIABLES:
        assert shown(**{variable: "another"}) == {}, variable


def test_what_the_variables_offer(scene: Scene) -> None:
    offered = {
        label: scene.prometheus.get(f"label/{label}/values", **{"match[]": "dueq_deliveries_total"})
        for label in VARIABLES
    }
    assert offered == {"namespace": ["chaos"], "strategy": ["buckets", "lua", "watch"], "queue": ["chaos"]}


@pytest.mark.parametrize("name", _RULES)
def test_every_rule_gives_finite_numbers(name: str, scene: Scene) -> None:
    rule = _RULES[name]
    parts = [rule["expr"]] if "record" in rule else list(operands(rule["expr"]))
    assert parts
    for expr in parts:
        assert troubles(scene.prometheus, expr, scene.window, instant=True) == [], expr


def test_prometheus_takes_every_rule(scene: Scene) -> None:
    groups = scene.prometheus.get("rules")["groups"]
    health = {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}
    assert health == dict.fromkeys(_RULES, "ok")


def test_alerts_fire_for_what_happened_and_for_nothing_else(scene: Scene) -> None:
    facts = scene.facts.values()
    late = {queue: sum(late > 1 for late in fact.late) / len(fact.late) for queue, fact in scene.facts.items()}
    assert max(late.values()) > 0.0144, "the burst was on time: it was to be too much"
    assert sum(fact.kills for fact in facts) > 5
    burns = {"DueqLatenessBurnFast", "DueqLatenessBurnSlow", "DueqLatenessBurnLong"}
    assert scene.alerts == {*burns, "DueqDeadLetters", "DueqCrashLoop"}
    assert scene.alerts < set(alerts())


def test_faults_are_seen(scene: Scene) -> None:
    [found] = scene.prometheus.now("namespace:dueq_faults:count20m", scene.window.end).values()
    assert math.isclose(found, sum(fact.kills for fact in scene.facts.values()), rel_tol=0.1)


def misspelt(asked: Asked, window: Window) -> Iterator[str]:
    """The query with one thing wrong at a time, wherever that can be."""
    expr = filled(asked.expr, step=window.step, whole=window.whole)
    for right, wrong in (
        ("dueq_", "duek_"),
        ("dueq_", "dueq_the_"),
        ('="started"', '="begun"'),
        ('cause="', 'couse="'),
        ('le="', 'le="9'),
        ("sum by", "sum_by"),
    ):
        position = expr.find(right)
        while position >= 0:
            yield expr[:position] + wrong + expr[position + len(right) :]
            position = expr.find(right, position + 1)


@pytest.mark.parametrize("name", _QUERIES)
def test_a_misspelt_query_is_found_out(name: str, scene: Scene) -> None:
    variants = list(misspelt(_QUERIES[name], scene.window))
    assert variants
    for expr in variants:
        assert troubles(scene.prometheus, expr, scene.window, instant=True), expr


def test_numbers_that_are_none_are_found_out(scene: Scene) -> None:
    for expr in ("dueq_redis_up * 0 / 0", "dueq_redis_up / 0", "dueq_redis_up > 1", "dueq_redis_up +"):
        assert troubles(scene.prometheus, expr, scene.window, instant=True), expr


def test_promtool_finds_nothing_wrong_with_the_page(scene: Scene) -> None:
    for fact in scene.facts.values():
        good = subprocess.run(["promtool", "check", "metrics"], input=fact.text, text=True, capture_output=True)
        assert (good.returncode, good.stdout, good.stderr) == (0, "", "")
        bad = fact.text.replace("dueq_duplicates_total", "dueq_duplicates")
        assert subprocess.run(["promtool", "check", "metrics"], input=bad, text=True, capture_output=True).returncode
