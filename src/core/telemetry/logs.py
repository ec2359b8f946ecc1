"""Log lines: text for people or JSON for machines, each record one line, on stderr.

A line that is about a task carries its id and token: from ``extra=about(claim)``, or from the task that is running.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

from ..app.context import running
from ..client.safe_text import bounded, harmless, traceback_of
from ..schema.record import Record
from . import app_logs
from .log_output import say_as, stderr

_FIELDS = ("task_id", "token", "queue")


def about(claim: Record) -> dict[str, object]:
    """For ``extra=`` of a log call: which task, under which claim, the line is about."""
    return {"task_id": claim.id, "token": claim.token, "queue": claim.queue}


_process: dict[str, str] = {}
"""What every line of this process carries."""


class _Facts(logging.Filter):
    """Gives each record its facts: those of the process, and those of the task."""

    def filter(self, record: logging.LogRecord) -> bool:
        context = running.get(None)
        here: dict[str, object] = {}
        if context is not None:
            here = {"task_id": context.id, "token": context.token, "queue": context.queue}
        own = {name: getattr(record, name) for name in _FIELDS if hasattr(record, name)}
        record.facts = {**(own or here), **_process}
        return True


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        head = f"{self.formatTime(record)} {record.levelname:<7} [{record.process}] {record.name}: "
        # a traceback, too, so that a search for a task's id, or a count of lines, gets all of it
        lines = f"{head}{bounded(record.getMessage())}\n{_error(record)}".splitlines()
        line = " | ".join(harmless(words) for each in lines if (words := each.strip(" ^~")))
        facts = " ".join(f"{name}={harmless(str(value))}" for name, value in getattr(record, "facts", {}).items())
        return f"{line} [{facts}]" if facts else line


def _error(record: logging.LogRecord) -> str:
    error = record.exc_info
    return traceback_of(error) if error and error[0] is not None else ""


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": bounded(record.getMessage()),
            **getattr(record, "facts", {}),
        }
        if error := _error(record):
            line["error"] = error
        return json.dumps(line)


class _Handler(logging.Handler):
    """Writes to stderr without waiting. It stays open: ``logging.config`` closes every handler that there is."""

    def __init__(self, formatter: logging.Formatter | None) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.addFilter(_Facts())
        self.output = stderr(self._notice)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001  # arguments that do not fit, a broken __str__: the caller goes on
            why = type(error).__name__
            line = self._about(
                logging.WARNING, "a log line of %s:%d cannot be shown: %s", record.pathname, record.lineno, why
            )
        self.output.write(line)

    def _notice(self, lost: int) -> str:
        return self._about(logging.WARNING, "%d log lines were dropped here, since nobody read them in time", lost)

    def last_words(self, text: str) -> str:
        """The line of a program that ends with ``text``."""
        return self._about(logging.CRITICAL, "%s", text)

    def _about(self, level: int, message: str, *arguments: object) -> str:
        made = logging.LogRecord("dueq.logs", level, __file__, 0, message, arguments, None)
        self.filter(made)
        return self.format(made)


def set_up(log_format: str, **process: str) -> None:
    """Send dueq's log, from INFO up, to stderr as ``text`` or ``json``; the application's loggers are left alone.

    ``process`` is what every line of this process carries, such as its role and strategy.
    """
    _process.clear()
    describe(**process)
    handler = _Handler(_Json() if log_format == "json" else _Text())
    say_as(handler.last_words if log_format == "json" else None)
    logger = logging.getLogger("dueq")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    app_logs.keep_enabled(handler)


def describe(**process: str) -> None:
    """Add to what every line of this process carries."""
    _process.update({name: value for name, value in process.items() if value})


def share_with_app() -> None:
    """Show the application's lines like dueq's own, unless it has configured logging. Call it when that is loaded."""
    ours = app_logs.spare()
    app_logs.keep_enabled(ours)  # some loggers may be new
    app_logs.show(_Handler(ours.formatter))
