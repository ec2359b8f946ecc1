"""Fixtures: a server of the test's own, whose settings it may change, and real dispatchers on it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.servers import Server, all_servers, running
from support.world import World

from .dispatchers import Dispatchers

_numbers = itertools.count(1)

IN_TIME_S = 0.5
"""By a dispatcher's own timer, not by the safety net of 30 s; a busy machine may add to it."""

Make = Callable[..., World]
Start = Callable[..., Dispatchers]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Starts a server with some lines of redis.conf, and gives a namespace on it that ``keyspace`` keeps."""
    newest = next(server for server in all_servers() if isinstance(server, Server))
    with ExitStack() as stack:

        def start(*options: str, server: Server = newest, name: str = "events") -> World:
            directory = tmp_path / f"s{next(_numbers)}"
            directory.mkdir()
            world = World(stack.enter_context(running(server, directory, *options)), name, "keyspace")
            stack.callback(world.close)
            return world

        yield start


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts so many dispatchers of a world, which end with the test."""
    with ExitStack() as stack:
        yield lambda world, count=1: stack.enter_context(Dispatchers(world, count))


def next_lateness(world: World) -> float:
    """Sleep and dispatch as a dispatcher does until a task was moved; returns how late it was, in seconds."""
    for _ in range(100):
        result = world.strategy.dispatch(100)
        if result.moved:
            return result.moved[0][1]
        if result.next_in != 0:
            world.strategy.wait(5.0 if result.next_in is None else result.next_in)
    raise AssertionError("nothing was moved")
