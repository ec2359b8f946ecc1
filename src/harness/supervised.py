"""A real ``dueq run``, as a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from ..core.config import NAMESPACE_VARIABLE, REDIS_URL_VARIABLE, STATE_DIR_VARIABLE, Settings
from ..core.errors import BootFailure
from ..core.process.lifetime import stop_with_parent
from .ledger import DIRECTORY_VARIABLE

TARGET = "dueq.harness.job_app:app"
_BOOT_S = 60.0
_DRAIN_S = 15.0  # for running jobs to finish after SIGTERM; then a second SIGTERM, which does not wait for them
_HURRY_S = 10.0
_POLL_S = 0.01
_LOG_LINES = 15
NOTHING: Mapping[str, str] = MappingProxyType({})


class SupervisedRun:
    """The supervisor's process: started by the constructor, ended by ``stop``."""

    def __init__(
        self,
        settings: Settings,
        directory: Path,
        *flags: str | int | float,
        target: str = TARGET,
        name: str = "supervisor",
        environment: Mapping[str, str] = NOTHING,
    ) -> None:
        """State file, log and ledger go into ``directory``; runs that share it need different names. ``flags`` are for
        ``dueq run``; ``environment`` is added to the variables of this process."""
        self._state_file, self._log_file = directory / f"{name}.json", directory / f"{name}.log"
        self.metrics_url = ""
        # the address is no argument: it may hold a password, and other users can see arguments
        variables = {
            REDIS_URL_VARIABLE: settings.redis_url or "",
            NAMESPACE_VARIABLE: settings.namespace,
            DIRECTORY_VARIABLE: str(directory),
            STATE_DIR_VARIABLE: str(directory / f"{name}.locks"),  # as if it were alone on its host
        }
        arguments = [str(word) for word in ("--state-file", self._state_file, *flags)]
        with self._log_file.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "dueq", "run", target, *arguments],
                env={**os.environ, **variables, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=stop_with_parent,
                start_new_session=True,  # Ctrl+C reaches the parent alone, which then stops this process in order
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_ready(self) -> None:
        """Return once every process runs. Raises BootFailure, with the end of the log, if that takes over a minute."""
        deadline = time.monotonic() + _BOOT_S
        while not self._state_file.exists():  # it is moved into place, so it is complete once it exists
            if not self.alive():
                raise BootFailure(
                    f"dueq run ended with status {self._process.returncode}; its log ends:\n{self.log_end()}"
                )
            if time.monotonic() >= deadline:
                raise BootFailure(f"dueq run was not ready after {_BOOT_S:.0f} s; its log ends:\n{self.log_end()}")
            time.sleep(_POLL_S)
        self.metrics_url = json.loads(self._state_file.read_text(encoding="utf-8"))["metrics_url"]

    def kill(self) -> None:
        """SIGKILL to the supervisor alone; returns once it is gone."""
        self._process.kill()
        self._process.wait()

    def alive(self) -> bool:
        """False once the supervisor has ended."""
        return self._process.poll() is None

    def stop(self) -> int:
        """End it: SIGTERM, after 15 s another, after 10 s more SIGKILL. Returns its exit status, negative for a signal.

        Its children end with it in any case.
        """
        for number, patience_s in ((signal.SIGTERM, _DRAIN_S), (signal.SIGTERM, _HURRY_S), (signal.SIGKILL, None)):
            if self.alive():
                self._process.send_signal(number)
            try:
                return self._process.wait(patience_s)
            except subprocess.TimeoutExpired:
                continue
            except BaseException:
                self._process.kill()  # Ctrl+C while it drains: kill it now
                raise
        raise AssertionError("a process outlived SIGKILL")

    def log_end(self) -> str:
        """The last lines of its log."""
        lines = self._log_file.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]
        return "\n".join(lines) or "(nothing)"
