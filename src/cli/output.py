"""How the command line talks: answers on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import typer
from rich.console import Console, ConsoleDimensions
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ..core.client.safe_text import harmless, harmless_lines
from ..core.telemetry import log_output

_FOLDED_WIDTH = 8  # the least width of a folded column
_PIPED_WIDTH = 250  # by default rich folds every table in a pipe at 80 columns


def console() -> Console:
    """Where tables go."""
    return Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH, highlight=False)


def draw(made: Table) -> None:
    """Print a ``table``. It may be wider than the terminal, if its one-line columns are, so that nothing is cut off."""
    target = console()
    target.size = ConsoleDimensions(max(target.width, made.min_width or 0), target.height)
    target.print(made)


def say(text: str = "") -> None:
    """Print one line of the answer."""
    typer.echo(harmless(text))


def note(text: str) -> None:
    """Tell the person something that is not part of the answer."""
    typer.echo(harmless_lines(text), err=True)


def complain(text: str) -> None:
    """Print an error on stderr if it can be written. An engine whose stderr nobody reads must still be able to end."""
    line = harmless_lines(f"dueq: {text}")
    with suppress(OSError):
        # a running engine writes it as it writes the lines of its log
        if sys.stderr is not sys.__stderr__ or not log_output.say(text, line):
            typer.echo(line, err=True)


def say_json(value: Any) -> None:
    """Print one JSON value as one line."""
    unicode = sys.stdout is not None and (sys.stdout.encoding or "").lower().startswith("utf")
    text = json.dumps(value, ensure_ascii=not unicode)
    typer.echo(text.encode(errors="backslashreplace").decode())


def progress() -> Progress:
    """A progress bar on stderr; nothing at all if that is no terminal."""
    target = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), MofNCompleteColumn())
    return Progress(*columns, TimeRemainingColumn(), console=target, transient=True, disable=not target.is_terminal)


def table(
    title: str | None,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    numbers: str = "",
    whole: Sequence[str] = (),
) -> Table:
    """A table; the columns named in ``numbers`` (space-separated) are aligned right. Cells are taken literally.

    The columns in ``numbers`` and in ``whole`` (ids, times) stay on one line, so that they can be copied and read at a
    glance. The others are folded to the width of the terminal.
    """
    made = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    right = numbers.split()
    made.min_width = 2 * len(columns)
    for at, name in enumerate(columns):
        one_line, widest = name in right or name in whole, max((len(str(row[at])) for row in rows), default=0)
        made.min_width += max(widest, len(name)) if one_line else min(widest, _FOLDED_WIDTH)
        made.add_column(name, justify="right" if name in right else "left", overflow="fold", no_wrap=one_line)
    for row in rows:
        made.add_row(*(words(cell.plain, str(cell.style)) if isinstance(cell, Text) else words(cell) for cell in row))
    return made


def words(text: object, style: str = "") -> Text:
    """``text`` for tables and other drawings, taken literally."""
    return Text(harmless(str(text)), style=style)
