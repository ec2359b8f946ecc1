"""An application that logs in common ways; the variable ``CONFIGURES`` says how it configures logging, if at all."""

from __future__ import annotations

import logging
import logging.config
import os
import threading
import warnings

from dueq import Dueq

app = Dueq()
log = logging.getLogger("shop")


def configure(how: str) -> None:
    """Configure logging as an application does."""
    if how == "basic":
        logging.basicConfig(format="MINE %(message)s", level=logging.INFO)
    elif how == "dict":  # existing loggers are disabled, as they are by default
        handlers = {"mine": {"class": "logging.StreamHandler", "formatter": "mine"}}
        logging.config.dictConfig(
            {
                "version": 1,
                "formatters": {"mine": {"format": "MINE %(message)s"}},
                "handlers": handlers,
                "root": {"handlers": ["mine"], "level": "INFO"},
                "loggers": {"shop": {"level": "INFO"}},
            }
        )
    elif how == "file":
        logging.config.fileConfig(os.environ["LOGGING_FILE"])
    elif how == "level":
        logging.config.dictConfig({"version": 1, "loggers": {"dueq": {"level": "WARNING"}, "shop": {}}})
    elif how == "own":  # and root left alone
        log.addHandler(logging.StreamHandler())
        log.handlers[0].setFormatter(logging.Formatter("MINE %(message)s"))


configure(os.environ.get("CONFIGURES", ""))


@app.task()
def says(text: str, times: int = 1) -> None:
    """Log it."""
    for _ in range(times):
        log.info("%s", text)


@app.task()
def says_to_root(text: str) -> None:
    """Log it through the root logger, as short examples do."""
    logging.info("%s", text)


@app.task()
def configures(how: str) -> None:
    """Configure logging in a task, as some libraries do at their first use."""
    configure(how)


@app.task(retries=0)
def fails(text: str) -> None:
    """Raise it."""
    raise RuntimeError(text)


@app.task()
def loses_a_thread(text: str) -> None:
    """Raise it in a thread, where no code catches it, and in ``__del__``, where no code can."""

    def end() -> None:
        raise RuntimeError(text)

    class Broken:
        def __del__(self) -> None:
            raise RuntimeError(f"{text} unraisable")

    thread = threading.Thread(target=end)
    thread.start()
    thread.join()
    Broken()


@app.task()
def breaks_its_worker(text: str) -> None:
    """Make the worker fail outside of the task."""
    from dueq.core.worker.worker import Worker

    def broken(self: Worker) -> None:
        raise RuntimeError(text)

    Worker.run_once = broken  # type: ignore[method-assign]
    warnings.warn("to be seen by nobody", stacklevel=1)
