"""The file in which a supervisor says who it is, once it is ready, for as long as it runs."""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError

log = logging.getLogger("dueq.supervisor")


class StateFile:
    """The file is moved into place, so that a reader never finds half of it."""

    def __init__(self, path: str) -> None:
        """Check that it can be written, so that the engine does not start in vain. Raises ConfigurationError."""
        self._path, self._part = Path(path), Path(f"{path}.part")
        try:
            if self._path.is_dir():
                raise IsADirectoryError("it is a directory")
            self._part.write_text("{}", encoding="utf-8")
            self._part.unlink()
        except OSError as error:
            raise ConfigurationError(
                f"the state file {path} cannot be written ({_why(error)}): its directory must exist and be writable, "
                f"its disk must have room, and it must not be a directory itself"
            ) from error

    def write(self, state: dict[str, Any]) -> None:
        """Write ``state`` and the pid of this process. An error is only logged: tasks go on."""
        try:
            self._part.write_text(json.dumps({"pid": os.getpid(), **state}), encoding="utf-8")
            self._part.replace(self._path)
        except OSError as error:
            log.error("the state file %s was not written: %s", self._path, _why(error))
            with suppress(OSError):
                self._part.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove it, if it is still ours: it may be another supervisor's by now, or another file."""
        try:
            if self._path.exists() and self._is_ours():
                self._path.unlink()
        except OSError as error:
            log.warning("the state file %s was left behind: %s", self._path, _why(error))

    def _is_ours(self) -> bool:
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
        except ValueError:
            found = None
        if not isinstance(found, dict):
            log.warning("the state file %s is not as dueq writes it: left as it is", self._path)
            return False
        return found.get("pid") == os.getpid()


def _why(error: OSError) -> str:
    return error.strerror or str(error)
