"""Every query of the dashboards and every rule, run on a real Prometheus that watched a real run with faults.

Each must give finite numbers, and where the ledger knows the number, the ledger's. All of it is one test, with a
subtest for each query and rule, so that the run is made once, however tests are spread over processes.
"""

from __future__ import annotations

import math
import subprocess
from collections.abc import Iterator

import pytest

from .agreement import expectations
from .committed import VARIABLES, Asked, alerts, boards, filled, queries, rules
from .previews import draw
from .prometheus import PROGRAM, Labels, Window, troubles
from .promql import operands
from .scene import HOSTS, Scene, played

pytestmark = pytest.mark.alone  # how soon what was lost is taken back

_QUERIES = queries()
_RULES = {rule.get("record") or rule["alert"]: rule for rule in rules()}


@pytest.mark.skipif(PROGRAM is None, reason="prometheus is not installed (Debian: apt-get install prometheus)")
@pytest.mark.timeout(240)
def test_dashboards_and_rules_on_a_real_run(
    tmp_path_factory: pytest.TempPathFactory, subtests: pytest.Subtests
) -> None:
    with played(tmp_path_factory.mktemp("scene")) as scene:
        for check in (
            queries_give_finite_numbers,
            queries_agree_with_the_ledger,
            queries_mind_every_variable,
            misspelt_queries_are_found_out,
            rules_give_finite_numbers,
        ):
            check(scene, subtests)
        for alone in (
            variables_offer_what_there_is,
            numbers_that_are_none_are_found_out,
            prometheus_takes_every_rule,
            alerts_fire_for_what_happened_and_for_nothing_else,
            faults_are_seen,
            previews_can_be_read,
            promtool_finds_nothing_wrong_with_the_pages,
        ):
            with subtests.test(alone.__name__):
                alone(scene)


def queries_give_finite_numbers(scene: Scene, subtests: pytest.Subtests) -> None:
    window = scene.window
    for asked in _QUERIES:
        with subtests.test("finite", query=asked.name):
            expr = filled(asked.expr, step=window.step, whole=window.whole)
            assert troubles(scene.prometheus, expr, window, instant=asked.instant) == []


def queries_agree_with_the_ledger(scene: Scene, subtests: pytest.Subtests) -> None:
    expected = expectations(scene)
    for asked in _QUERIES:
        with subtests.test("agrees", query=asked.name):
            found = scene.prometheus.now(whole(asked, scene.window), scene.window.end)
            wanted = expected[asked.name]
            assert found.keys() == wanted.keys()
            wrong = {tuple(name): (value, wanted[name]) for name, value in found.items() if value not in wanted[name]}
            assert wrong == {}


def queries_mind_every_variable(scene: Scene, subtests: pytest.Subtests) -> None:
    def shown(asked: Asked, **chosen: str) -> dict[Labels, float]:
        return scene.prometheus.now(whole(asked, scene.window, **chosen), scene.window.end)

    for asked in _QUERIES:
        with subtests.test("variables", query=asked.name):
            every_value = {"namespace": "chaos", "strategy": f"({'|'.join(HOSTS)})", "queue": "chaos"}
            assert shown(asked, **every_value) == shown(asked) != {}
            for variable in VARIABLES:
                assert shown(asked, **{variable: "another"}) == {}, variable


def misspelt_queries_are_found_out(scene: Scene, subtests: pytest.Subtests) -> None:
    for asked in _QUERIES:
        with subtests.test("misspelt", query=asked.name):
            variants = list(misspelt(asked, scene.window))
            assert variants
            for expr in variants:
                assert troubles(scene.prometheus, expr, scene.window, instant=True), expr


def rules_give_finite_numbers(scene: Scene, subtests: pytest.Subtests) -> None:
    for name, rule in _RULES.items():
        with subtests.test("finite", rule=name):
            # what was hours ago, before the run, has no value
            parts = [rule["expr"]] if "record" in rule else [e for e in operands(rule["expr"]) if " offset " not in e]
            assert parts
            for expr in parts:
                assert troubles(scene.prometheus, expr, scene.window, instant=True) == [], expr


def previews_can_be_read(scene: Scene) -> None:
    for board in boards().values():
        figure = draw(scene, board, "under faults")
        assert figure.axes
        for axis in figure.axes:
            assert axis.get_title()
            assert axis.get_xlabel()
            assert axis.get_ylabel()
            styles = [(line.get_color(), line.get_linestyle()) for line in axis.get_lines()]
            assert len(set(styles)) == len(styles), f"two lines of {axis.get_title()} look alike"
        figure.clear()


def variables_offer_what_there_is(scene: Scene) -> None:
    offered = {
        label: scene.prometheus.get(f"label/{label}/values", **{"match[]": "dueq_deliveries_total"})
        for label in VARIABLES
    }
    assert offered == {"namespace": ["chaos"], "strategy": sorted(HOSTS), "queue": ["chaos"]}


def numbers_that_are_none_are_found_out(scene: Scene) -> None:
    for expr in ("dueq_redis_up * 0 / 0", "dueq_redis_up / 0", "dueq_redis_up > 1", "dueq_redis_up +"):
        assert troubles(scene.prometheus, expr, scene.window, instant=True), expr


def prometheus_takes_every_rule(scene: Scene) -> None:
    groups = scene.prometheus.get("rules")["groups"]
    health = {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}
    assert health == dict.fromkeys(_RULES, "ok")


def alerts_fire_for_what_happened_and_for_nothing_else(scene: Scene) -> None:
    facts = scene.facts.values()
    assert max(sum(late > 1 for late in fact.late) / len(fact.late) for fact in facts) > 0.0144, "not enough was late"
    assert sum(fact.kills for fact in facts) > 5
    # those that speak of six hours and of three days wait until Prometheus has seen that long
    assert scene.alerts == {"DueqLatenessBurnFast", "DueqDeadLetters", "DueqCrashLoop"}
    assert scene.alerts < set(alerts())


def faults_are_seen(scene: Scene) -> None:
    [found] = scene.prometheus.now("namespace:dueq_faults:count20m", scene.window.end).values()
    assert math.isclose(found, sum(fact.kills for fact in scene.facts.values()), rel_tol=0.1)


def promtool_finds_nothing_wrong_with_the_pages(scene: Scene) -> None:
    def check(text: str) -> tuple[int, str]:
        result = subprocess.run(
            ["promtool", "check", "metrics"], input=text, text=True, capture_output=True, timeout=30
        )
        return result.returncode, result.stdout + result.stderr

    texts = [text for fact in scene.facts.values() for text in fact.texts]
    assert [check(text) for text in texts] == [(0, "")] * sum(HOSTS.values())
    code, complaint = check(texts[0].replace("dueq_duplicates_total", "dueq_duplicates"))
    assert code
    assert "dueq_duplicates" in complaint


def whole(asked: Asked, window: Window, **chosen: str) -> str:
    """The query with the whole run as the window of its one point."""
    return filled(asked.expr, step=window.whole, whole=window.whole, chosen=chosen)


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
