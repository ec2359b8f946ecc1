"""Plays suites one at a time, strategy by strategy, each suite on a place of its own."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence

from .. import strategies
from ..core.errors import BootFailure, ConfigurationError, StrategyUnavailable
from ..harness.sandbox import terminable
from .place import Place, place
from .progress import Bars
from .report import Report, Setting, make
from .sizes import Sizes
from .suites import SUITES, Suite
from .work import Found

ALL = "all"


def wanted_strategies(strategy: str) -> list[str]:
    """The strategies for ``strategy``: the one of that name, or all. Raises ConfigurationError if there is none."""
    return list(strategies.names()) if strategy == ALL else [strategies.find(strategy).name]


def wanted_suites(suite: str) -> list[Suite]:
    """The suites for ``suite``: those of the names between commas, each once, or all. Raises ConfigurationError."""
    names = list(SUITES) if suite == ALL else [name.strip() for name in suite.split(",")]
    if unknown := [name for name in names if name not in SUITES]:
        known = ", ".join(SUITES)
        raise ConfigurationError(f"there is no suite {unknown[0]!r}: there are {known}, and all")
    return [SUITES[name] for name in dict.fromkeys(names)]


def play_all(
    names: Sequence[str], suites: Sequence[Suite], sizes: Sizes, redis_url: str | None, bars: Bars
) -> Generator[Report, None, None]:
    """Play the suites under each strategy, and yield a report after each strategy. Close it, if it is not used to its
    end.

    All that was started is ended and removed, also after an error or a signal. A suite that the server cannot run, or
    that did not complete, is in the report with the reason. Raises ServerUnavailable, ServerRefused,
    EmbeddedServerError.
    """
    with terminable():
        for name in names:
            yield _played(name, suites, sizes, redis_url, bars)


def _played(name: str, suites: Sequence[Suite], sizes: Sizes, redis_url: str | None, bars: Bars) -> Report:
    began = time.monotonic()
    found: dict[str, Found] = {}
    skipped: dict[str, str] = {}
    failed: dict[str, str] = {}
    setting = Setting(name, sizes, redis_url)
    for suite in suites:
        bars.begin(f"{name} {suite.name}")
        try:
            with place(redis_url, name, sizes, bars.moved) as where:
                setting.server = _server(where)
                found[suite.name] = suite.play(where)
                found[suite.name].notes += [f"{suite.name}: {note}" for note in where.floors.notes]
        except StrategyUnavailable as error:
            skipped[suite.name] = str(error)
        except BootFailure as error:
            failed[suite.name] = str(error)
        bars.done()
    return make(setting, found, skipped, failed, time.monotonic() - began)


def _server(where: Place) -> str:
    info = where.info()
    name = "Valkey" if info.get("server_name") == "valkey" else "Redis"
    return f"{name} {info.get('valkey_version') or info.get('redis_version')}"
