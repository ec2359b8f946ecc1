"""Fixtures: one private server per test process, a namespace of its own for each test.

The server is of the version that dueq embeds. With ``--servers`` the conformance suite runs on others.
"""

from __future__ import annotations

import itertools
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.limited import denied, limited
from support.older import AGED, like_2_4
from support.servers import Load, Server, all_servers, running
from support.world import SCRIPTED, World

from dueq import strategies

_LONGEST = {"test_third_party"}  # goes first
# of the conformance suite, what takes long and does not depend on the server; of the second a fifth on the oldest, too
_FIRST_ONLY = {
    "test_rivals",
    "test_migration_cuts",
    "test_yields",
    "test_mistyped",
    "test_migration_under_load",
    "test_auditor_busy",
    "test_auditor_due",
}
_OLDEST_TOO = {"test_migration", "test_auditor", "test_crash_points", "test_model", "test_pages"}
# beside tests/supervisor: what waits for real processes more than it works
_PROCESSES = {
    *("test_scenarios", "test_judge", "test_chaos_cli", "test_replay", "test_old_replay", "test_proof"),
    *(
        "test_prometheus_proof",
        "test_ending",
        "test_own",
        "test_suites",
        "test_bench_cli",
        "test_wheel",
        "test_examples",
    ),
}
_SUITE = Path(__file__).parent / "conformance"
_numbers = itertools.count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--servers",
        default="",
        metavar="NAMES",
        help=f"run tests/conformance on these servers: 'all', or names such as redis-5.0.6,{AGED}",
    )
    parser.addoption(
        "--least-privilege",
        action="store_true",
        help="run tests/conformance as the user that dueq doctor --acl makes (needs --servers of Redis 6.2 or later)",
    )
    parser.addoption("--all-of-it", action="store_true", help="leave nothing out on any server; takes half an hour")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    wanted = str(metafunc.config.getoption("--servers"))
    if wanted and "server" in metafunc.fixturenames and _SUITE in Path(str(metafunc.definition.path)).parents:
        servers = _chosen(wanted)
        metafunc.parametrize("server", servers, ids=lambda server: server.name, indirect=True, scope="session")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what a server cannot carry, and, unless ``--all-of-it`` is given, what would take too long.

    That strategies which need scripts are refused by a server without is shown by tests/servers.
    """
    for item in items:
        if item.path.parent.name == "supervisor" or item.path.stem in _PROCESSES:
            item.add_marker("processes")
    whole = bool(config.getoption("--all-of-it"))
    turns: Counter[int] = Counter()
    left_out = [item for item in items if _is_unfit(item) or not (whole or _is_chosen(item, turns))]
    if left_out:
        gone = {id(item) for item in left_out}
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if id(item) not in gone]
    items.sort(key=lambda item: item.path.stem not in _LONGEST)  # last, it would keep a processor waiting


def _parameters(item: pytest.Item) -> dict[str, Any]:
    chosen = getattr(item, "callspec", None)
    return {} if chosen is None else dict(chosen.params)


def _is_unfit(item: pytest.Item) -> bool:
    parameters = _parameters(item)
    return getattr(parameters.get("server"), "name", "") == AGED and parameters.get("strategy_name") in SCRIPTED


def _is_chosen(item: pytest.Item, turns: Counter[int]) -> bool:
    """Everything on the first server; on the oldest that a strategy can have, everything but what takes long; in turn a
    fifth of that on each of the others, and of what takes long on the oldest."""
    server = _parameters(item).get("server")
    number = 0 if server is None else _number(server)
    if number == 0:
        return True
    module = item.path.stem
    if module in _FIRST_ONLY:
        return False
    scripted = _parameters(item).get("strategy_name") in SCRIPTED
    oldest = number == len(_here()) - scripted  # those that need no scripts go back to 2.4
    if oldest and module not in _OLDEST_TOO:
        return True
    turns[number] += 1
    return (oldest or module not in _OLDEST_TOO) and turns[number] % 5 == number % 5


def _number(server: Server) -> int:
    real = _here()
    return real.index(server) if server in real else len(real)


def _here() -> list[Server]:
    """The real servers that there are, the one that is embedded first. Those missing are told of by tests/servers."""
    return [server for server in all_servers() if isinstance(server, Server)]


def _chosen(wanted: str) -> list[Server]:
    """The servers that ``--servers`` names."""
    known = [*(server.name for server in all_servers()), AGED]
    names = known if wanted == "all" else wanted.split(",")
    if unknown := sorted(set(names) - set(known)):
        raise pytest.UsageError(f"--servers: there is no {', '.join(unknown)}, only {', '.join(known)}")
    aged = [like_2_4()] if AGED in names else []
    return [server for server in (*_here(), *aged) if server.name in names and isinstance(server, Server)]


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Server:
    """The server that tests run on, unless they start their own."""
    chosen: Server = getattr(request, "param", None) or _here()[0]
    return chosen


@pytest.fixture(scope="session")
def load(server: Server) -> Load:
    """How many of very many cases tests try: all on the embedded server."""
    return Load(_number(server))


@pytest.fixture(scope="session")
def redis_url(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real server that only this process uses."""
    with running(server, tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(params=strategies.names())
def strategy_name(request: pytest.FixtureRequest) -> str:
    """The name of each strategy there is."""
    return str(request.param)


@pytest.fixture
def world(redis_url: str, strategy_name: str, request: pytest.FixtureRequest) -> Iterator[World]:
    """A fresh namespace, at the end of the test emptied through the public faces and checked for leaked keys.

    A test that breaks the namespace on purpose is marked ``leaves_keys``.
    """
    name, user = f"test{next(_numbers)}", ""
    if request.config.getoption("--least-privilege"):
        # a namespace that is moved needs what each strategy does
        moves = request.node.path.stem.startswith("test_migration")
        user = limited(redis_url, name, list(strategies.names()) if moves else [strategy_name])
    world = World(redis_url, name, strategy_name, seen_as=user)
    try:
        yield world
        if not request.node.get_closest_marker("leaves_keys"):
            world.finish()
    finally:
        world.close()
    if user:
        assert denied(redis_url) == [], "src/core/store/permissions.py, or the strategy's needs, should allow it"


def pytest_configure(config: pytest.Config) -> None:
    # run in the background of a script, or by nohup, these are ignored, and by all that is started from here, too
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)
    config.addinivalue_line("markers", "leaves_keys: the test leaves keys behind on purpose")
    config.addinivalue_line("markers", "alone: measures, so it runs when no other test does")
    config.addinivalue_line("markers", "processes: mostly waits for real processes, so that several can run at once")


_COUNTS: dict[str, int] = {}


@pytest.hookimpl(hookwrapper=True)
def pytest_report_to_serializable(report: object) -> Iterator[None]:
    # what tests make dueq log may hold bytes that are no text; between its processes xdist carries UTF-8 only
    outcome: Any = yield
    outcome.force_result(_as_utf_8(outcome.get_result()))


def _as_utf_8(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {name: _as_utf_8(item) for name, item in value.items()}
    return type(value)(map(_as_utf_8, value)) if isinstance(value, (list, tuple)) else value


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
