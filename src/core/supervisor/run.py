"""``dueq run``: an application, its supervisor, and its metrics page, put together."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ... import __version__
from ..app.application import Dueq
from ..app.loader import load
from ..client.embedded import EmbeddedServer, default_directory
from ..client.failures import explained
from ..client.redaction import redact
from ..config import RunOptions, Settings
from ..errors import ConfigurationError, EmbeddedServerError
from ..maintenance.fallen import Fallen, facts_of
from ..maintenance.recovery import Recovery
from ..namespace import Namespace
from ..process.descriptors import open_missing
from ..process.lifetime import reap_orphans
from ..process.state_lock import StateLock, default_state_directory
from ..process.stop import Inbox
from ..process.uncaught import log_what_nobody_catches
from ..schema.journal import Journal
from ..schema.keys import unique_name
from ..store.requirements import check
from ..telemetry import log_output, logs
from ..telemetry.collector import Collector
from ..telemetry.health import Health
from ..telemetry.http import serve
from ..telemetry.labels import MOST
from ..telemetry.recorder import Telemetry
from ..telemetry.signals import ignored
from ..upkeep.clearing import Clearing
from ..upkeep.layout import bring_up_to_date
from ..upkeep.reclaim import Reclaim
from ..worker.watch import WatchPage
from .child import Child
from .presence import Duty, Entry, Presence
from .revival import Revival
from .roles import served
from .stalled import Stalled
from .state_file import StateFile
from .supervisor import Supervisor
from .systemd import Notifier

log = logging.getLogger("dueq.supervisor")

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
_TIMEOUT_S = 2.0  # for Redis's answers to the supervisor, which has children to look after meanwhile


def supervise(
    options: RunOptions, *, redis_url: str | None = None, namespace: str | None = None, strategy: str | None = None
) -> None:
    """Run the application of ``options`` until SIGTERM or SIGINT. For arguments that are None, its own settings count.

    Call it in the main thread. Raises ConfigurationError, StrategyMismatch, StrategyUnavailable, ServerUnavailable,
    ServerRefused, BootFailure or RestartLimitExceeded; no child is left then.
    """
    open_missing()
    logs.set_up(options.log_format, role="supervisor")
    log_what_nobody_catches()
    state_file = StateFile(options.state_file) if options.state_file else None
    app = load(options.target)
    logs.share_with_app()
    if options.workers and not app.tasks:
        raise ConfigurationError(
            f"{options.target} defines no task: decorate a function with @app.task() or @app.handler"
        )
    _doubt_queues(app, options)
    wanted = _settings(app, redis_url, namespace, strategy)
    opened = Namespace.open(wanted, timeout=_TIMEOUT_S, engine=True)
    with explained(opened.settings.redis_url or ""):
        check(opened.client, type(opened.strategy), opened.keys, opened.strategy.store)
        Reclaim(opened).settle()
        bring_up_to_date(opened)
    logs.describe(strategy=opened.strategy.name)
    _Run(app, opened, options, _revival(opened.settings.redis_url), state_file).run()


def _doubt_queues(app: Dueq, options: RunOptions) -> None:
    """Warn of queues that no task names: a mistyped queue would be served for ever, and nothing would come of it."""
    if options.workers and (strange := [queue for queue in options.queues if queue not in app.queues]):
        log.warning(
            "--queues: no task of %s names %s; its queues are %s. This is right only if producers name the queue",
            options.target,
            ", ".join(strange),
            ", ".join(app.queues),
        )


def _settings(app: Dueq, redis_url: str | None, namespace: str | None, strategy: str | None) -> Settings:
    ours = app.settings
    return replace(
        ours,
        redis_url=redis_url or ours.redis_url,
        namespace=namespace or ours.namespace,
        strategy=strategy or ours.strategy,
    )


def _locked(options: RunOptions, namespace: Namespace) -> StateLock | None:
    """The lock of this supervisor, for its children to inherit; None if the state directory cannot be used."""
    chosen = options.state_dir
    try:
        directory = Path(chosen).expanduser().absolute() if chosen else default_state_directory()
        lock = StateLock(directory, options.supervisor, {"supervisor": options.supervisor, **facts_of(namespace)})
    except (OSError, RuntimeError) as error:  # RuntimeError: ~ of an unknown user
        log.log(
            logging.WARNING if chosen else logging.INFO,
            "if this supervisor is killed with all its processes, their tasks run again only when the leases have run "
            "out: %s cannot be used for its lock (%s); --state-dir or DUEQ_STATE_DIR names another directory",
            chosen or "the state directory",
            error,
        )
        return None
    os.register_at_fork(after_in_child=lock.let_go)
    return lock


def _revival(redis_url: str | None) -> Revival | None:
    """What starts the server again, if it is the embedded one."""
    try:
        embedded = EmbeddedServer(default_directory())
        return Revival(embedded) if embedded.url == redis_url else None
    except EmbeddedServerError:  # no home directory, or not ours: then it is another server
        return None


class _Run:
    """One run of one supervisor."""

    def __init__(
        self,
        app: Dueq,
        namespace: Namespace,
        options: RunOptions,
        revival: Revival | None,
        state_file: StateFile | None,
    ) -> None:
        self._revival, self._state_file = revival, state_file
        me = unique_name("supervisor")
        options = replace(options, supervisor=me, named=tuple(options.queues or app.queues)[:MOST])
        self._namespace, self._options = namespace, options
        settings, strategy = namespace.settings, namespace.strategy.name
        tasks = {name: task.queue for name, task in app.tasks.items()}
        self._queues = options.queues or app.queues
        self._collector = Collector(settings, strategy, self._queues, tasks)
        log_output.count_dropped(self._collector.own.counter("dueq_log_lines_dropped_total").inc)
        needed = {"worker": options.workers, "dispatcher": options.dispatchers}
        self._health = Health(needed, self._collector.processes, self._collector.redis_is_up, self._collector.refused)
        self._notifier = Notifier.of(os.environ)
        self._inbox = Inbox()
        started_ignoring, page = ignored(), WatchPage()
        self._lock = _locked(options, namespace)

        def telemetry() -> Telemetry:
            journal = Journal(namespace.client, namespace.keys, me)
            return Telemetry(self._collector.own, "supervisor", strategy, journal)

        self._supervisor = Supervisor(
            options,
            self._collector,
            Recovery(namespace, telemetry(), options.max_losses),
            self._inbox,
            lambda role, name: Child(role, name, settings, options, page, started_ignoring, self._lock),
            on_ready=self._say_ready,
            on_reload=self._say_reload,
            on_turn=self._tick,
            processors=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
            reap=reap_orphans if os.getpid() == 1 else lambda: None,
        )
        entry = Entry(namespace, me, __version__, served(app, options), self._supervisor.roles)
        duties: list[Duty] = [
            Reclaim(namespace, entry.doubt),
            Clearing(namespace, self._collector.refused),
            Stalled(namespace, self._supervisor.workers),
        ]
        if self._lock is not None:
            duties.insert(0, Fallen(namespace, telemetry(), options.max_losses, self._lock.directory))
        self._presence = Presence(entry, duties)
        self._metrics_url: str | None = None
        self._ready = False

    def run(self) -> None:
        try:
            self._run()
        finally:
            if self._lock is not None and not self._supervisor.left_something:
                self._lock.remove()

    def _run(self) -> None:
        self._inbox.catch(*_SIGNALS)
        stop_serving = self._serve()
        try:
            self._presence.start()
            self._supervisor.run()
            log.info("stopped")
        finally:
            for number in _SIGNALS:  # the end is decided: a signal while the interpreter ends must not change it
                signal.signal(number, signal.SIG_IGN)
            self._presence.stop()
            stop_serving()
            if self._state_file is not None:
                self._state_file.remove()
            self._namespace.close()

    def _serve(self) -> Callable[[], None]:
        if self._options.metrics_port is None:
            return lambda: None
        host, port = self._options.metrics_host, self._options.metrics_port
        self._metrics_url, stop = serve(self._collector, self._health, host, port)
        return stop

    def _tick(self, leaving: bool) -> None:
        self._health.tick(leaving=leaving)
        if self._revival is not None and not leaving:
            self._revival.look()
        if leaving:
            self._notifier.stopping()
            if self._lock is not None:
                self._lock.note_stop()
        else:
            self._notifier.alive()

    def _say_reload(self, begins: bool) -> None:
        self._presence.look(renewed=not begins)
        if begins:
            self._notifier.reloading()
        elif self._ready:
            self._notifier.ready(self._status())

    def _status(self) -> str:
        return f"{self._options.workers} workers, {self._options.dispatchers} dispatchers, metrics {self._metrics_url}"

    def _say_ready(self) -> None:
        options, settings = self._options, self._namespace.settings
        log.info(
            "ready: %d workers on %s, %d dispatchers, strategy %s, namespace %s, Redis at %s, metrics at %s",
            options.workers,
            ", ".join(self._queues),
            options.dispatchers,
            self._namespace.strategy.name,
            settings.namespace,
            redact(settings.redis_url or ""),
            self._metrics_url or "no page",
        )
        self._ready = True
        self._presence.look()
        self._notifier.ready(self._status())
        if self._state_file is not None:
            self._state_file.write(
                {
                    "metrics_url": self._metrics_url,
                    "namespace": settings.namespace,
                    "strategy": self._namespace.strategy.name,
                }
            )
