"""``dueq chaos``: a real engine under injected faults."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .exits import Exit
from .lines import calls as parse
from .options import Json
from .output import console, note, say, say_json, table

if TYPE_CHECKING:
    from ..chaos.page import Run
    from ..chaos.runner import Wanted


def chaos(
    strategy: Annotated[
        str, typer.Option("--strategy", metavar="NAME|all", help="How due tasks are found (see dueq doctor).")
    ] = "lua",
    scenario: Annotated[
        str, typer.Option("--scenario", metavar="NAME|all", help="What goes wrong; --list lists them.")
    ] = "all",
    tasks: Annotated[
        int | None,
        typer.Option(
            "--tasks",
            min=1,
            metavar="N",
            show_default=False,
            help="Tasks in a run; by default 20 a second (storm: 50,000; backlog: 20,000; --app: 4 a second).",
        ),
    ] = None,
    duration: Annotated[
        float,
        typer.Option("--duration", min=0.5, metavar="SECONDS", help="Time over which tasks come due and faults occur."),
    ] = 10.0,
    seed: Annotated[
        int,
        typer.Option("--seed", metavar="K", help="The same seed gives the same due times, durations and victims."),
    ] = 1,
    jobs: Annotated[
        int, typer.Option("--jobs", min=1, metavar="N", help="How many runs at once; more runs make lateness worse.")
    ] = 1,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="DIR",
            file_okay=False,
            show_default=False,
            help="Write index.html into this directory: lateness over time, the faults, the verdict.",
        ),
    ] = None,
    app: Annotated[
        str | None,
        typer.Option(
            "--app", metavar="MODULE:APP", show_default=False, help="Run this app's tasks, and kill their workers."
        ),
    ] = None,
    calls: Annotated[
        Path | None,
        typer.Option(
            "--calls",
            metavar="FILE",
            exists=True,
            dir_okay=False,
            show_default=False,
            help="With --app: the tasks to run, as JSON lines like those of dueq schedule --file; by default the tasks "
            "that need no arguments.",
        ),
    ] = None,
    show_list: Annotated[bool, typer.Option("--list", help="List the scenarios and what is expected of each.")] = False,
    as_json: Json = False,
) -> None:
    """Run dueq under injected faults, on a Redis of its own, and see whether its promises hold.

    Processes and signals are real. The verdict comes from an outside ledger,
    which the tasks themselves write. The exit code is 1 if an expectation was
    not met.

    With --app, dueq runs the tasks of your own application and kills their
    workers in the middle of them, to see whether the tasks survive it. The
    tasks run for real. Every Dueq object of the application uses a Redis
    started for this run, whatever address the code gives it, also while the
    module is imported. Everything else that the code touches is the real
    thing: databases, mail, files, other services, a Redis that it reaches with
    another client, and programs that it starts.

    \b
    Examples:
      dueq chaos --scenario worker-kill
      dueq chaos --strategy all --scenario all --report chaos-report
      dueq chaos --app shop:app --calls calls.jsonl --duration 30
    """
    if show_list:
        _list_scenarios()
    elif app is not None:
        _own_app(app, calls, strategy, tasks, duration, seed, as_json)
    else:
        from ..chaos.runner import wanted

        _judge(_played(wanted(scenario, strategy, tasks, duration, seed), jobs, as_json), report, as_json)


def _list_scenarios() -> None:
    from ..chaos.scenarios import SCENARIOS

    rows = [[each.name, each.fault, each.expected] for each in SCENARIOS.values()]
    console().print(table(None, ["scenario", "fault", "expected"], rows))


def _played(chosen: list[Wanted], jobs: int, as_json: bool) -> list[Run]:
    """Play the chosen runs, and print the verdict of each as soon as it ends. Returns them in the order chosen."""
    from ..chaos.report import troubles
    from ..chaos.runner import play_all

    runs = []
    with contextlib.closing(play_all(chosen, jobs)) as playing:  # so that Ctrl+C in this loop ends the runs
        for run in playing:
            runs.append(run)
            found = run.report
            if as_json:
                say_json(found)
            verdict = "met" if found["ok"] else "NOT MET"
            note(f"{len(runs)}/{len(chosen)} {found['scenario']} {found['strategy']}: {verdict}")
            for trouble in troubles(found):
                note(f"    {trouble}")
    order = {(one.scenario, one.strategy): at for at, one in enumerate(chosen)}
    return sorted(runs, key=lambda run: order[run.report["scenario"], run.report["strategy"]])


def _judge(runs: list[Run], page: Path | None, as_json: bool) -> None:
    """Show all runs in one table. Ends with exit code 1 if an expectation was not met."""
    from ..chaos.report import COLUMNS, rows
    from ..chaos.runner import write_page

    if page is not None:
        note(f"the page is {write_page(page, runs)}")
    if not as_json:
        found = rows([run.report for run in runs])
        console().print(table(None, COLUMNS, found, numbers="done lost early p50\xa0ms p99\xa0ms restarts"))
    if not all(run.report["ok"] for run in runs):
        raise typer.Exit(Exit.NO)


def _own_app(
    target: str, calls: Path | None, strategy: str, tasks: int | None, duration: float, seed: int, as_json: bool
) -> None:
    from ..chaos.own import kill_test, print_report

    chosen = parse(calls.read_text(encoding="utf-8").splitlines(), timed=False) if calls else []
    found = kill_test(target, chosen, strategy=strategy, tasks=tasks, duration=duration, seed=seed)
    if as_json:
        say_json(found)
    else:
        print_report(found, say)
    if not found["ok"]:
        raise typer.Exit(Exit.NO)
