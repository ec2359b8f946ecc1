"""The parts of the bench alone: figures, floors, cost, marks, bars, pages and pictures."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from dueq.bench import markdown, plots
from dueq.bench.figures import BEYOND, TARGETS, Figure, Target, spell
from dueq.bench.floors import Floors
from dueq.bench.marks import CAPACITY, Marks, MarksReader
from dueq.bench.progress import Bars
from dueq.bench.redis_cost import COMMAND_TIME, spent
from dueq.bench.report import Report, Setting, asides, cell, make, rows
from dueq.bench.sizes import FULL, QUICK
from dueq.bench.suites import SUITES
from dueq.bench.work import Found, rate
from dueq.core.client.connection import connect

DOCS = Path(__file__).parents[2] / "docs"


def report(strategy: str = "lua", p50: float = 1.2) -> Report:
    found = Found(scheduled=3, finished=3, lateness_us=[1_000, 1_200, 9_000], commands_per_task=40.0)
    found.figures = [
        Figure("lateness", "started p50", p50, "ms", 0.5, "wake-up of a blocked client"),
        Figure("lateness", "started p99", None, "ms"),
        Figure("lateness", "commands a task", 40.0, ""),
        Figure("lateness", "Redis time a task", 300.0, "µs"),
        Figure("scale", "started p99", 2.0, "ms", 0.5, "", 1_000, "pending"),
        Figure("scale", "started p99", 3.0, "ms", 0.5, "", 100_000, "pending"),
        Figure("dispatchers", "conflicts", 0, "", at=1, at_what="dispatchers"),
        Figure("dispatchers", "conflicts", 7, "", at=8, at_what="dispatchers"),
    ]
    found.notes = ["a note"]
    return make(Setting(strategy, FULL, None, "Valkey 9"), {"lateness": found}, {"burst": "no scripts"}, {}, 1.0)


def test_targets() -> None:
    assert Target("≤", 3, of_floor=True).spell("ms") == "≤ 3 × floor"
    assert Target("≥", 10_000).spell("/s") == "≥ 10,000/s"
    assert Target("≤", 3, of_floor=True).met(0.6, 0.2) is True
    assert Target("≤", 3, of_floor=True).met(0.7, 0.2) is False
    assert Target("≤", 3, of_floor=True).met(0.7, None) is None
    assert Target("≥", 0.9, of_floor=True).met(8_000, 10_000) is False
    assert Target("≥", 10_000).met(10_000, None) is True
    assert {suite for suite, _ in TARGETS} <= SUITES.keys()


def test_figures() -> None:
    one = Figure("lateness", "started p50", 1.0, "ms", 0.25, "wake-up")
    assert (one.ratio, one.met) == (4.0, False)
    assert Figure("lateness", "started p50", 1.0, "ms").met is None


def test_what_a_strategy_cannot_meet_by_design_is_not_called_missed() -> None:
    late = Figure("lateness", "started p50", 500.0, "ms", 0.25, "wake-up")
    found = {strategy: late.as_json(strategy) for strategy in ("lua", "buckets")}
    assert {strategy: (one["met"], one["beyond"]) for strategy, one in found.items()} == {
        "lua": (False, False),
        "buckets": (None, True),
    }
    assert cell(found["lua"]).endswith(" missed")
    assert cell(found["buckets"]).endswith(" beyond its design")
    met = Figure("memory", "Redis a pending task", 300.0, "B").as_json("keyspace")
    assert (met["met"], met["beyond"]) == (True, False), "if it does meet it, that is said"
    for strategy, beyond in BEYOND.items():
        assert beyond <= TARGETS.keys(), strategy
    assert Figure("lateness", "started max", 1.0, "ms", 0.5).met is None
    assert Figure("lateness", "started p50", None, "ms", 0.5).ratio is None
    assert [spell(number, "ms") for number in (None, 0.0, 0.1234, 12.34, 1_234.5)] == [
        *("–", "0 ms", "0.123 ms", "12.3 ms", "1,234 ms")
    ]
    assert spell(12_345.6, "/s") == "12,346/s"


def test_a_quick_run_is_smaller_in_everything() -> None:
    for name in FULL.__slots__:
        assert getattr(QUICK, name) < getattr(FULL, name) or name == "dispatchers", name


def test_marks_of_several_workers_are_added_up(tmp_path: Path) -> None:
    """Each process has its own file; what a killed one wrote stays."""
    program = (
        "import os, signal, sys, pathlib; from dueq.bench.marks import Marks; marks = Marks(pathlib.Path(sys.argv[1]));"
        "marks.start(7); marks.finish(7); marks.start(8); os.kill(os.getpid(), signal.SIGKILL)"
    )
    before_us = time.time_ns() // 1000
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert done.returncode == -9
    ours = Marks(tmp_path)
    ours.start(8)
    ours.finish(8)
    ours.start(CAPACITY - 1)
    reader = MarksReader(tmp_path)
    seen = reader.of([6, 7, 8, CAPACITY - 1])
    assert [(one.starts, one.finishes) for one in seen.values()] == [(0, 0), (1, 1), (2, 1), (1, 0)]
    assert seen[6].first_us == 0
    assert before_us < seen[7].first_us <= seen[8].first_us < seen[CAPACITY - 1].first_us
    assert reader.finishes() == 2
    ours.finish(CAPACITY - 1)
    assert reader.finishes() == 3
    with pytest.raises(IndexError):
        ours.start(CAPACITY)


def test_a_rate_is_from_the_first_to_the_last() -> None:
    assert rate([]) is None
    assert rate([5]) is None
    assert rate([0, 500_000, 1_000_000]) == 2.0


def test_floors_leave_nothing(redis_url: str) -> None:
    client = connect(redis_url)
    before = set(client.keys())
    floors = Floors(redis_url, "floors", 10, 1_000)
    assert 0 < floors.wake_up.p50 <= floors.wake_up.p99
    assert floors.round_trips > 10
    one = floors.benchmark(2)
    if any(map(shutil.which, ("redis-benchmark", "valkey-benchmark"))):
        assert one.per_second is not None
        assert one.per_second > 10
        assert floors.notes == []
    assert set(client.keys()) == before


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("redis://:secret@127.0.0.1:1", "password as an argument"),
        ("rediss://127.0.0.1:1", "rediss://"),
        ("redis+sentinel://127.0.0.1:1/mine", "redis+sentinel://"),
    ],
)
def test_why_a_floor_is_missing(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, reason: str
) -> None:
    program = tmp_path / "redis-benchmark"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    from dueq.bench.floors import _Absent, _benchmark

    with pytest.raises(_Absent, match=re.escape(reason)):
        _benchmark(url, "key", 1, 1, 10)
    floors = Floors(redis_url, "floors", 10, 10)
    assert floors.benchmark(1).per_second is None
    assert floors.benchmark(2).per_second is None
    assert len(floors.notes) == 1  # said once
    assert "ended with status 1" in floors.notes[0]
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert floors.benchmark(1).per_second is None
    assert "on the PATH" in floors.notes[1]


def test_what_a_script_calls_is_counted_but_its_time_not_twice(redis_url: str) -> None:
    client = connect(redis_url)
    client.config_resetstat()
    before = spent(client)
    client.eval("for i = 1, 50000 do redis.call('SET', KEYS[1], i) end", 1, "scripted")
    cost = spent(client).since(before)
    client.delete("scripted")
    assert cost.commands == 50_001
    usec = {name: entry["usec"] for name, entry in client.info("commandstats").items()}
    if cost.time_of == COMMAND_TIME:
        assert usec["cmdstat_eval"] <= cost.time_us < usec["cmdstat_eval"] + usec["cmdstat_set"] / 2
    else:
        assert cost.time_us > 0


def test_bars_on_a_terminal_and_elsewhere() -> None:
    for terminal in (True, False):
        out = io.StringIO()
        with Bars(2, Console(file=out, force_terminal=terminal, width=100)) as bars:
            bars.begin("lua burst")
            bars.moved("running", 3, 10)
            bars.done()
        assert ("3/10" in out.getvalue()) is terminal
        assert ("lua burst: 0 s" in out.getvalue()) is not terminal


def test_rows_have_a_column_for_each_strategy() -> None:
    (first, *rest) = rows([report("lua"), report("watch", 3.0)])
    assert first == [
        *("lateness", "started p50", "≤ 3 × floor"),
        *("1.2 ms (2.4 × 0.5) met", "3 ms (6 × 0.5) missed"),
    ]
    assert rest[0] == ["", "started p99", "≤ 4 × floor", "–", "–"]
    assert [row[1] for row in rest if row[0] == "scale"] == ["started p99, 1,000 pending"]


def test_asides_say_of_which_strategies() -> None:
    told = asides([report("lua"), report("watch", 3.0)])
    assert "lua, watch: not measured: burst: no scripts" in told
    assert "lua, watch: a note" in told
    missed = [aside for aside in told if "target missed" in aside]
    assert missed == ["watch: target missed: lateness started p50: 3 ms (6 × 0.5), ≤ 3 × floor"]
    assert not [aside for aside in asides([report("watch", 3.0)], missed=False) if "missed" in aside]


def test_pictures_are_the_same_for_the_same_reports(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    some = [report("lua"), report("watch", 2.0)]
    drawn = plots.draw(some, tmp_path / "a")
    assert [path.name for path in drawn] == ["lateness.svg", "pending.svg", "cost.svg"]
    for path in drawn:
        assert path.read_bytes() == (tmp_path / "a" / path.name).read_bytes()
    for path, again in zip(drawn, plots.draw(some, tmp_path / "b"), strict=True):
        assert path.read_bytes() == again.read_bytes()
        assert b"watch" in path.read_bytes()
    empty = make(Setting("lua", FULL, None), {}, {}, {}, 1.0)
    assert plots.draw([empty], tmp_path / "c") == []


def test_the_page_gets_tables_and_pictures(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    runs, page = tmp_path / "runs.jsonl", tmp_path / "page.md"
    page.write_text(f"head\n{markdown.BEGIN}\nyesterday\n{markdown.END}\ntail")
    runs.write_text("\n".join(json.dumps(one) for one in (report("lua"), report("buckets"))))
    assert markdown.main([str(runs), str(page), str(tmp_path / "plots")]) == 0
    text = page.read_text()
    assert "yesterday" not in text
    assert "![lateness](plots/lateness.svg)" in text
    (row,) = [line for line in text.splitlines() if line.startswith("| `lua`")]
    assert "1.2 ms (2.4 ×) / –" in row
    assert "| 7 |" in row  # conflicts of 8 dispatchers; one alone is not shown
    assert row.endswith("| 2.6 | needs EVAL |")
    assert "On Valkey 9." in text
    runs.write_text("")
    assert markdown.main([str(runs), str(page)]) == 1
    assert page.read_text() == text


def test_the_docs_tell_of_every_suite_and_key() -> None:
    page = (DOCS / "bench.md").read_text()
    told = re.findall(r"^\| `([a-z]+)` \|", page.partition("## Suites")[2].partition("## Keys")[0], re.MULTILINE)
    assert told == list(SUITES)
    keys = page.partition("## Keys of the report")[2]
    some = report()
    for key in (*some, *some["figures"][0]):
        assert f"`{key}`" in keys, key
    strategies_page = (DOCS / "strategies.md").read_text()
    assert markdown.BEGIN in strategies_page
    assert markdown.END in strategies_page
