"""``dueq bench``: the strategies measured on this machine."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from .exits import Exit
from .options import Json, RedisUrl
from .output import console, note, say_json, table


def bench(
    strategy: Annotated[
        str, typer.Option("--strategy", metavar="NAME|all", help="How due tasks are found (see dueq doctor).")
    ] = "all",
    suite: Annotated[
        str, typer.Option("--suite", metavar="NAME|all", help="What to measure: one suite, several (A,B), or all.")
    ] = "all",
    quick: Annotated[
        bool, typer.Option("--quick", help="A tenth of the work or less: for a first look, too little for a verdict.")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            metavar="DIR",
            file_okay=False,
            show_default=False,
            help="Draw the figures into this directory, as SVG files (needs matplotlib: the extra plots).",
        ),
    ] = None,
    show_list: Annotated[bool, typer.Option("--list", help="List the suites and what each measures.")] = False,
    redis_url: RedisUrl = None,
    as_json: Json = False,
) -> None:
    """Measure the strategies on this machine: lateness, rates, cost, memory, recovery.

    Every figure is shown beside its floor, which is measured in the same run:
    the wake-up of a blocked client, redis-py's own round trips, the rate of
    redis-benchmark. Compare these ratios, since machines differ and drift.
    A full run takes about 6 minutes for each strategy, --quick about 1 minute.

    Without an address, dueq starts a server of its own for each suite. With
    one, it makes a namespace on that server and purges it at the end; it
    touches nothing else. The exit code is 1 if a task was lost or early, if a
    duplicate has no cause, or if nothing could be measured. A missed target is
    reported, and is not an error.

    \b
    Examples:
      dueq bench --quick
      dueq bench --strategy lua --suite lateness,burst
      dueq bench --strategy all --suite all --json --plot plots
    """
    from ..bench import plots
    from ..bench.progress import Bars
    from ..bench.report import asides, columns, is_clean, rows, troubles
    from ..bench.runner import play_all, wanted_strategies, wanted_suites
    from ..bench.sizes import FULL, QUICK
    from ..bench.suites import SUITES

    if show_list:
        console().print(
            table(None, ["suite", "what it measures"], [[one.name, one.summary] for one in SUITES.values()])
        )
        return
    names, suites = wanted_strategies(strategy), wanted_suites(suite)
    if plot is not None:
        plots.require()
    sizes = QUICK if quick else FULL
    if redis_url:
        note("on your Redis, in namespaces bench-…, each purged afterwards; some figures include other clients' work")
        if any(one.name == "scale" for one in suites):
            note(f"scale puts {sizes.pending[-1]:,} tasks there for a while: about {sizes.pending[-1] / 2000:,.0f} MB")
    reports = []
    with (
        Bars(len(names) * len(suites)) as bars,
        contextlib.closing(play_all(names, suites, sizes, redis_url, bars)) as playing,
    ):
        for report in playing:
            reports.append(report)
            if as_json:
                say_json(report)
            for trouble in troubles(report):
                bars.say(f"NOT CLEAN: {report['strategy']}: {trouble}")
    if not as_json:
        console().print(table(None, columns(reports), list(rows(reports))))
    for aside in asides(reports):
        note(aside)
    if plot is not None:
        for path in plots.draw(reports, plot):
            note(f"drawn: {path}")
    if not all(map(is_clean, reports)) or not any(report["figures"] for report in reports):
        raise typer.Exit(Exit.NO)
