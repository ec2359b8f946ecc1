"""Fixtures: one private server per test process, a namespace of its own for each test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from support.world import World

from dueq import strategies
from dueq.core.embedded import EmbeddedServer

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real server that only this process uses."""
    server = EmbeddedServer(tmp_path_factory.mktemp("redis"), options={"appendonly": "no"})
    yield server.start()
    server.stop()


@pytest.fixture(params=strategies.names())
def strategy_name(request: pytest.FixtureRequest) -> str:
    """The name of each strategy there is."""
    return str(request.param)


@pytest.fixture
def world(redis_url: str, strategy_name: str, request: pytest.FixtureRequest) -> Iterator[World]:
    """A fresh namespace, at the end of the test emptied through the public faces and checked for leaked keys.

    A test that breaks the namespace on purpose is marked ``leaves_keys``.
    """
    world = World(redis_url, f"test{next(_numbers)}", strategy_name)
    try:
        yield world
        if not request.node.get_closest_marker("leaves_keys"):
            world.finish()
    finally:
        world.close()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "leaves_keys: the test leaves keys behind on purpose")
    config.addinivalue_line("markers", "alone: measures, so it runs when no other test does")


_COUNTS: dict[str, int] = {}


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> Iterator[None]:
    # runs in the controller too, where xdist collects the reports of its workers
    for name, value in report.user_properties:
        if report.when == "call" and name == "crash points":
            _COUNTS[report.nodeid] = int(str(value))
    yield


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _COUNTS:
        terminalreporter.write_line(f"crash points: {sum(_COUNTS.values())} in {len(_COUNTS)} operations")
