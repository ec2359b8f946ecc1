"""The two parts of the test suite: ``make test`` runs the short part, and ``make test-all`` the rest. Neither repeats
what the other runs. Together they are the whole suite, which pytest runs without ``--part``.

Markers in a test's own file say which part it is in. ``pytestmark`` marks all tests of a module:

=============== ======================================================================================================
``alone``       It measures, so it runs when no other test does; in the rest.
``processes``   It mostly waits for real processes, so several such tests can run at once.
``long``        It is in the rest: it takes long, or it needs a server that the short part does not use.
``in_turn``     Of its cases that differ only by strategy, one is in the short part; the next such group of cases has
                the next strategy. ``in_turn("name", …)``: also cases that differ by these parameters.
``crash_points`` It kills an actor at each of its commands. Each part tries deaths of its own (``Load.deaths``).
``first``       It is one test and takes long, so it begins first.
``one_server``  In the conformance suite: it does not depend on the server, so it runs on the embedded one only.
``few_servers`` In the conformance suite: it takes long, and may depend on the server. Besides the embedded server, only
                the oldest one runs a fifth of it.
``scripted``    It tests the scripted store.
``transactional`` It tests the transactional store.
=============== ======================================================================================================

In the short part, the conformance suite runs on the embedded server and, ``in_turn``, on the one like Redis 2.4, so
with both stores. It tries every death that Redis can tell from another. The deaths of the transactional store run
``in_turn`` on an embedded server that forbids scripts, except tests that are ``one_server``. In the rest, the suite
runs whole on all these servers. It also runs on the others: whole on the oldest one that a strategy can have, and a
fifth of it on each other.
"""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any, Literal, get_args

import pytest

from support.older import AGED, SCRIPTLESS
from support.servers import Server, all_servers
from support.world import SCRIPTED

Part = Literal["", "short", "rest"]
PARTS: tuple[Part, ...] = get_args(Part)

MARKERS = {
    "alone": "measures, so it runs when no other test does",
    "processes": "mostly waits for real processes, so that several can run at once",
    "long": "only in the rest",
    "in_turn(*parameters)": "of the cases that differ only by strategy, or by these, one is in the short part",
    "crash_points": "kills an actor at each of its commands: each part tries deaths of its own",
    "first": "is one test and takes long, so it begins first",
    "one_server": "of the conformance suite: does not depend on the server",
    "scripted": "is about the store of servers with scripts",
    "transactional": "is about the store of servers without scripts",
    "few_servers": "of the conformance suite: takes long, so of the other servers only the oldest runs a fifth of it",
}

_SHARED = pytest.StashKey[bool]()
_STRATEGIES = {"strategy", "strategy_name", "old", "new", "to"}


def chosen(items: Iterable[pytest.Item], part: Part, *, all_of_it: bool) -> list[pytest.Item]:
    """The tests of ``items`` to run. ``all_of_it``: all that can run on a server."""
    fit = [item for item in items if not _is_unfit(item)]
    fit = fit if all_of_it else _on_their_servers(fit)
    if not part:
        return fit
    short = _short(fit)
    for item in short:
        item.stash[_SHARED] = _has(item, "crash_points") and number_of(_server(item) or here()[0]) == 0
    return [item for item in fit if (item in short) is (part == "short") or (part == "rest" and is_shared(item))]


def is_shared(item: pytest.Item) -> bool:
    """Whether both parts run the test, each with some of its deaths."""
    return item.stash.get(_SHARED, False)


def may_have(function: pytest.Metafunc, server: Server) -> bool:
    """Whether some case of ``function`` may be ``chosen`` for ``server``; if not, no case is made for that server."""
    part, number = function.config.getoption("--part"), number_of(server)
    if function.config.getoption("--all-of-it"):
        return True
    if server.name == SCRIPTLESS and part == "short":
        return _is_of_scriptless(function.definition)
    if number == 0:
        return True
    if _has(function.definition, "one_server"):
        return False
    return part != "short" or server.name == AGED


def number_of(server: Server) -> int:
    """0 for the embedded server, with or without scripts; then the others, newest first; the last is the one like Redis
    2.4."""
    real = here()
    if server.name == SCRIPTLESS:
        return 0
    return real.index(server) if server in real else len(real)


def here() -> list[Server]:
    """The real servers that are here, the embedded one first. (tests/servers reports the missing ones.)"""
    return [server for server in all_servers() if isinstance(server, Server)]


def _parameters(item: pytest.Item) -> dict[str, Any]:
    case = getattr(item, "callspec", None)
    return {} if case is None else dict(case.params)


def _server(item: pytest.Item) -> Server | None:
    server = _parameters(item).get("server")
    return server if isinstance(server, Server) else None


def _has(item: pytest.Item, marker: str) -> bool:
    return item.get_closest_marker(marker) is not None


# -- servers


def _is_unfit(item: pytest.Item) -> bool:
    """Whether the test cannot run on its server. (tests/servers shows that strategies are refused there.)"""
    server = _server(item)
    without = server is not None and server.name in (AGED, SCRIPTLESS)
    if _has(item, "transactional") or _has(item, "scripted"):
        return without is _has(item, "scripted")
    return without and _parameters(item).get("strategy_name") in SCRIPTED


def _on_their_servers(items: Iterable[pytest.Item]) -> list[pytest.Item]:
    turns: Counter[int] = Counter()
    return [item for item in items if _is_on_its_server(item, turns)]


def _is_on_its_server(item: pytest.Item, turns: Counter[int]) -> bool:
    server = _server(item)
    number = 0 if server is None else number_of(server)
    if number == 0:
        return True
    if _has(item, "one_server"):
        return False
    scripted = _parameters(item).get("strategy_name") in SCRIPTED
    oldest = number == len(here()) - scripted  # those that need no scripts go back to 2.4
    few = _has(item, "few_servers")
    if oldest and not few:
        return True
    turns[number] += 1
    return (oldest or not few) and turns[number] % 5 == number % 5


# -- the short part


def _short(items: Iterable[pytest.Item]) -> set[pytest.Item]:
    chosen = {item for item in items if not _has(item, "alone") and not _has(item, "long") and _is_near(item)}
    return chosen - _out_of_turn(chosen, items)


def _is_near(item: pytest.Item) -> bool:
    """Whether its server is one of the short part's."""
    server = _server(item)
    if server is not None and server.name == SCRIPTLESS:
        return _is_of_scriptless(item)
    return server is None or number_of(server) == 0 or server.name == AGED


def _is_of_scriptless(test: pytest.Item) -> bool:
    """Whether the short part also runs the test without scripts, since a server like Redis 2.4 is not enough."""
    return _has(test, "transactional") or (_has(test, "crash_points") and not _has(test, "one_server"))


def _out_of_turn(items: set[pytest.Item], ordered: Iterable[pytest.Item]) -> set[pytest.Item]:
    """The tests of ``items`` whose strategy has its turn at another case."""
    cases: dict[str, dict[object, list[pytest.Item]]] = defaultdict(lambda: defaultdict(list))
    for item in ordered:
        marker, server = item.get_closest_marker("in_turn"), _server(item)
        without = server is not None and server.name in (AGED, SCRIPTLESS)
        if item in items and (marker is not None or without):
            apart = {*_STRATEGIES, *(marker.args if marker else ())}
            rest = tuple((name, str(value)) for name, value in _parameters(item).items() if name not in apart)
            cases[item.path.stem][getattr(item, "originalname", item.name), rest].append(item)
    out: set[pytest.Item] = set()
    for module, groups in cases.items():  # that not all begin with the same strategy
        for turn, group in enumerate(groups.values(), zlib.crc32(module.encode())):
            out |= {*group} - {group[turn % len(group)]}
    return out
