"""A stopped Redis that still accepts connections: a command ends with the first missing reply."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis.exceptions import TimeoutError
from support.frozen import frozen
from support.servers import Server, running

from dueq.admin.diagnosis import diagnose
from dueq.admin.overview import overview
from dueq.cli import options
from dueq.core.client.embedded import EmbeddedServer
from dueq.core.config import Settings
from dueq.core.namespace import Namespace

from .conftest import Cli

_TIMEOUT_S = 1.0
_TRIES = 5  # the quickest counts: what a busy machine adds is not the command's


@pytest.fixture
def own_server(server: Server, tmp_path: Path) -> Iterator[str]:
    with running(server, tmp_path) as url:
        yield url


def waits_once(command: Callable[[], object]) -> None:
    """Assert that ``command`` waits for one answer, and not for a second."""
    took: list[float] = []
    while len(took) < _TRIES and (not took or took[-1] >= 1.9 * _TIMEOUT_S):
        began = time.monotonic()
        command()
        took.append(time.monotonic() - began)
        assert took[-1] >= _TIMEOUT_S
    assert min(took) < 1.9 * _TIMEOUT_S, took


@pytest.mark.parametrize(
    ("kind", "command"),
    [
        ("given", ("status",)),
        ("given", ("status", "--json")),
        ("given", ("doctor", "--json")),
        ("embedded", ("status",)),
        ("embedded", ("doctor",)),
    ],
)
def test_a_command_waits_for_one_answer(
    kind: str, command: tuple[str, ...], own_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "REDIS_TIMEOUT_S", _TIMEOUT_S)
    embedded = EmbeddedServer(tmp_path / "own")
    url = own_server if kind == "given" else embedded.start()
    where = {"DUEQ_REDIS_URL": url} if kind == "given" else {"DUEQ_DIR": str(embedded.directory)}
    cli = Cli(where)

    def ask() -> None:
        answer = cli(*command)
        assert (answer.code, answer.out) == (3, "")
        named = re.escape(url) if kind == "given" else rf"{embedded.directory} \(pid \d+\) does not answer after 1 s"
        assert re.search(named, answer.err), answer.err
        assert "write" not in answer.err, "nothing was to be written"

    try:
        with frozen(url):
            waits_once(ask)
    finally:
        embedded.stop()


@pytest.mark.parametrize("look", [overview, diagnose])
def test_nor_does_one_whose_redis_freezes_meanwhile(look: Callable[[Namespace], object], own_server: str) -> None:
    space = Namespace.open(Settings(own_server), timeout=_TIMEOUT_S)
    look(space)

    def ask() -> None:
        with pytest.raises(TimeoutError):
            look(space)

    with frozen(own_server):
        waits_once(ask)
    space.close()


def test_the_time_is_the_documented_one() -> None:
    assert options.REDIS_TIMEOUT_S <= 5
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    assert f"A command waits {options.REDIS_TIMEOUT_S:g} s for each reply of Redis" in page
