"""Fixtures: one private server per test process, a namespace of its own for each test.

The server is of the version that dueq embeds. The conformance suite runs there, and on the same server without scripts,
which gives strategies the transactional store. With ``--servers`` it runs on others.
"""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.limited import denied, limited
from support.older import AGED, OLDER_FORMAT, SCRIPTLESS, like_2_4, scriptless
from support.parts import MARKERS, PARTS, chosen, here, is_shared, may_have, number_of
from support.servers import Load, Server, all_servers, running
from support.world import World

from dueq import strategies
from dueq.core.schema.format import FORMATS, NEWEST

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
    parser.addoption("--part", default="", choices=PARTS, help="run a part of the suite: see tests/support/parts.py")
    parser.addoption("--all-of-it", action="store_true", help="leave nothing out on any server; takes half an hour")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    wanted = str(metafunc.config.getoption("--servers")) or f"{here()[0].name},{SCRIPTLESS}"
    if "server" in metafunc.fixturenames and _SUITE in Path(str(metafunc.definition.path)).parents:
        servers = [server for server in _named(wanted) if may_have(metafunc, server)]
        metafunc.parametrize("server", servers, ids=lambda server: server.name, indirect=True, scope="session")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    kept = chosen(items, config.getoption("--part"), all_of_it=bool(config.getoption("--all-of-it")))
    if left_out := [*{*items} - {*kept}]:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept
    items.sort(key=lambda item: item.get_closest_marker("first") is None)  # at the end, the other processors would idle


def _named(wanted: str) -> list[Server]:
    """The servers that ``--servers`` names."""
    known = [*(server.name for server in all_servers()), SCRIPTLESS, AGED]
    names = known if wanted == "all" else wanted.split(",")
    if unknown := sorted(set(names) - set(known)):
        raise pytest.UsageError(f"--servers: there is no {', '.join(unknown)}, only {', '.join(known)}")
    others = [made() for name, made in ((SCRIPTLESS, scriptless), (AGED, like_2_4)) if name in names]
    return [server for server in (*here(), *others) if server.name in names and isinstance(server, Server)]


@pytest.fixture(scope="session", autouse=True)
def _state_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test keeps locks where this user's own engines have theirs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Server:
    """The server that tests run on, unless they start their own."""
    chosen: Server = getattr(request, "param", None) or here()[0]
    return chosen


@pytest.fixture
def load(server: Server, request: pytest.FixtureRequest) -> Load:
    """How many of very many cases a test tries: both parts together try all of them on the embedded server."""
    return Load(number_of(server), request.config.getoption("--part") if is_shared(request.node) else "")


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
def world(redis_url: str, server: Server, strategy_name: str, request: pytest.FixtureRequest) -> Iterator[World]:
    """A fresh namespace. At the end of the test it is emptied by the public interfaces, and checked for leaked keys.

    A test that breaks the namespace on purpose is marked ``leaves_keys``.
    """
    name, user = f"test{next(_numbers)}", ""
    if request.config.getoption("--least-privilege"):
        # a test that moves the namespace needs the commands of every strategy
        moves = request.node.path.stem.startswith("test_migration")
        user = limited(redis_url, name, list(strategies.names()) if moves else [strategy_name])
    format_ = FORMATS[0] if server.name in OLDER_FORMAT else NEWEST
    world = World(redis_url, name, strategy_name, seen_as=user, format_=format_)
    try:
        yield world
        if not request.node.get_closest_marker("leaves_keys"):
            world.finish()
    finally:
        world.close()
    if user:
        assert denied(redis_url) == [], "src/core/store/permissions.py, or the strategy's needs, should allow it"


def pytest_configure(config: pytest.Config) -> None:
    # in the background of a script, or under nohup, these signals are ignored, also by processes started here
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)
    config.addinivalue_line("markers", "leaves_keys: the test leaves keys behind on purpose")
    for marker, meaning in MARKERS.items():
        config.addinivalue_line("markers", f"{marker}: {meaning}")


_COUNTS: dict[str, int] = {}


@pytest.hookimpl(hookwrapper=True)
def pytest_report_to_serializable(report: object) -> Iterator[None]:
    # log lines of tests may have bytes that are not text, and the processes of xdist exchange only UTF-8
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
    # also runs in the controller, where xdist collects the reports of its workers
    for name, value in report.user_properties:
        if report.when == "call" and name == "crash points":
            _COUNTS[report.nodeid] = int(str(value))
    yield


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _COUNTS:
        terminalreporter.write_line(f"crash points: {sum(_COUNTS.values())} in {len(_COUNTS)} operations")
