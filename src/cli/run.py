"""``dueq run``: the supervisor and its processes."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import fields
from typing import Annotated, Any, cast

import typer

from ..core.config import Flag, RunOptions, run_flags
from .options import NamespaceName, RedisUrl, StrategyName, given

_NO_METRICS = typer.Option(
    "--no-metrics", rich_help_panel=run_flags()["metrics_port"][1].group, help="Serve no metrics page."
)


def run(
    context: typer.Context,
    target: Annotated[str, typer.Argument(metavar="MODULE:APP", help="Module and name of the Dueq object.")],
    redis_url: RedisUrl = None,
    namespace: NamespaceName = None,
    strategy: StrategyName = None,
    **flags: Any,
) -> None:
    """Run an app's tasks when they are due.

    Starts a supervisor over worker and dispatcher processes, in the
    foreground. SIGTERM or Ctrl+C drains: running tasks may finish. A second
    signal stops at once. SIGHUP replaces the processes one by one, with new
    code; SIGUSR1 logs what every thread is doing. A process that dies or hangs
    is replaced.

    An address or namespace given as a flag outranks what the code says; one
    from the environment does not, so that workers and producers of the same
    app always agree.

    \b
    Examples:
      dueq run shop:app
      dueq run shop:app --workers 8 --queues mail,default
      dueq run shop.tasks:app --metrics-port 0 --state-file /run/dueq.json
    """
    from ..core.supervisor.run import supervise  # not before it is needed: it brings in everything that runs tasks

    supervise(
        RunOptions(target, **_read(**flags)),
        redis_url=given(context, "redis_url"),
        namespace=given(context, "namespace"),
        strategy=strategy,
    )


def _read(*, queues: str | None, metrics_port: int, no_metrics: bool, **same: Any) -> dict[str, Any]:
    """The arguments of ``RunOptions``, from those of the command line."""
    return {
        **same,
        "queues": tuple(name.strip() for name in (queues or "").split(",") if name.strip()),
        "metrics_port": None if no_metrics or metrics_port == -1 else metrics_port,
    }


def _parameters() -> Iterator[inspect.Parameter]:
    """The parameters of ``run`` itself, and one for each flag of ``RunOptions``."""
    *own, _ = inspect.signature(run, eval_str=True).parameters.values()
    yield from own
    defaults = {field.name: field.default for field in fields(RunOptions)}
    for name, (kind, flag) in run_flags().items():
        if name == "queues":
            kind, defaults[name] = str | None, None  # one text, with commas between the names
        elif name == "metrics_port":
            kind = int
        yield _parameter(name, Annotated[kind, _option(flag)], defaults[name])
        if name == "metrics_port":
            yield _parameter("no_metrics", Annotated[bool, _NO_METRICS], False)


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _option(flag: Flag) -> Any:
    return typer.Option(
        metavar=flag.metavar,
        envvar=flag.variable,
        min=flag.least if flag.checked else None,
        show_default=flag.shows_default,
        rich_help_panel=flag.group,
        help=flag.help,
    )


cast(Any, run).__signature__ = inspect.Signature([*_parameters()])  # from which the command line is made
