"""The settings: frozen values, checked once at the edge and passed down. Nothing inside reads the environment."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from .errors import ConfigurationError

REDIS_URL_VARIABLE = "DUEQ_REDIS_URL"
STATE_DIR_VARIABLE = "DUEQ_STATE_DIR"
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
    """None: the one that owns the namespace, or the default for a new namespace."""
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
    """Settings; values not given come from DUEQ_REDIS_URL and DUEQ_NAMESPACE, else they are the defaults."""
    return Settings(
        redis_url or os.environ.get(REDIS_URL_VARIABLE) or None,
        namespace or os.environ.get(NAMESPACE_VARIABLE) or "default",
        strategy,
        max_payload,
    )


class Flag(NamedTuple):
    """How ``dueq run`` offers one of the options below on its command line, and which values the option may have."""

    help: str
    group: str
    metavar: str | None = None
    least: float | None = None
    """The lowest value of the option; 0 is allowed, too, where it turns something ``off``."""
    off: bool = False
    variable: str | None = None
    """The environment variable that sets the option if the command line does not."""
    checked: bool = False
    """The command line checks ``least`` itself, and says so in its help."""
    shows_default: bool = True


_PROCESSES, _TASKS, _RESTARTS, _SEEN = "Processes", "Tasks", "Stopping and restarting", "Monitoring"


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How one supervisor runs its processes; the flags of ``dueq run`` are made from it. Durations are seconds."""

    target: str
    """MODULE:APP, as for uvicorn."""
    workers: Annotated[
        int, Flag("Processes that run tasks, one at a time each.", _PROCESSES, least=0, checked=True)
    ] = 4
    dispatchers: Annotated[int, Flag("Processes that wait for due times.", _PROCESSES, least=0, checked=True)] = 1
    queues: Annotated[
        tuple[str, ...],
        Flag(
            "Queues to work on, the preferred first; by default every queue that a task of the app names.",
            _TASKS,
            metavar="A,B",
            shows_default=False,
        ),
    ] = ()
    """Empty: every queue that a task of the app names, in turns."""
    prefetch: Annotated[
        int,
        Flag(
            "Most tasks that a worker has in hand; 0: as many as it runs in 5 ms, and none behind a task that is not "
            "known to be short.",
            _TASKS,
            least=0,
        ),
    ] = 0
    lease: Annotated[
        float,
        Flag(
            "How long a worker keeps a started task without a sign of life; healthy workers extend the lease.",
            _TASKS,
            metavar="SECONDS",
            least=0.1,
        ),
    ] = 10.0
    batch: Annotated[int, Flag("Most tasks that one dispatch moves; more than 64 count as 64.", _TASKS, least=1)] = 64
    safety_net: Annotated[
        float,
        Flag(
            "How often a process looks for work although nothing woke it; of workers that sleep, one looks for all.",
            _TASKS,
            metavar="SECONDS",
            least=0.1,
        ),
    ] = 30.0
    audit_interval: Annotated[
        float,
        Flag(
            "How often the auditor checks that every task is in its place; sooner after recoveries. 0: never.",
            _TASKS,
            metavar="SECONDS",
            least=1,
            off=True,
        ),
    ] = 21_600.0
    hang_timeout: Annotated[
        float,
        Flag(
            "How long a process may stand still before it is killed and replaced (a worker that runs a task: half "
            "a lease without a sign of life); 0: for ever. The time limit of a task is set at the task.",
            _RESTARTS,
            metavar="SECONDS",
            least=1,
            off=True,
        ),
    ] = 30.0
    max_tasks_per_worker: Annotated[
        int, Flag("Replace a worker after this many tasks; 0: never.", _RESTARTS, least=0, checked=True)
    ] = 0
    max_memory_per_worker: Annotated[
        float,
        Flag(
            "Replace a worker that has more resident memory after a task; 0: never.", _RESTARTS, metavar="MIB", least=0
        ),
    ] = 0.0
    max_losses: Annotated[
        int,
        Flag("A task becomes a dead letter once this many workers have died while they ran it.", _TASKS, least=1),
    ] = 3
    drain_timeout: Annotated[
        float, Flag("How long running tasks may go on after SIGTERM.", _RESTARTS, metavar="SECONDS", least=0)
    ] = 30.0
    max_restarts: Annotated[
        int,
        Flag(
            "Most restarts per process of a role within --restart-window; beyond that dueq gives up (exit 4).",
            _RESTARTS,
            least=0,
        ),
    ] = 10
    restart_window: Annotated[
        float, Flag("The time over which restarts are counted.", _RESTARTS, metavar="SECONDS", least=1)
    ] = 60.0
    state_dir: Annotated[
        str | None,
        Flag(
            "Where the supervisors of this host keep their locks. By these, a supervisor sees at once that another is "
            "gone with all its processes. By default dueq's folder in this user's state directory.",
            _RESTARTS,
            metavar="DIR",
            variable=STATE_DIR_VARIABLE,
            shows_default=False,
        ),
    ] = None
    metrics_host: Annotated[
        str, Flag("Address of the page with /metrics for Prometheus, /livez and /readyz.", _SEEN, metavar="HOST")
    ] = "127.0.0.1"
    metrics_port: Annotated[int | None, Flag("Port of that page; 0: any, -1: no page.", _SEEN, metavar="PORT")] = 9464
    """None: no metrics page."""
    state_file: Annotated[
        str | None,
        Flag(
            "Where to write pid and metrics_url as JSON, once all processes run.",
            _SEEN,
            metavar="FILE",
            shows_default=False,
        ),
    ] = None
    log_format: Annotated[Literal["text", "json"], Flag("Form of the log lines on stderr.", _SEEN)] = "text"
    supervisor: str = ""
    """The name of the supervisor's entry in the registry, for its children."""
    named: tuple[str, ...] = ()
    """The queues that metrics always name, instead of counting them as ``other``; for the children."""

    @property
    def reply_timeout(self) -> float:
        """Seconds that a child waits for a reply of Redis: a Redis that hangs must not look like a hung loop."""
        return min(_REPLY_S, self.hang_timeout / 2) if self.hang_timeout else _REPLY_S

    def __post_init__(self) -> None:
        for name, (_, flag) in run_flags().items():
            value = getattr(self, name)
            if flag.least is not None and not (flag.off and value == 0):
                _at_least(name, value, flag.least)
        if self.workers + self.dispatchers == 0:
            raise ConfigurationError("nothing to run: give --workers or --dispatchers at least 1")
        for queue in self.queues:
            check_name("queue", queue)
        if self.log_format not in get_args(run_flags()["log_format"][0]):
            raise ConfigurationError(f"log format {self.log_format!r} is not known: use text or json")
        if self.metrics_port is not None and not 0 <= self.metrics_port <= 65535:
            raise ConfigurationError(f"metrics port {self.metrics_port} is not a port: use 0 (any free one) to 65535")


@cache
def run_flags() -> dict[str, tuple[Any, Flag]]:
    """The options of ``RunOptions`` that are flags of ``dueq run``: the type of each, and the flag."""
    hints = get_type_hints(RunOptions, include_extras=True)
    return {name: get_args(hint) for name, hint in hints.items() if get_origin(hint) is Annotated}


def _at_least(name: str, value: float, least: float) -> None:
    if value < least:
        raise ConfigurationError(f"{name} is {value}, but must be at least {least}")
