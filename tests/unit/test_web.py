"""The web page: metrics, and the two questions of whoever restarts or routes."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator

import pytest

from dueq.core.config import Settings
from dueq.core.errors import ConfigurationError
from dueq.core.exposition import Board
from dueq.core.health import STILL_S, Health
from dueq.core.web import serve


class Facts:
    """What the health is asked from."""

    def __init__(self) -> None:
        self.processes = Counter({("worker", "ready"): 1, ("dispatcher", "ready"): 1})
        self.redis = True
        self.health = Health({"worker": 2, "dispatcher": 1}, lambda: self.processes, lambda: self.redis)


@pytest.fixture
def facts() -> Facts:
    return Facts()


@pytest.fixture
def board() -> Iterator[Board]:
    board = Board(Settings("redis://127.0.0.1:1", "shop"), "lua", ["default"], {})
    yield board
    board.own.close()


@pytest.fixture
def page(board: Board, facts: Facts) -> Iterator[str]:
    url, stop = serve(board, facts.health, "127.0.0.1", 0)
    yield url.removesuffix("/metrics")
    stop()


def ask(url: str) -> tuple[int, dict[str, object]]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_metrics(page: str) -> None:
    for path in ("/metrics", "/"):
        with urllib.request.urlopen(page + path, timeout=10) as answer:
            assert 'dueq_redis_up{namespace="shop"} 0.0' in answer.read().decode()


def test_a_path_that_is_none_is_said_to_be_none(page: str) -> None:
    status, said = ask(page + "/metric")
    assert status == 404
    assert "/livez" in str(said["reasons"])


def test_well_and_ready(page: str) -> None:
    assert ask(page + "/livez") == (200, {"ok": True, "reasons": []})
    assert ask(page + "/readyz") == (200, {"ok": True, "reasons": []})


def test_redis_away_is_not_ready_but_alive(page: str, facts: Facts) -> None:
    facts.redis = False
    assert ask(page + "/readyz") == (503, {"ok": False, "reasons": ["Redis does not answer"]})
    assert ask(page + "/livez")[0] == 200


@pytest.mark.parametrize("role", ["worker", "dispatcher"])
def test_not_ready_without_a_process_of_each_role(page: str, facts: Facts, role: str) -> None:
    facts.processes[role, "ready"] = 0
    facts.processes[role, "booting"] = 1
    assert ask(page + "/readyz") == (503, {"ok": False, "reasons": [f"no {role} is ready"]})


def test_not_ready_while_stopping(page: str, facts: Facts) -> None:
    facts.health.tick(leaving=True)
    assert ask(page + "/readyz")[0] == 503
    assert ask(page + "/livez")[0] == 200


def test_not_alive_once_the_loop_stands_still(facts: Facts, monkeypatch: pytest.MonkeyPatch) -> None:
    later = time.monotonic() + STILL_S + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert "stood still" in facts.health.not_live()[0]
    facts.health.tick(leaving=False)
    assert facts.health.not_live() == []


def test_an_address_in_use_or_unknown_is_refused(board: Board, facts: Facts) -> None:
    url, stop = serve(board, facts.health, "127.0.0.1", 0)
    port = int(url.split(":")[2].split("/")[0])
    with pytest.raises(ConfigurationError, match="--metrics-port 0"):
        serve(board, facts.health, "127.0.0.1", port)
    stop()
    serve(board, facts.health, "127.0.0.1", port)[1]()
    with pytest.raises(ConfigurationError, match="metrics page"):
        serve(board, facts.health, "no.such.host.invalid", 0)
