"""Log lines: text for people or JSON for machines, one line each, on stderr."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from .connection import redact


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": redact(record.getMessage()),
        }
        if record.exc_info:
            line["error"] = redact(self.formatException(record.exc_info))
        return json.dumps(line)


def set_up(log_format: str) -> None:
    """Send dueq's log, from INFO up, to stderr as ``text`` or ``json``; the application's loggers are left alone."""
    handler = logging.StreamHandler(sys.stderr)
    text = _Text("%(asctime)s %(levelname)-7s [%(process)d] %(name)s: %(message)s")
    handler.setFormatter(_Json() if log_format == "json" else text)
    logger = logging.getLogger("dueq")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
