"""A replay is clean with every strategy on the oldest server that it runs on, and shows how late jobs really were."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.older import like_2_4, saying
from support.servers import Missing, running
from support.world import SCRIPTED, TRANSACTIONAL

from dueq import strategies
from dueq.core.client.connection import connect
from dueq.core.errors import StrategyUnavailable
from dueq.replay.report import is_clean
from dueq.replay.runner import run_replay

pytestmark = pytest.mark.alone  # how late tasks are


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Sixty jobs over two seconds."""
    path = tmp_path / "trace.csv"
    path.write_text("".join(f"{n / 30},0.01\n" for n in range(60)))
    return path


@pytest.fixture
def url(strategy_name: str, tmp_path: Path) -> Iterator[str]:
    server = like_2_4() if strategy_name in TRANSACTIONAL else saying("2.8.17")
    if isinstance(server, Missing):
        pytest.skip(f"no {server.name}: {server.reason}")
    (tmp_path / "old").mkdir()
    with running(server, tmp_path / "old") as url:
        yield url


@pytest.mark.in_turn
def test_it_is_clean(strategy_name: str, url: str, trace: Path) -> None:
    report = run_replay(trace, speed=1, strategy=strategy_name, workers=3, redis_url=url, json=True)
    assert is_clean(report), report
    assert (report["finished"], report["early"], report["clock_offset_us"]) == (60, 0, 0)
    late = report["lateness_ms"]
    if resolution_ms := 1000 * strategies.find(strategy_name).resolution:
        assert report["resolution_s"] == resolution_ms / 1000
        assert resolution_ms / 4 < late["p50"] < resolution_ms
        assert resolution_ms / 2 < late["max"]
    else:
        assert late["p50"] < 100
    client = connect(url)
    assert client.keys("*") == []
    client.close()


@pytest.mark.parametrize("strategy_name", TRANSACTIONAL[:1])
def test_what_the_server_cannot_carry_is_refused_at_once(url: str, trace: Path) -> None:
    for strategy in SCRIPTED:
        with pytest.raises(StrategyUnavailable, match=r"this is 2\.4\.18.*upgrade"):
            run_replay(trace, speed=1, strategy=strategy, redis_url=url, json=True)
    client = connect(url)
    assert client.keys("*") == []
    client.close()
