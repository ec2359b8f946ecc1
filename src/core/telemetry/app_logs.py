"""How dueq's log and the application's get along in one process.

``logging.config`` switches off every logger that a configuration does not name, and tasks may call it at any time:
dueq's loggers stay on. And what the application logs is shown like dueq's own lines, from INFO up, for as long as no
handler of the application's takes it.
"""

from __future__ import annotations

import logging


class _DueqLogger(logging.Logger):
    """Cannot be disabled by the way. Its level and handlers can be configured by its name, as any logger's."""

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
    """Passes what no other handler gets."""

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
    """Let nothing disable those of dueq's loggers that exist; ``handler`` writes what they would write nowhere."""
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
    if root.level == logging.WARNING:  # as Python has it, when nobody has said anything
        root.setLevel(logging.INFO)
