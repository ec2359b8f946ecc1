"""Kill-testing somebody's own application: do its tasks survive that their worker is killed in the middle of them?"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ..core.app import Call, Dueq, Task
from ..core.clock import US
from ..core.codec import encode_body
from ..core.errors import ConfigurationError
from ..core.target import load
from ..replay.account import Planned
from ..replay.place import temporary_directory, terminable
from . import OWN_APP_VARIABLE
from .book import UNEXPLAINED
from .scenarios.base import LOST_OWNER
from .scenarios.processes import check_recovery, kill_workers
from .stage import Size, Stage

_TARGET = "dueq.chaos.watched:app"
_RATE = 4.0  # tasks a second, if nobody says how many
_MOST_LOSSES = 3

Report = dict[str, Any]


def kill_test(
    target: str, calls: Sequence[Call], *, strategy: str, tasks: int | None, duration: float, seed: int
) -> Report:
    """Run the application's tasks over ``duration`` seconds while their workers are killed, one a second.

    ``calls`` says which tasks with which arguments, in turns; without any, those that need no arguments are called.
    Raises ConfigurationError if there is nothing to call, and what ``Stage`` raises.
    """
    app = load(target)
    chosen = [_fitted(app, call) for call in calls] or _without_arguments(app)
    size = Size(tasks or max(1, round(_RATE * duration)), duration, seed)
    with terminable(), temporary_directory() as directory:
        stage = Stage("own app", strategy, size, directory, {})
        try:
            return _tested(stage, target, chosen)
        finally:
            stage.close()


def _tested(stage: Stage, target: str, chosen: Sequence[Call]) -> Report:
    # the application's own address and namespace outrank the environment: only flags outrank those
    url, namespace = stage.settings.redis_url or "", stage.settings.namespace
    where = ("--redis-url", url, "--namespace", namespace, "--max-losses", _MOST_LOSSES)
    host = stage.host(*where, target=_TARGET, environment={OWN_APP_VARIABLE: target})
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
    killed = kill_workers(stage, host)
    stage.finish()
    check_recovery(stage, killed)
    return _report(stage, names, [task_id for task_id, _ in killed], target)


def _report(stage: Stage, names: dict[str, str], killed: Sequence[str], target: str) -> Report:
    book = stage.book
    lost, duplicates = set(book.lost_ids()), book.duplicates()
    stage.check("tasks that never came to their end", "0", len(lost), not lost)
    stage.check("extra starts without a cause", "0", duplicates[UNEXPLAINED], not duplicates[UNEXPLAINED])
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
        "tasks": counts,
        "checks": [{"what": c.what, "expected": c.expected, "measured": c.measured, "ok": c.ok} for c in stage.checks],
        "log": stage.hosts[0].log_end().splitlines() if lost else [],
    }


def print_report(report: Report, say: Callable[[str], None]) -> None:
    """Show the report to people, line by line."""
    say(f"{report['app']}: {report['finished']} of {report['scheduled']} tasks done, {report['kills']} workers killed")
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
        say("every task came to its end; whether it did its work once and whole, only your own data can tell")


def _fitted(app: Dueq, call: Call) -> Call:
    """``call`` for the queue that its task is of. Raises ConfigurationError if there is no such task."""
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
            f"no task of the application can be called without arguments (there are {names}): say what to call with "
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
