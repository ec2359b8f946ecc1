"""The supervisor's metrics page, summed up for the report."""

from __future__ import annotations

import urllib.request
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException

from prometheus_client.parser import text_string_to_metric_families

_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Page:
    """The sums of a metrics page over the labels that are not named here."""

    duplicates: Counter[str] = field(default_factory=Counter)
    """Duplicates by cause, also the causes whose count is 0."""
    restarts: int = 0
    early: int = 0
    commands: Counter[str] = field(default_factory=Counter)
    """Commands sent to Redis, by role of the process."""
    samples: tuple[tuple[str, Mapping[str, str], float], ...] = ()
    """Every sample, with its labels."""

    def total(self, metric: str, **labels: str) -> float:
        """The sum of the samples of ``metric`` that have these labels."""
        return sum(value for name, has, value in self.samples if name == metric and labels.items() <= has.items())

    @property
    def explained_starts(self) -> int:
        """The starts beyond a task's first that dueq counted. The other causes are not starts: a task dispatched twice
        is dropped before it runs, and a stale ack is the end of a start that is counted already."""
        return self.duplicates["worker_lost"] + self.duplicates["lease_expired"]


def scrape(url: str) -> Page | None:
    """The page at ``url``; None if there is no valid reply within 5 seconds."""
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response:
            return read_page(response.read().decode())
    except (OSError, HTTPException, ValueError):
        return None


def read_page(text: str) -> Page:
    """The sums of a page's ``text``. Raises ValueError if it is not in Prometheus's format."""
    duplicates, commands = Counter[str](), Counter[str]()
    restarts = early = 0
    samples = []
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples.append((sample.name, sample.labels, float(sample.value)))
            value = int(sample.value) if sample.name.endswith("_total") else 0
            if sample.name == "dueq_duplicates_total":
                duplicates[sample.labels["cause"]] += value
            elif sample.name == "dueq_redis_commands_total":
                commands[sample.labels["role"]] += value
            elif sample.name == "dueq_process_restarts_total":
                restarts += value
            elif sample.name == "dueq_early_starts_total":
                early += value
    return Page(duplicates, restarts, early, commands, tuple(samples))
