"""How dueq's log and the application's live in one process.

``logging.config`` switches off every logger that a configuration does not name, and tasks may call it at any time:
dueq's loggers stay on. What the application logs, from INFO up, is shown like dueq's own lines as long as the
application has no handler for it.
"""

from __future__ import annotations

import logging


class _DueqLogger(logging.Logger):
    """Cannot be disabled as a side effect. Its level and handlers can be configured by its name, as any logger's."""

    spare: logging.Handler = logging.NullHandler()

    @property
    def disabled(self) -> bool:
        return False

    @disabled.setter
    def disabled(self, value: bool) -> None:
        """See the module."""

    def callHandlers(self, record: logging.LogRecord) -> None:
        if self.hasHandlers():
            super().callHandlers(record)
        else:  # only its level was configured, and that takes the handlers away
            self.spare.handle(record)


class _Unclaimed(logging.Filter):
    """Passes records that no other handler gets."""

    def __init__(self, ours: logging.Handler) -> None:
        super().__init__()
        self._ours = ours

    def filter(self, record: logging.LogRecord) -> bool:
        found = logging.root.manager.loggerDict.get(record.name)
        logger: logging.Logger | None = found if isinstance(found, logging.Logger) else logging.root
        while logger is not None:
            if any(each is not self._ours and not isinstance(each, logging.NullHandler) for each in logger.handlers):
                return False
            logger = logger.parent
        return True


def keep_enabled(handler: logging.Handler) -> None:
    """Keep the loggers of dueq that exist from being disabled; ``handler`` writes what no other handler takes."""
    _DueqLogger.spare = handler
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if type(logger) is logging.Logger and (name == "dueq" or name.startswith("dueq.")):
            logger.__class__ = _DueqLogger


def spare() -> logging.Handler:
    """What was given to ``keep_enabled`` last."""
    return _DueqLogger.spare


def show(handler: logging.Handler) -> None:
    """Write the application's lines, and Python's warnings, with ``handler``, unless it has configured logging."""
    root = logging.getLogger()
    if root.handlers:
        return
    handler.addFilter(_Unclaimed(handler))
    root.addHandler(handler)
    logging.captureWarnings(True)
    if root.level == logging.WARNING:  # Python's default
        root.setLevel(logging.INFO)
