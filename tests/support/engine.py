"""A real ``dueq run`` under test: its own server, its ledger, its metrics page."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import psutil
from prometheus_client.parser import text_string_to_metric_families

from dueq.core.client.embedded import EmbeddedServer
from support.waiting import wait_until

APPS = Path(__file__).parent / "apps"


@dataclass
class Run:
    """The ledger's lines of one task: the start lines and the end lines, each split into its fields."""

    starts: list[list[str]] = field(default_factory=list)
    ends: list[list[str]] = field(default_factory=list)


class Engine:
    """Starts and kills supervisors over one private server, or over the one at ``url``."""

    def __init__(self, directory: Path, *, options: dict[str, str] | None = None, url: str = "") -> None:
        self.directory = directory
        self.server = EmbeddedServer(directory / "redis", options=options or {})
        self.url = url or self.server.start()
        self.ledger = directory / "ledger"
        self.log = directory / "log"
        self.processes: list[subprocess.Popen[bytes]] = []
        self._state_files: dict[int, Path] = {}

    def run(
        self,
        *flags: str,
        target: str = "sample:app",
        wait: bool = True,
        apps: Path = APPS,
        environment: Mapping[str, str] = MappingProxyType({}),
        program: Sequence[str] = ("-m", "dueq"),
        under: Sequence[str] = (),
        stderr: int | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start ``dueq run`` and, if ``wait``, return once all its processes are ready.

        ``apps`` is the directory of the target. ``program`` are Python's arguments in place of ``-m dueq``; ``under``
        is a command that starts Python. ``stderr`` is the descriptor for stderr in place of the log. Each run has a
        state directory of its own, as if it were alone on its host, unless ``environment`` names one.
        """
        number = len(self.processes)
        state = self.directory / f"state{number}.json"
        alone = {"DUEQ_STATE_DIR": str(self.directory / f"locks{number}")}
        environment = os.environ | {"DUEQ_REDIS_URL": self.url, "LEDGER": str(self.ledger)} | alone | dict(environment)
        command = [
            *under,
            sys.executable,
            *program,
            "run",
            target,
            "--metrics-port",
            "0",
            "--state-file",
            str(state),
            *flags,
        ]
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                command, cwd=apps, env=environment, stderr=log if stderr is None else stderr, stdout=log
            )
        self.processes.append(process)
        self._state_files[process.pid] = state
        if wait:
            wait_until(lambda: state.exists() or process.poll() is not None, 30, what="dueq run is ready")
            assert process.poll() is None, self.log.read_text()
        return process

    def is_ready(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether all processes of a run have become ready; for runs started without ``wait``."""
        return self._state_files[process.pid].exists()

    def state(self, process: subprocess.Popen[bytes]) -> dict[str, object]:
        """The supervisor's state file."""
        found: dict[str, object] = json.loads(self._state_files[process.pid].read_text())
        return found

    def metrics(self, process: subprocess.Popen[bytes]) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        """Every sample of the metrics page, by name and sorted labels without the namespace."""
        with urllib.request.urlopen(str(self.state(process)["metrics_url"]), timeout=10) as page:
            text = page.read().decode()
        samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
        return {
            (sample.name, tuple(sorted((k, v) for k, v in sample.labels.items() if k != "namespace"))): sample.value
            for sample in samples
        }

    def ask(self, process: subprocess.Popen[bytes], question: str) -> tuple[int, list[str]]:
        """The status and the reasons that /livez or /readyz returns."""
        url = str(self.state(process)["metrics_url"]).replace("/metrics", question)
        try:
            with urllib.request.urlopen(url, timeout=10) as page:
                return page.status, json.load(page)["reasons"]
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)["reasons"]

    def total(self, process: subprocess.Popen[bytes], metric: str, **labels: str) -> float:
        """The sum of the samples of ``metric`` that have these labels."""
        return sum(
            value
            for (name, found), value in self.metrics(process).items()
            if name == metric and labels.items() <= dict(found).items()
        )

    def runs(self) -> dict[str, Run]:
        """The ledger, by task id."""
        runs: dict[str, Run] = defaultdict(Run)
        for line in self.ledger.read_text().splitlines() if self.ledger.exists() else ():
            event, task_id, *rest = line.split()
            getattr(runs[task_id], f"{event}s").append(rest)
        return runs

    def ended(self) -> int:
        """How many tasks have ended at least once."""
        return sum(1 for run in self.runs().values() if run.ends)

    def children(self, process: subprocess.Popen[bytes], role: str = "") -> list[psutil.Process]:
        """The child processes of a supervisor, of one role or of all."""
        found = psutil.Process(process.pid).children()
        return [child for child in found if f"dueq: {role}" in _title(child)]

    def stop(self, process: subprocess.Popen[bytes]) -> int:
        """SIGTERM, and the exit status."""
        process.send_signal(signal.SIGTERM)
        return process.wait(30)

    def close(self) -> None:
        """End everything that this object started."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()
        self.server.stop()


def _title(process: psutil.Process) -> str:
    """The process title; empty if the process is gone, or dead and not waited for yet."""
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""
