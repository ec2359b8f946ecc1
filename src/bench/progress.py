"""Progress on stderr: bars on a terminal, a line for each suite elsewhere.

The bars are refreshed by hand, a few times a second at most: a drawing thread would take processor time from what is
measured.
"""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ..core.client.safe_text import harmless_lines

_EVERY_S = 0.25


class Bars:
    """What a person sees while the bench runs."""

    def __init__(self, plays: int, console: Console | None = None) -> None:
        """``plays``: how many suites are played, over all strategies."""
        self._console = console or Console(stderr=True, highlight=False)
        self._bars = Progress(
            TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            console=self._console, auto_refresh=False, transient=True, disable=not self._console.is_terminal,
        )  # fmt: skip
        self._all = self._bars.add_task("suites", total=plays)
        self._now = self._bars.add_task("", total=None, visible=False)
        self._what, self._began, self._drawn_at = "", 0.0, 0.0

    def __enter__(self) -> Bars:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def say(self, text: str) -> None:
        """A line of its own, above the bars."""
        self._console.print(harmless_lines(text), markup=False, soft_wrap=True)

    def begin(self, what: str) -> None:
        """A suite begins."""
        self._what, self._began = what, time.monotonic()
        self._bars.update(self._now, description=what, completed=0, total=None, visible=True)
        self._bars.refresh()

    def moved(self, what: str, done: int, total: int) -> None:
        """The suite has done ``done`` of the ``total`` of its current step ``what``."""
        if time.monotonic() - self._drawn_at >= _EVERY_S:
            self._drawn_at = time.monotonic()
            self._bars.update(self._now, description=f"{self._what}: {what}", completed=done, total=total)
            self._bars.refresh()

    def done(self) -> None:
        """The suite is over."""
        self._bars.update(self._all, advance=1)
        self._bars.update(self._now, visible=False)
        self._bars.refresh()
        if not self._console.is_terminal:
            self.say(f"{self._what}: {time.monotonic() - self._began:.0f} s")
