"""Tests whether the tasks of a user's own application survive when their worker is killed in the middle of them."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from .. import strategies
from ..core.app.application import Dueq
from ..core.app.loader import load
from ..core.app.payload import encode_body
from ..core.app.task import Call, Task
from ..core.clock import US
from ..core.config import RunOptions
from ..core.errors import ConfigurationError
from ..core.namespace import Namespace
from ..core.schema.states import State
from ..harness.account import Planned
from ..harness.history import UNEXPLAINED
from ..harness.sandbox import temporary_directory, terminable
from . import OWN_APP_VARIABLE
from .redirect import redirected
from .scenarios.base import LOST_OWNER
from .scenarios.processes import kill_workers, recovery_us
from .stage import Size, Stage, p99_ms

_TARGET = "dueq.chaos.watched:app"
_RATE = 4.0  # tasks a second, by default
_OPTIONS = RunOptions(_TARGET)  # the defaults of dueq run
_LONGEST_S = 600.0  # how long tasks may still run, or wait for a retry, after the last was due

Report = dict[str, Any]


def kill_test(
    target: str, calls: Sequence[Call], *, strategy: str, tasks: int | None, duration: float, seed: int
) -> Report:
    """Run the application's tasks over ``duration`` seconds while their workers are killed, one a second.

    The calls take turns; if there are none, the tasks that need no arguments are called. Raises ConfigurationError if
    there is no task to call, and what ``Stage`` raises.
    """
    strategies.find(strategy)  # before anything starts
    size = Size(tasks or max(1, round(_RATE * duration)), duration, seed)
    with (
        terminable(),
        temporary_directory() as directory,
        Stage("own app", strategy, size, directory, {}) as stage,
    ):
        with redirected(stage.settings.redis_url or ""):  # a module may schedule while it is imported
            app = load(target)
        chosen = [_fitted(app, call) for call in calls] or _without_arguments(app)
        return _tested(stage, target, chosen)


def _tested(stage: Stage, target: str, chosen: Sequence[Call]) -> Report:
    # only flags outrank the application's own address and namespace
    url, namespace = stage.settings.redis_url or "", stage.settings.namespace
    where = ("--redis-url", url, "--namespace", namespace, "--max-losses", _OPTIONS.max_losses)
    host = stage.host(*where, lease=_OPTIONS.lease, target=_TARGET, environment={OWN_APP_VARIABLE: target})
    names: dict[str, str] = {}

    def schedule() -> None:
        made = []
        for number in range(stage.size.tasks):
            call = chosen[number % len(chosen)]
            task_id = f"t{number}"
            due_us = stage.base_us + round(stage.chance.uniform(0, stage.size.duration) * US)
            stage.plan[task_id], names[task_id] = Planned(due_us, 0), call.task
            made.append(replace(call, id=task_id, due=due_us, relative=False))
        stage.app.schedule_many(made)

    stage.begin(schedule)
    # a task that is killed more often would become a dead letter, which would not be the application's fault
    killed = kill_workers(stage, host, most=_OPTIONS.max_losses - 1)
    _finish(stage)
    return _report(stage, names, killed, target)


def _finish(stage: Stage) -> None:
    """Wait as long as a scheduled task runs, or waits for its turn or a retry, up to a limit."""
    space = Namespace.open(stage.settings)
    deadline = time.monotonic() + stage.size.duration + _LONGEST_S

    def goes_on() -> bool:
        records = (space.store.record(task_id) for task_id in stage.book.lost_ids())
        patient = stage.hosts[0].alive() and time.monotonic() < deadline
        return patient and any(record is not None and record.state != State.DEAD for record in records)

    try:
        stage.finish(goes_on=goes_on)
    finally:
        space.close()


def _report(stage: Stage, names: dict[str, str], kills: list[tuple[str, int]], target: str) -> Report:
    book = stage.book
    killed = [task_id for task_id, _ in kills]
    stage.check("workers killed in the middle of a task", "some", len(killed), bool(killed))
    lost, duplicates = set(book.lost_ids()), book.duplicates()
    stage.check("tasks that never finished", "0", len(lost), not lost)
    stage.check("extra starts without a cause", "0", duplicates[UNEXPLAINED], not duplicates[UNEXPLAINED])
    stage.check("starts before the due time", "0", book.early, not book.early)
    hit = set(killed)
    counts = {
        name: {
            "scheduled": sum(names[one] == name for one in names),
            "killed": sum(names[one] == name for one in hit),
            "survived": sum(names[one] == name and one not in lost for one in hit),
            "raised": sum(count for one, count in book.raised.items() if names.get(one) == name),
            "lost": sum(names[one] == name for one in lost),
        }
        for name in sorted(set(names.values()))
    }
    return {
        "app": target,
        "strategy": stage.strategy,
        "seed": stage.size.seed,
        "ok": all(check.ok for check in stage.checks),
        "scheduled": len(stage.plan),
        "finished": book.finished,
        "lost": book.lost,
        "lost_ids": sorted(lost)[:10],
        "early": book.early,
        "duplicates": {cause: duplicates[cause] for cause in (*sorted(LOST_OWNER), UNEXPLAINED)},
        "kills": len(killed),
        "recovery_p99_ms": p99_ms(recovery_us(stage, kills)),
        "tasks": counts,
        "checks": [{"what": c.what, "expected": c.expected, "measured": c.measured, "ok": c.ok} for c in stage.checks],
        "log": stage.hosts[0].log_end().splitlines() if lost else [],
    }


def print_report(report: Report, say: Callable[[str], None]) -> None:
    """Show the report to people, line by line."""
    say(f"{report['app']}: {report['finished']} of {report['scheduled']} tasks done, {report['kills']} workers killed")
    if report["recovery_p99_ms"] is not None:
        say(f"from a kill to the next start of its task: p99 {report['recovery_p99_ms']:.0f} ms")
    for name, counts in report["tasks"].items():
        facts = ", ".join(f"{what} {count}" for what, count in counts.items())
        say(f"  {name}: {facts}")
    for check in report["checks"]:
        say(f"{'ok' if check['ok'] else 'NOT OK'}: {check['what']}: {check['measured']} (expected {check['expected']})")
    if report["log"]:
        say("the log ends:")
        for line in report["log"]:
            say(f"  {line}")
    if report["ok"]:
        say("every task finished; only your own data can tell whether each did its work once and completely")


def _fitted(app: Dueq, call: Call) -> Call:
    """``call`` with the queue of its task. Raises ConfigurationError if there is no such task."""
    task = app.tasks.get(call.task)
    if task is None:
        known = ", ".join(sorted(app.tasks)) or "none"
        raise ConfigurationError(f"the application has no task called {call.task!r}: there are {known}")
    return replace(call, queue=task.queue)


def _without_arguments(app: Dueq) -> list[Call]:
    found = [_call(app, task) for task in app.tasks.values() if _needs_nothing(task)]
    if not found:
        names = ", ".join(sorted(app.tasks)) or "none"
        raise ConfigurationError(
            f"no task of the application can be called without arguments (there are {names}): give calls with "
            f'--calls FILE, JSON lines such as {{"task": "…", "args": [1]}}'
        )
    return found


def _call(app: Dueq, task: Task[..., Any]) -> Call:
    return Call(task.name, task.queue, 0, False, encode_body(task.name, (), {}, app.settings.max_payload), "")


def _needs_nothing(task: Task[..., Any]) -> bool:
    try:
        inspect.signature(task.function).bind()
    except TypeError:
        return False
    return True
