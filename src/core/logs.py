"""Log lines: text for people or JSON for machines, each record one line, on stderr.

A line that is about a task carries its id and token: from ``extra=about(claim)``, or from the task that is running.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from .codec import Record
from .context import running
from .texts import bounded, harmless, traceback_of

_FIELDS = ("task_id", "token", "queue")


def about(claim: Record) -> dict[str, object]:
    """For ``extra=`` of a log call: which task, under which claim, the line is about."""
    return {"task_id": claim.id, "token": claim.token, "queue": claim.queue}


class _Facts(logging.Filter):
    """Gives each record what it is about: the same for all of a process, and the task."""

    def __init__(self, process: dict[str, str]) -> None:
        super().__init__()
        self._process = {name: value for name, value in process.items() if value}

    def filter(self, record: logging.LogRecord) -> bool:
        context = running.get(None)
        here: dict[str, object] = {}
        if context is not None:
            here = {"task_id": context.id, "token": context.token, "queue": context.queue}
        told = {name: getattr(record, name) for name in _FIELDS if hasattr(record, name)}
        record.facts = {**(told or here), **self._process}
        return True


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        head = f"{self.formatTime(record)} {record.levelname:<7} [{record.process}] {record.name}: "
        # a traceback, too: whoever greps for a task's id, or counts lines, gets all of it
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


def set_up(log_format: str, **process: str) -> None:
    """Send dueq's log, from INFO up, to stderr as ``text`` or ``json``; the application's loggers are left alone.

    ``process`` is what every line of this process carries, such as its role and strategy.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if log_format == "json" else _Text())
    handler.addFilter(_Facts(process))
    logger = logging.getLogger("dueq")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
