"""The report page is complete, escaped, self-contained and reproducible; and what its plots must never leave out."""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter
from collections.abc import Sequence
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest

from dueq.chaos.page import Run, render
from dueq.chaos.plot import Mark
from dueq.harness.history import Point

NASTY = """<script>alert("1 & 2")</script> 'x' \x00\ud800"""
NASTY_SHOWN = NASTY.replace("\x00\ud800", "\ufffd\ufffd")
VOID = {"meta", "br"}

REPORT: dict[str, Any] = {
    "scenario": "worker-kill", "strategy": "lua", "seed": 7, "ok": True, "expected": "nothing is lost",
    "checks": [{"what": "lost tasks", "expected": "none", "measured": "0 of 100", "ok": True}],
    "scheduled": 1234, "finished": 1233, "lost": 1, "early": 0,
    "duplicates": {"worker_lost": 2, "lease_expired": 1, "unexplained": 0},
    "lateness_ms": {"p50": 1.25, "p95": 20.5, "p99": 1500.0, "max": 90000.0},
    "floor_ms": {"p50": 0.31, "p99": 0.62, "rounds": 100},
    "restarts": 3, "duration_s": 12.34, "redis_commands_per_task": 30.5, "notes": ["late acks refused: 3"],
}  # fmt: skip


class Page(HTMLParser):
    """What a browser would make of the page; fails on tags that do not nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str | None]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return "\n".join(self.words)

    def values(self, name: str) -> list[str | None]:
        return [value for _, attribute, value in self.attributes if attribute == name]

    def svgs(self) -> list[ElementTree.Element]:
        return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", self.html, re.DOTALL)]


def page(*runs: Run) -> Page:
    return Page(render(runs))


def run(points: Sequence[Point] = (), marks: Sequence[Mark] = (), **changes: Any) -> Run:
    return Run(REPORT | changes, points, marks)


def plot(points: Sequence[Point], marks: Sequence[Mark] = ()) -> ElementTree.Element:
    (svg,) = page(run(points, marks)).svgs()
    return svg


def places(svg: ElementTree.Element, kind: str) -> list[tuple[float, float]]:
    """Where the starts of a kind were drawn; the legend's samples lie deeper and are not among them."""
    paths = [path.get("d", "") for path in svg.findall("path") if path.get("class") == kind]
    return [(float(x), float(y)) for path in paths for x, y in re.findall(r"M([-\d.]+) ([-\d.]+)", path)]


def ticks(svg: ElementTree.Element) -> dict[str | None, float]:
    """The height of each label on the lateness axis; the line it names lies 4 above the label's baseline."""
    return {label.text: float(label.get("y", "")) - 4 for label in svg.findall("text[@class='tick']")}


def said(svg: ElementTree.Element) -> str:
    return svg.findtext("text[@class='drawn']") or ""


def many(count: int, seed: int = 1) -> list[Point]:
    choose = random.Random(seed)
    return [Point(choose.uniform(0, 60), choose.lognormvariate(1, 1), again=False) for _ in range(count)]


def test_the_page_says_how_many_runs_met_their_expectation_and_which() -> None:
    found = page(run(), run(strategy="watch", ok=False), run(scenario="partition"))
    assert "2 of 3 runs met their expectation" in found.text
    assert "3 of 3 runs met their expectation" in page(run(), run(), run()).text
    cells = re.findall(r'<a href="#(run-\d)"><span class="\w+">(.*?)</span> <small>(.*?)</small>', found.html)
    assert cells == [("run-1", "met", "p99 1.50 s"), ("run-2", "NOT MET", "p99 1.50 s"), ("run-3", "met", "p99 1.50 s")]
    headings = re.findall(r'<section id="(.*?)">\n<h2>(.*?)</h2>\n<p class="verdict">.*?>(.*?)</span>', found.html)
    assert headings == [
        ("run-1", "worker-kill × lua", "expectation met"),
        ("run-2", "worker-kill × watch", "expectation NOT MET"),
        ("run-3", "partition × lua", "expectation met"),
    ]
    row = found.html.partition('<th scope="row">partition</th>')[2].partition("</tr>")[0]
    assert row.endswith("<td>–</td>")  # partition was not run against watch


def test_two_runs_of_one_scenario_and_strategy_are_both_in_the_matrix() -> None:
    matrix = page(run(seed=1), run(seed=2)).html.partition("<section")[0]
    assert re.findall(r'href="#(.*?)"', matrix) == ["run-1", "run-2"]


def test_every_check_is_shown_with_its_verdict_in_words() -> None:
    checks = [
        {"what": f"check {n}", "expected": f"exp {n}", "measured": f"got {n}", "ok": n != 1} for n in range(3)
    ]  # fmt: skip
    rows = re.findall(r"<tr><td>(.*?)</tr>", page(run(checks=checks)).html)
    shown = [re.sub(r"(<.*?>)+", "|", row) for row in rows]
    # the matrix' row begins with a heading, so these are the rows of the checks
    assert shown == [
        "|ok|check 0|exp 0|got 0|",
        "|NOT OK|check 1|exp 1|got 1|",
        "|ok|check 2|exp 2|got 2|",
    ]


def test_figures_expectation_and_notes_are_shown() -> None:
    found = page(run())
    figures = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", found.html))
    assert figures == {
        "seed": "7", "scheduled": "1,234", "finished": "1,233", "lost": "1", "early": "0",
        "duplicates": "3 (worker_lost 2, lease_expired 1)",
        "late, p50": "1.25 ms", "late, p95": "20.5 ms", "late, p99": "1.50 s", "late, max": "1.5 min",
        "wake-up floor, p50": "0.31 ms", "wake-up floor, p99": "0.62 ms",
        "restarts": "3", "duration": "12.3 s", "Redis commands a task": "30.50",
    }  # fmt: skip
    assert "Expected: nothing is lost" in found.text
    assert "late acks refused: 3" in found.text
    assert "woke a blocked Redis client 0.31 ms (p50) and 0.62 ms (p99) after a push" in found.text


@pytest.mark.parametrize("count", [1, 10, 11, 200])
def test_every_fault_is_on_the_plot_and_in_the_list(count: int) -> None:
    marks = [Mark(count - n, f"SIGKILL worker {n}") for n in range(count)]
    found = page(run(marks=marks))
    (svg,) = found.svgs()
    faults = svg.findall("g[@class='fault']")
    wanted = [f"{at}. SIGKILL worker {count - at}, {at}.00 s" for at in range(1, count + 1)]
    assert [fault.findtext("title") for fault in faults] == wanted
    listed = re.findall(r"<li><b>(.*?) s</b> (.*?)</li>", found.html)
    assert listed == [(f"{at}.00", f"SIGKILL worker {count - at}") for at in range(1, count + 1)]
    assert ("open" in [name for tag, name, _ in found.attributes if tag == "details"]) is (count <= 10)


def test_a_fault_that_lasts_is_an_area_from_its_begin_to_its_end() -> None:
    svg = plot([Point(0, 1, False), Point(10, 1, False)], [Mark(2.5, "partition", 7.5), Mark(5, "kill")])
    lasting, instant = svg.findall("g[@class='fault']")
    (left, _), (right, _) = places(svg, "first")
    area = lasting.find("rect")
    assert area is not None
    assert float(area.get("x", "")) == pytest.approx(left + 0.25 * (right - left), abs=0.1)
    assert float(area.get("width", "")) == pytest.approx(0.5 * (right - left), abs=0.1)
    assert lasting.findtext("title") == "1. partition, 2.50 s to 7.50 s"
    assert instant.find("rect") is None


def test_lateness_is_on_a_logarithmic_axis_with_named_ticks() -> None:
    lateness = {"0.1 ms": 0.1, "1 ms": 1, "10 ms": 10, "100 ms": 100, "1 s": 1_000, "10 s": 10_000, "1 min": 60_000}
    svg = plot([Point(n, late, False) for n, late in enumerate(lateness.values())])
    assert list(ticks(svg)) == list(lateness)
    drawn = [y for _, y in places(svg, "first")]
    assert drawn == pytest.approx(list(ticks(svg).values()), abs=0.15)
    steps = [low - high for low, high in itertools.pairwise(drawn)]
    assert steps[:5] == pytest.approx([steps[0]] * 5, abs=0.15)
    assert steps[0] > 20


def test_no_lateness_lies_outside_of_the_frame() -> None:
    svg = plot([Point(0, 0.0, False), Point(1, 1e9, False), Point(2, 0.01, False)])
    heights = [y for _, y in places(svg, "first")]
    assert heights[0] == heights[2] == ticks(svg)["0.1 ms"]
    assert 40 <= heights[1] < ticks(svg)["1 h"]


def test_early_starts_lie_below_the_axis_and_are_counted() -> None:
    svg = plot([Point(0, 5, False), Point(1, -0.02, False), Point(2, -3.5, True), Point(3, 0, True)])
    floor = ticks(svg)["0.1 ms"]
    assert [y > floor for kind in ("early", "early again") for _, y in places(svg, kind)] == [True, True]
    assert [y <= floor for kind in ("first", "again") for _, y in places(svg, kind)] == [True, True]
    legend = [entry.findtext("text") for entry in svg.findall("g[@class='legend']")]
    assert legend[:3] == ["first start (2)", "repeated start (2)", "early start (2, by up to 3.50 ms)"]


def test_faults_and_starts_before_the_first_due_time_are_inside_the_frame() -> None:
    svg = plot([Point(-2, -2000, False), Point(8, 1, False)], [Mark(-5, "kill")])
    line = svg.find("g[@class='fault']/path")
    assert line is not None
    (fault_x,) = re.findall(r"^M([\d.]+)", line.get("d", ""))
    ((early_x, _),) = places(svg, "early")
    assert 60 <= float(fault_x) < early_x < places(svg, "first")[0][0] <= 900


def test_shapes_tell_first_and_repeated_and_early_starts_apart() -> None:
    svg = plot([Point(0, 5, False), Point(1, 5, True), Point(2, -5, False)])
    shapes = {path.get("class"): re.sub(r"^M[\d.]+ [\d.]+", "", path.get("d", "")) for path in svg.findall("path")}
    assert len({shapes[kind] for kind in ("first", "again", "early")}) == 3


def test_few_starts_are_all_drawn() -> None:
    svg = plot(many(2_000))
    assert len(places(svg, "first")) == 2_000
    assert said(svg) == "2,000 of 2,000 starts drawn"


def test_of_many_starts_the_plot_says_how_many_it_draws() -> None:
    svg = plot(many(50_000))
    drawn = len(places(svg, "first"))
    assert 3_000 < drawn < 8_000
    assert said(svg).startswith(f"{drawn:,} of 50,000 starts drawn: ")


def test_thinning_keeps_every_repeated_and_early_start() -> None:
    # all in one pixel column, where of as many ordinary starts seven would be left
    special = [Point(30, 5, True)] * 300 + [Point(30, -5, False)] * 200 + [Point(30, -5, True)] * 100
    svg = plot(many(20_000) + special)
    assert [len(places(svg, kind)) for kind in ("again", "early", "early again")] == [300, 200, 100]
    assert said(svg).startswith(f"{len(places(svg, 'first')) + 600:,} of 20,600 ")


def test_thinning_keeps_the_worst_and_the_least_of_each_column_and_what_lies_between() -> None:
    svg = plot([Point(n // 1000, 1 + n % 1000, False) for n in range(10_000)])  # ten columns of 1 to 1000 ms
    columns: dict[float, list[float]] = {}
    for x, y in places(svg, "first"):
        columns.setdefault(x, []).append(y)
    heights = ticks(svg)
    assert len(columns) == 10
    for column in columns.values():
        assert len(column) == 7
        assert min(column) == pytest.approx(heights["1 s"], abs=0.1)
        assert max(column) == pytest.approx(heights["1 ms"], abs=0.1)
        assert sum(y < heights["100 ms"] for y in column) >= 5  # nine tenths of the starts were later than that
    assert len({tuple(column) for column in columns.values()}) > 5  # else they would line up in bands


def test_the_worst_start_of_the_run_survives_wherever_it_is() -> None:
    for at_s in (0.0, 12.3, 60.0):
        svg = plot([*many(20_000), Point(at_s, 45_000, False)])
        highest = min(y for _, y in places(svg, "first"))
        assert ticks(svg)["1 min"] < highest < ticks(svg)["10 s"]


@pytest.mark.parametrize("marks", [[], [Mark(0, "kill")], [Mark(3, "partition", 2)]])
def test_a_run_without_starts(marks: list[Mark]) -> None:
    nothing = {"p50": None, "p95": None, "p99": None, "max": None}
    found = page(
        run(marks=marks, lateness_ms=nothing, redis_commands_per_task=None, checks=[], notes=[], duplicates={})
    )
    (svg,) = found.svgs()
    assert said(svg) == "0 of 0 starts drawn"
    assert "p99 –" in found.text
    assert found.text.count("–") == 6
    assert "Nothing was checked." in found.text


def test_no_runs_are_no_success() -> None:
    html = render([])
    assert Page(html).svgs() == []
    assert '<span class="bad">0 of 0 runs met their expectation</span>' in html


def test_every_text_is_escaped() -> None:
    checks = [{"what": NASTY, "expected": NASTY, "measured": NASTY, "ok": False}]
    nasty = run(
        [], [Mark(0, NASTY)], scenario=NASTY, strategy=NASTY, expected=NASTY, checks=checks,
        notes=[NASTY], duplicates={NASTY: 1},
    )  # fmt: skip
    found = page(nasty)
    assert found.tags["script"] == 0
    assert "".join(found.words).count(NASTY_SHOWN) == 2 + 2 + 1 + 3 + 2 + 1 + 1  # matrix, heading, …, plot and list, …
    (svg,) = found.svgs()  # is XML, too
    assert svg.findtext("g/title") == f"1. {NASTY_SHOWN}, 0.00 s"
    found.html.encode()  # a file name that is not UTF-8 must not keep the page from being written


def test_the_page_needs_nothing_besides_itself() -> None:
    found = page(run(many(10), [Mark(1, "kill")]), run(strategy="watch"))
    assert not re.search(r"https?:|//|url\(|@import|@font-face", found.html)
    assert found.values("src") == []
    links = found.values("href")
    targets = found.values("id")
    assert links == ["#run-1", "#run-2", "#top", "#top"]
    assert {f"#{target}" for target in targets} == set(links)
    assert len(targets) == len(set(targets))
    assert not {"script", "link", "img", "iframe", "object", "base"} & set(found.tags)
    assert "default-src 'none'; style-src 'unsafe-inline'" in found.values("content")


def test_the_page_suits_dark_mode_and_phones() -> None:
    found = page(run(many(10)))
    assert found.html.startswith("<!DOCTYPE html>\n")
    assert "@media (prefers-color-scheme: dark)" in found.html
    assert "width=device-width, initial-scale=1" in found.values("content")
    assert found.values("viewbox") == ["0 0 900 362"]
    assert "width" not in found.svgs()[0].attrib


def test_colours_named_are_colours_defined() -> None:
    html = render([])
    light, dark = (set(re.findall(r"(--\w+):", block)) for block in re.findall(r":root \{(.*?)\}", html, re.DOTALL))
    used = set(re.findall(r"var\((--\w+)\)", html))
    assert light == dark == used


def test_the_same_runs_give_the_same_bytes_in_any_order_of_the_ledger() -> None:
    points = [*many(5_000), *(Point(n, 700, True) for n in range(50)), *(Point(n, -1, False) for n in range(50))]
    marks = [Mark(n % 3, f"kill {n}") for n in range(20)] + [Mark(1, "freeze", 2 + n) for n in range(20)]
    once = render([run(points, marks)])
    random.Random(2).shuffle(points)
    random.Random(3).shuffle(marks)
    assert render([run(points, marks)]) == once


def test_a_page_of_all_scenarios_is_small_enough_to_open_and_send() -> None:
    marks = [Mark(n, f"SIGKILL worker {4711 + n}") for n in range(20)]
    runs = [run(many(500, seed), marks, seed=seed) for seed in range(65)]
    assert len(render(runs).encode()) < 5_000_000 / 3  # the bound is 5 MB, for texts longer than these
    largest = render([run(many(50_000), marks)])
    assert len(largest.encode()) < 150_000
