"""What each kind of child process runs. Each imports its own modules only, and does not wait for those of others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ..app.application import Dueq
from ..app.loader import load
from ..config import RunOptions, Settings
from ..namespace import Namespace
from ..process.descriptors import Standard
from ..schema.journal import Journal
from ..telemetry.counters import Counters
from ..telemetry.recorder import DispatcherTelemetry, ReaperTelemetry, WorkerTelemetry
from ..telemetry.signals import Signals
from ..upkeep import engines as registry
from ..upkeep.engines import Served
from ..worker.watch import WatchPage

ROLES = ("worker", "dispatcher", "reaper")

_SLACK_S = 5.0
"""A task that is in no place counts as lost this many seconds after a lease: by then its owner does, too."""


class Duty(Protocol):
    """A role at work in a child process."""

    def run(self) -> int:
        """Work until asked to stop, or for another good reason; returns the exit status (see ``ExitStatus``)."""


class Journaled:
    """A duty whose notes of tasks are written while it is done."""

    def __init__(self, duty: Duty, journal: Journal) -> None:
        self._duty, self._journal = duty, journal

    def run(self) -> int:
        self._journal.start()
        try:
            return self._duty.run()
        finally:
            self._journal.stop()


def served(app: Dueq, options: RunOptions) -> Served:
    """What the workers of ``app`` serve; nothing if there are to be none."""
    if not options.workers:
        return Served()
    return Served(tuple(options.queues or app.queues), {name: task.queue for name, task in app.tasks.items()})


Builder = Callable[[str, Settings, RunOptions, Counters, Signals, WatchPage], Duty]


def _worker(
    name: str, settings: Settings, options: RunOptions, counters: Counters, signals: Signals, page: WatchPage
) -> Duty:
    from ..worker.recycling import Recycling
    from ..worker.worker import Worker

    app = load(options.target)
    app.bind(settings)
    namespace = Namespace.open(settings, timeout=options.reply_timeout, engine=True)
    registry.note_served(namespace, options.supervisor, served(app, options))
    journal = Journal(namespace.client, namespace.keys, name)
    telemetry = WorkerTelemetry(counters, "worker", namespace.strategy.name, journal, options.named)
    worker = Worker(
        app,
        namespace,
        name,
        options.queues or app.queues,
        telemetry,
        lease=options.lease,
        prefetch=options.prefetch,
        rotate_queues=not options.queues,
        safety_net=options.safety_net,
        max_losses=options.max_losses,
        recycling=Recycling(options.max_tasks_per_worker, options.max_memory_per_worker),
        stop=signals.stop,
        renew=_renewal(signals),
        page=page,
        supervisor=options.supervisor,
    )
    return Journaled(worker, journal)


def _renewal(signals: Signals) -> Callable[[], None]:
    """A function that undoes, after each task, what the task may have done to the process."""
    standard = Standard()

    def renew() -> None:
        signals.renew()
        standard.renew()

    return renew


def _dispatcher(
    name: str, settings: Settings, options: RunOptions, counters: Counters, signals: Signals, _: WatchPage
) -> Duty:
    from ..dispatcher.dispatcher import Dispatcher
    from ..process.prctl import wake_precisely

    wake_precisely()
    namespace = Namespace.open(settings, timeout=options.reply_timeout, owner=name, engine=True)
    journal = Journal(namespace.client, namespace.keys, name)
    telemetry = DispatcherTelemetry(counters, "dispatcher", namespace.strategy.name, journal, options.named)
    dispatcher = Dispatcher(namespace, telemetry, batch=options.batch, safety_net=options.safety_net, stop=signals.stop)
    return Journaled(dispatcher, journal)


def _reaper(
    name: str, settings: Settings, options: RunOptions, counters: Counters, signals: Signals, _: WatchPage
) -> Duty:
    from ..maintenance.auditor import Auditor
    from ..maintenance.loop import MaintenanceJob, MaintenanceLoop
    from ..maintenance.overdue import OverdueCheck
    from ..maintenance.reaper import Reaper

    namespace = Namespace.open(settings, timeout=options.reply_timeout, engine=True)
    journal = Journal(namespace.client, namespace.keys, name)
    telemetry = ReaperTelemetry(counters, "reaper", namespace.strategy.name, journal, options.named)
    reaper = Reaper(namespace, telemetry, lease=options.lease, max_losses=options.max_losses)
    jobs: list[MaintenanceJob] = [reaper, OverdueCheck(namespace, telemetry, lease=options.lease)]
    if options.audit_interval:
        grace = options.lease + _SLACK_S
        jobs.append(Auditor(namespace, telemetry, interval=options.audit_interval, grace=grace))
    return Journaled(MaintenanceLoop(jobs, telemetry, signals.stop), journal)


BUILDERS: dict[str, Builder] = {"worker": _worker, "dispatcher": _dispatcher, "reaper": _reaper}
