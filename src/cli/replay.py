"""``dueq replay`` and ``dueq demo``: a recorded workload, scheduled and run for real."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .exits import Exit
from .options import Json, RedisUrl
from .output import say_json

DEMO_SPEED = 144_000.0
"""Makes the 92 days of the built-in trace last about a minute."""

_SPEED = typer.Option("--speed", min=0.001, metavar="X", help="How many times faster than recorded.")

Strategy = Annotated[str, typer.Option("--strategy", metavar="NAME", help="How due tasks are found (see dueq doctor).")]
Workers = Annotated[int, typer.Option("--workers", min=1, help="Processes that run tasks.")]
Dispatchers = Annotated[int, typer.Option("--dispatchers", min=1, help="Processes that wait for due times.")]
Cap = Annotated[
    float, typer.Option("--cap", min=0, metavar="SECONDS", help="Longest time that a job sleeps, after compression.")
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", min=1, metavar="N", show_default=False, help="Only the first N jobs of the trace."),
]
MetricsPort = Annotated[
    int,
    # the page is always on, since the report compares its counters with the jobs' own ledger
    typer.Option("--metrics-port", min=0, max=65535, metavar="PORT", help="Port of the metrics page; 0: any."),
]


def replay(
    trace: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", exists=True, dir_okay=False, readable=True, help="The trace; may be .gz, .bz2 or .xz."
        ),
    ],
    speed: Annotated[float, _SPEED] = 1.0,
    strategy: Strategy = "lua",
    workers: Workers = 4,
    dispatchers: Dispatchers = 1,
    cap: Cap = 0.25,
    limit: Limit = None,
    metrics_port: MetricsPort = 0,
    redis_url: RedisUrl = None,
    as_json: Json = False,
) -> None:
    """Replay a recorded workload: schedule every job at its own time, run it, and report.

    FILE is in Standard Workload Format, or CSV lines "due_s,duration_s". Each
    job sleeps as long as it once ran, compressed by --speed and capped. The
    jobs themselves record, outside of dueq, what was lost, early or run twice.
    The exit code is 1 if a job was lost or early, or if a duplicate has no
    cause.

    \b
    Examples:
      dueq replay jobs.swf.gz --speed 100000 --workers 8
      dueq replay mine.csv --speed 10 --limit 1000 --json
    """
    _replay(trace, speed, strategy, workers, dispatchers, cap, limit, redis_url, metrics_port, as_json)


def demo(
    speed: Annotated[float, _SPEED] = DEMO_SPEED,
    strategy: Strategy = "lua",
    workers: Workers = 8,
    dispatchers: Dispatchers = 1,
    cap: Cap = 0.25,
    limit: Limit = None,
    metrics_port: MetricsPort = 0,
    redis_url: RedisUrl = None,
    as_json: Json = False,
) -> None:
    """Replay a real log in about a minute: 18,239 jobs that an iPSC/860 at NASA ran in three months of 1993.

    Shows the address of its metrics page, progress, then the report.

    \b
    Examples:
      dueq demo
      dueq demo --limit 2000 --metrics-port 0
    """
    from ..replay.traces import builtin

    _replay(builtin(), speed, strategy, workers, dispatchers, cap, limit, redis_url, metrics_port, as_json)


def _replay(
    trace: Path,
    speed: float,
    strategy: str,
    workers: int,
    dispatchers: int,
    cap: float,
    limit: int | None,
    redis_url: str | None,
    metrics_port: int,
    as_json: bool,
) -> None:
    from ..replay.report import is_clean, print_table
    from ..replay.runner import run_replay

    report = run_replay(
        trace,
        speed=speed,
        strategy=strategy,
        workers=workers,
        dispatchers=dispatchers,
        cap=cap,
        limit=limit,
        redis_url=redis_url,
        metrics_port=metrics_port,
        json=as_json,
    )
    if as_json:
        say_json(report)
    else:
        print_table(report)
    if not is_clean(report):
        raise typer.Exit(Exit.NO)
