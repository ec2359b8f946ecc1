"""One ``dueq run``, as if on a host of its own."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

from ..core.config import Settings
from .metrics_page import Page, scrape
from .supervised import NOTHING, SupervisedRun

TARGET = "dueq.chaos.tasks:app"


class Host(SupervisedRun):
    """A supervisor and its processes, some of which will be killed."""

    def __init__(
        self,
        settings: Settings,
        directory: Path,
        name: str,
        *flags: str | int | float,
        target: str = TARGET,
        environment: dict[str, str] | None = None,
    ) -> None:
        super().__init__(
            settings,
            directory,
            *("--metrics-port", 0, *flags),
            target=target,
            name=name,
            environment=environment or NOTHING,
        )
        self.name = name
        self.page = Page()
        """The metrics page, as last read."""
        self.gone = False
        """Whether it was killed on purpose, so that its exit status says nothing."""
        self.exit_status: int | None = None
        """Its exit status, once it was stopped."""
        self.seen: dict[int, psutil.Process] = {}
        """Every process of this host that was ever seen, by pid."""

    def children(self, role: str = "") -> list[psutil.Process]:
        """Its child processes, of one role or of all."""
        found = []
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.pid).children(recursive=not role):
                with contextlib.suppress(psutil.NoSuchProcess):
                    self.seen[child.pid] = child
                    if not role or f"dueq: {role} " in " ".join(child.cmdline()):
                        found.append(child)
        return found

    def read_page(self) -> None:
        """Scrape the metrics page; if it cannot be read now, the last one stays."""
        if self.metrics_url and self.alive():
            self.page = scrape(self.metrics_url) or self.page

    def kill_supervisor(self) -> list[psutil.Process]:
        """SIGKILL to the supervisor; returns the children that it leaves behind, which should end by themselves."""
        children = self.children()
        self.gone = True
        self.kill()
        return children

    def vanish(self) -> None:
        """SIGKILL to all its processes at once, as when a host loses its power."""
        self.gone = True
        try:
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(self.pid).suspend()  # so that it starts nothing while its children are listed and killed
            for victim in self.children():
                with contextlib.suppress(psutil.NoSuchProcess):
                    victim.send_signal(signal.SIGKILL)
        finally:
            self.kill()  # or it would stay stopped for ever

    def leftovers(self) -> list[psutil.Process]:
        """Its processes that are still there although it has ended."""
        return alive(self.seen.values())


def alive(processes: Iterable[psutil.Process], within: float = 2.0) -> list[psutil.Process]:
    """The processes that are still alive after ``within`` seconds; a zombie is not."""
    left = list(processes)
    deadline = time.monotonic() + within
    while (left := [each for each in left if _lives(each)]) and time.monotonic() < deadline:
        time.sleep(0.01)
    return left


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
