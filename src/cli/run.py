"""``dueq run``: the supervisor and its processes."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Any, Literal

import typer

from ..core.config import RunOptions
from .options import NamespaceName, RedisUrl, StrategyName, given

_DEFAULT: dict[str, Any] = {field.name: field.default for field in fields(RunOptions)}
_PROCESSES, _TASKS, _RESTARTS, _SEEN = "Processes", "Tasks", "Stopping and restarting", "Being watched"


def run(
    context: typer.Context,
    target: Annotated[str, typer.Argument(metavar="MODULE:APP", help="Where the Dueq object is, as for uvicorn.")],
    redis_url: RedisUrl = None,
    namespace: NamespaceName = None,
    strategy: StrategyName = None,
    workers: Annotated[
        int, typer.Option(min=0, rich_help_panel=_PROCESSES, help="Processes that run tasks, one at a time each.")
    ] = _DEFAULT["workers"],
    dispatchers: Annotated[
        int, typer.Option(min=0, rich_help_panel=_PROCESSES, help="Processes that wait for due times.")
    ] = _DEFAULT["dispatchers"],
    queues: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            show_default=False,
            rich_help_panel=_TASKS,
            help="Queues to work on, the preferred first; by default every queue that a task of the app names.",
        ),
    ] = None,
    prefetch: Annotated[
        int,
        typer.Option(
            rich_help_panel=_TASKS,
            help="Most tasks that a worker has in hand; 0: as many as it runs in 5 ms, and none behind one that is not "
            "known to be short.",
        ),
    ] = _DEFAULT["prefetch"],
    lease: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            rich_help_panel=_TASKS,
            help="How long a started task stays its worker's without a sign of life; healthy workers extend it.",
        ),
    ] = _DEFAULT["lease"],
    batch: Annotated[
        int,
        typer.Option(rich_help_panel=_TASKS, help="Most tasks that one dispatch moves; more than 100 count as 100."),
    ] = _DEFAULT["batch"],
    safety_net: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            rich_help_panel=_TASKS,
            help="How often a sleeping process looks although nothing woke it.",
        ),
    ] = _DEFAULT["safety_net"],
    audit_interval: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            rich_help_panel=_TASKS,
            help="How often every task is looked for where it should be; sooner after recoveries. 0: never.",
        ),
    ] = _DEFAULT["audit_interval"],
    hang_timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            rich_help_panel=_RESTARTS,
            help="How long a process may stand still before it is killed and replaced (a worker that runs a task: half "
            "a lease without a sign of life); 0: for ever. How long tasks may run is said at each task.",
        ),
    ] = _DEFAULT["hang_timeout"],
    max_tasks_per_worker: Annotated[
        int, typer.Option(min=0, rich_help_panel=_RESTARTS, help="Replace a worker after so many tasks; 0: never.")
    ] = _DEFAULT["max_tasks_per_worker"],
    max_memory_per_worker: Annotated[
        float,
        typer.Option(
            metavar="MIB",
            rich_help_panel=_RESTARTS,
            help="Replace a worker that has more resident memory after a task; 0: never.",
        ),
    ] = _DEFAULT["max_memory_per_worker"],
    max_losses: Annotated[
        int,
        typer.Option(
            rich_help_panel=_TASKS, help="A task that was running in this many workers that died becomes a dead letter."
        ),
    ] = _DEFAULT["max_losses"],
    drain_timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", rich_help_panel=_RESTARTS, help="How long running tasks may go on after SIGTERM."
        ),
    ] = _DEFAULT["drain_timeout"],
    max_restarts: Annotated[
        int,
        typer.Option(
            rich_help_panel=_RESTARTS,
            help="Most restarts per process of a role within --restart-window; beyond that dueq gives up (exit 4).",
        ),
    ] = _DEFAULT["max_restarts"],
    restart_window: Annotated[
        float,
        typer.Option(metavar="SECONDS", rich_help_panel=_RESTARTS, help="The time over which restarts are counted."),
    ] = _DEFAULT["restart_window"],
    metrics_host: Annotated[
        str,
        typer.Option(
            metavar="HOST",
            rich_help_panel=_SEEN,
            help="Address of the page with /metrics for Prometheus, /livez and /readyz.",
        ),
    ] = _DEFAULT["metrics_host"],
    metrics_port: Annotated[
        int, typer.Option(metavar="PORT", rich_help_panel=_SEEN, help="Port of that page; 0: any, -1: no page.")
    ] = _DEFAULT["metrics_port"],
    no_metrics: Annotated[bool, typer.Option("--no-metrics", rich_help_panel=_SEEN, help="No such page.")] = False,
    state_file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            rich_help_panel=_SEEN,
            help="Where to write pid and metrics_url as JSON, once all processes run.",
        ),
    ] = None,
    log_format: Annotated[
        Literal["text", "json"], typer.Option(rich_help_panel=_SEEN, help="Form of the log lines on stderr.")
    ] = _DEFAULT["log_format"],
) -> None:
    """Run an app's tasks when they are due.

    Starts a supervisor over worker and dispatcher processes, in the
    foreground. SIGTERM or Ctrl+C drains: running tasks may finish. A second
    one stops at once. SIGHUP replaces the processes one by one, with new code;
    SIGUSR1 logs what every thread is doing. What dies or hangs is replaced.

    An address or namespace given as a flag outranks what the code says; one
    from the environment does not, so that workers and producers of the same
    app always agree.

    \b
    Examples:
      dueq run shop:app
      dueq run shop:app --workers 8 --queues mail,default
      dueq run shop.tasks:app --metrics-port 0 --state-file /run/dueq.json
    """
    options = RunOptions(
        target=target,
        workers=workers,
        dispatchers=dispatchers,
        queues=_names(queues),
        prefetch=prefetch,
        lease=lease,
        batch=batch,
        safety_net=safety_net,
        audit_interval=audit_interval,
        hang_timeout=hang_timeout,
        max_tasks_per_worker=max_tasks_per_worker,
        max_memory_per_worker=max_memory_per_worker,
        max_losses=max_losses,
        drain_timeout=drain_timeout,
        max_restarts=max_restarts,
        restart_window=restart_window,
        metrics_host=metrics_host,
        metrics_port=None if no_metrics or metrics_port == -1 else metrics_port,
        state_file=state_file,
        log_format=log_format,
    )
    from ..core.supervisor.run import supervise  # not before it is needed: it brings in everything that runs tasks

    supervise(options, redis_url=given(context, "redis_url"), namespace=given(context, "namespace"), strategy=strategy)


def _names(queues: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (queues or "").split(",") if name.strip())
