"""``dueq redis``: the embedded server, controlled by hand."""

from __future__ import annotations

from pathlib import Path

from dueq.core.client.connection import connect

from .conftest import Cli


def test_start_find_stop(tmp_path: Path) -> None:
    cli, directory = Cli({"DUEQ_REDIS_URL": ""}), str(tmp_path / "d")
    assert cli("redis", "status", "--dir", directory).code == 1
    url = cli("redis", "start", "--dir", directory).out.strip()
    try:
        client = connect(url)
        assert client.ping()
        client.connection_pool.disconnect()
        assert cli("redis", "url", "--dir", directory).out.strip() == url
        facts = cli("redis", "status", "--dir", directory, "--json").json
        assert facts["running"] is True
        assert facts["url"] == url
        assert isinstance(facts["pid"], int)
        # other commands find the same server by its directory
        assert Cli({"DUEQ_REDIS_URL": "", "DUEQ_DIR": directory})("status", "--json").json["redis_url"] == url
    finally:
        stopped = cli("redis", "stop", "--dir", directory)
    assert stopped.out == "stopped\n"
    assert cli("redis", "stop", "--dir", directory, "--json").json["stopped"] is False
    assert cli("redis", "status", "--dir", directory, "--json").json["running"] is False


def test_a_directory_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    answer = Cli({})("redis", "start", "--dir", str(tmp_path / "file"))
    assert answer.code == 3
    assert answer.err.startswith("dueq: cannot use")
