"""The settings: frozen values, checked once at the edge and passed down. Nothing inside reads the environment."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from .errors import ConfigurationError

REDIS_URL_VARIABLE = "DUEQ_REDIS_URL"
NAMESPACE_VARIABLE = "DUEQ_NAMESPACE"

_REPLY_S = 10.0

MOST_PAYLOAD = 256 * 1024
"""The largest ``max_payload``: Redis is held for a millisecond at most, also by the largest task."""

NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
"""What a namespace, queue, strategy or worker may be called: no separators of key names or records."""


def check_name(kind: str, name: object) -> str:
    """Return ``name`` if it may be used in key names, else raise ConfigurationError."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ConfigurationError(f"{kind} {name!r} is not allowed: use 1 to 64 of the characters A-Z a-z 0-9 _ . -")
    return name


@dataclass(frozen=True, slots=True)
class Settings:
    """What every process of a namespace must agree on, and where its Redis is. Durations are seconds."""

    redis_url: str | None = None
    """None: the server that dueq starts by itself."""
    namespace: str = "default"
    strategy: str | None = None
    """None: the one that the namespace is kept by, or the default for a new namespace."""
    max_payload: int = 64 * 1024
    """Most bytes that a task's encoded arguments may take; at most 256 KiB."""

    def __post_init__(self) -> None:
        if self.redis_url is not None and not isinstance(self.redis_url, str):
            raise ConfigurationError(f"the Redis address is {self.redis_url!r}, but must be text: redis://host:6379/0")
        check_name("namespace", self.namespace)
        if self.strategy is not None:
            check_name("strategy", self.strategy)
        if isinstance(self.max_payload, bool) or not isinstance(self.max_payload, int):
            raise ConfigurationError(f"max_payload is {self.max_payload!r}, but must be a whole number of bytes")
        _at_least("max_payload", self.max_payload, 64)
        if self.max_payload > MOST_PAYLOAD:
            raise ConfigurationError(
                f"max_payload is {self.max_payload}, but must be at most {MOST_PAYLOAD} bytes: a larger task would "
                f"hold Redis up; store the data elsewhere and pass its id"
            )


def from_environment(
    redis_url: str | None = None,
    namespace: str | None = None,
    strategy: str | None = None,
    max_payload: int = 64 * 1024,
) -> Settings:
    """Settings with what is not given taken from DUEQ_REDIS_URL and DUEQ_NAMESPACE, else the defaults."""
    return Settings(
        redis_url or os.environ.get(REDIS_URL_VARIABLE) or None,
        namespace or os.environ.get(NAMESPACE_VARIABLE) or "default",
        strategy,
        max_payload,
    )


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How one supervisor runs its processes. Durations are seconds."""

    target: str
    """MODULE:APP, as for uvicorn."""
    workers: int = 4
    dispatchers: int = 1
    queues: tuple[str, ...] = ()
    """Queues to work on, in order of preference; empty: every queue that a task of the app names, in turns."""
    prefetch: int = 0
    """Most tasks that a worker has in hand; those not started yet carry no lease. 0: as many as it runs in 5 ms."""
    lease: float = 10.0
    """How long a started task stays its worker's without a sign of life."""
    batch: int = 100
    """Most tasks that one dispatch moves; more than 100 count as 100."""
    safety_net: float = 30.0
    """How often a sleeping process looks although nothing woke it."""
    audit_interval: float = 21_600.0
    """From one look for tasks that are in no place to the next; sooner after recoveries. 0: never."""
    hang_timeout: float = 30.0
    """How long a process's loop may stand still until it is taken for hung and replaced. 0: for ever; then a worker is
    not taken for hung either that gives no sign of life for half a lease while it runs a task."""
    max_tasks_per_worker: int = 0
    """A worker is replaced after so many tasks. 0: never."""
    max_memory_per_worker: float = 0.0
    """A worker whose resident memory is more MiB than this after a task is replaced. 0: never."""
    max_losses: int = 3
    """A task that was running in this many workers when they died becomes a dead letter."""
    drain_timeout: float = 30.0
    """How long running tasks may go on after SIGTERM."""
    max_restarts: int = 10
    """Most restarts per process of a role within ``restart_window``; beyond that the supervisor gives up."""
    restart_window: float = 60.0
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = 9464
    """None: no metrics page. 0: any free port."""
    state_file: str | None = None
    """Where to write, once all processes run, a JSON object with pid and metrics_url."""
    log_format: str = "text"
    supervisor: str = ""
    """The name of the supervisor's entry in the registry: it tells its children."""
    named: tuple[str, ...] = ()
    """The queues that metrics name in any case: it tells its children those, too."""

    @property
    def reply_timeout(self) -> float:
        """Seconds that a child waits for a reply of Redis: a Redis that hangs must not look like a hung loop."""
        return min(_REPLY_S, self.hang_timeout / 2) if self.hang_timeout else _REPLY_S

    def __post_init__(self) -> None:
        _at_least("workers", self.workers, 0)
        _at_least("dispatchers", self.dispatchers, 0)
        if self.workers + self.dispatchers == 0:
            raise ConfigurationError("nothing to run: give --workers or --dispatchers at least 1")
        for queue in self.queues:
            check_name("queue", queue)
        _at_least("prefetch", self.prefetch, 0)
        _at_least("lease", self.lease, 0.1)
        _at_least("batch", self.batch, 1)
        _at_least("safety_net", self.safety_net, 0.1)
        if self.audit_interval:
            _at_least("audit_interval", self.audit_interval, 1)
        if self.hang_timeout:
            _at_least("hang_timeout", self.hang_timeout, 1)
        _at_least("max_tasks_per_worker", self.max_tasks_per_worker, 0)
        _at_least("max_memory_per_worker", self.max_memory_per_worker, 0)
        _at_least("max_losses", self.max_losses, 1)
        _at_least("drain_timeout", self.drain_timeout, 0)
        _at_least("max_restarts", self.max_restarts, 0)
        _at_least("restart_window", self.restart_window, 1)
        if self.log_format not in ("text", "json"):
            raise ConfigurationError(f"log format {self.log_format!r} is not known: use text or json")
        if self.metrics_port is not None and not 0 <= self.metrics_port <= 65535:
            raise ConfigurationError(f"metrics port {self.metrics_port} is no port: use 0 (any free one) to 65535")


def _at_least(name: str, value: float, least: float) -> None:
    if value < least:
        raise ConfigurationError(f"{name} is {value}, but must be at least {least}")
