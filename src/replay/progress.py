"""Progress on stderr: bars on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from ..core.client.safe_text import harmless_lines
from ..harness.account import Account
from ..harness.stats import summary_ms

_LINE_S = 10.0


class Display:
    """What a person sees while a replay runs."""

    def __init__(self, jobs: int, console: Console | None = None) -> None:
        self._jobs = jobs
        self._console = console or Console(stderr=True, highlight=False)
        self._said_at = time.monotonic()
        self._bars = Progress(
            TextColumn("{task.description:<9}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            console=self._console, auto_refresh=False,
        )  # fmt: skip
        self._facts = Text()
        self._tasks: dict[str, TaskID] = {}
        # refreshed by hand: a drawing thread would take processor time from what is measured
        shown = Group(self._bars, self._facts)
        self._live = Live(shown, console=self._console, auto_refresh=False) if self._console.is_terminal else None

    def __enter__(self) -> Display:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, text: str) -> None:
        """A line of its own, above the bars."""
        self._console.print(harmless_lines(text), markup=False, soft_wrap=True)

    def scheduled(self, count: int) -> None:
        """``count`` jobs are scheduled by now."""
        if self._live is not None:
            self._bar("scheduled", count)
            self._live.refresh()
        elif count == self._jobs:
            self.say(f"scheduled {count}")

    def running(self, account: Account, now_us: int) -> None:
        """The replay as the ledger has it; ``now_us`` is Redis's clock."""
        late = summary_ms(account.lateness_us())
        facts = f"overdue now {account.overdue(now_us)}, late p50 {_ms(late['p50'])} p99 {_ms(late['p99'])} ms"
        if self._live is not None:
            self._bar("started", account.started)
            self._bar("finished", account.finished)
            self._facts.plain = facts
            self._live.refresh()
        elif time.monotonic() - self._said_at >= _LINE_S:
            self._said_at = time.monotonic()
            self.say(f"started {account.started}, finished {account.finished} of {self._jobs}, {facts}")

    def _bar(self, name: str, count: int) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=self._jobs)
        self._bars.update(self._tasks[name], completed=count)


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
