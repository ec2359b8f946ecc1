"""A real Prometheus for a test, started with the committed configuration, and queried through its HTTP API."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from support.waiting import wait_until

from dueq.core.process.lifetime import stop_with_parent

from .committed import HOME
from .promql import selectors

PROGRAM = shutil.which("prometheus")
Labels = frozenset[tuple[str, str]]


class Refused(Exception):
    """Prometheus did not answer a query; says why."""


@dataclass(frozen=True, slots=True)
class Window:
    """The time to look at: epoch seconds. ``step`` is how PromQL spells the window of a point in a graph."""

    start: float
    end: float
    step: str = "5s"

    @property
    def seconds(self) -> int:
        return math.floor(self.end - self.start)

    @property
    def whole(self) -> str:
        """How PromQL spells all of it."""
        return f"{self.seconds}s"


class Prometheus:
    """The server's process. Close it, whichever way the test ends."""

    def __init__(self, directory: Path, targets: Sequence[str]) -> None:
        """Scrape ``targets`` (host:port) each second, with the committed rules."""
        assert PROGRAM is not None
        self._log = directory / "prometheus.log"
        config = yaml.safe_load((HOME / "prometheus" / "prometheus.yml").read_text())
        config["global"] |= {"scrape_interval": "500ms", "evaluation_interval": "1s"}
        config["rule_files"] = [str(HOME / "prometheus" / pattern) for pattern in config["rule_files"]]
        config["scrape_configs"][0] |= {"scrape_timeout": "500ms", "static_configs": [{"targets": list(targets)}]}
        (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    PROGRAM,
                    f"--config.file={directory / 'prometheus.yml'}",
                    f"--storage.tsdb.path={directory / 'data'}",
                    "--web.listen-address=127.0.0.1:0",
                ],
                stdout=log,
                stderr=log,
                preexec_fn=stop_with_parent,
            )
        try:
            wait_until(self._ready, 20, what="Prometheus is ready")
        except BaseException:
            self.close()
            raise

    def _ready(self) -> bool:
        text = self._log.read_text()
        assert self._process.poll() is None, text
        found = re.search(r'msg="Listening on" address=(\S+)', text)
        self._url = f"http://{found[1]}/api/v1/" if found else ""
        return bool(found) and "ready to receive web requests" in text

    def close(self) -> None:
        """End it."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def get(self, path: str, **parameters: str | float) -> Any:
        """The data that the API answers. Raises Refused if it does not."""
        body = urllib.parse.urlencode(parameters).encode()
        request = urllib.request.Request(self._url + path, body if path.startswith("query") else None)
        if not path.startswith("query"):
            request.full_url += f"?{body.decode()}"
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise Refused(json.load(error)["error"]) from error

    def now(self, expr: str, at: float) -> dict[Labels, float]:
        """The value of each series at the moment ``at``, by its labels."""
        found = self.get("query", query=expr, time=at)
        assert found["resultType"] == "vector", f"{expr} is no vector"
        return {_labels(series): float(series["value"][1]) for series in found["result"]}

    def over(self, expr: str, window: Window) -> dict[Labels, list[float]]:
        """The values of each series, one for each second of the window in which it has one."""
        found = self.get("query_range", query=expr, start=window.start, end=window.end, step=1)
        return {_labels(series): [float(value) for _, value in series["values"]] for series in found["result"]}

    def last_scrape(self, targets: int) -> float:
        """When the target that was scraped longest ago was; 0 until there are so many ``targets``, all up."""
        found = self.now('timestamp(up{job="dueq"}) and up == 1', time.time())
        return min(found.values()) if len(found) == targets else 0.0


def troubles(prometheus: Prometheus, expr: str, window: Window, *, instant: bool = False) -> list[str]:
    """What is wrong with a query: that it cannot be asked, asks for what nobody exposes, or gives no finite numbers."""
    try:
        found = []
        for selector in selectors(expr):
            text = selector.prettify()
            if not prometheus.now(f"last_over_time({text}[{window.whole}])", window.end):
                found.append(f"there is no series {text}")
        if instant:
            values = [[value] for value in prometheus.now(expr, window.end).values()]
        else:
            values = list(prometheus.over(expr, window).values())
    except (Refused, ValueError) as error:
        return [f"it cannot be asked: {error}"]
    if not values:
        found.append("it gives nothing")
    if not all(math.isfinite(value) for series in values for value in series):
        found.append("it gives numbers that are not finite")
    return found


def _labels(series: Any) -> Labels:
    return frozenset((name, value) for name, value in series["metric"].items() if name != "__name__")
