"""The state file: an obstacle to it is reported, and stops nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from dueq.core.errors import ConfigurationError
from dueq.core.supervisor.state_file import StateFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


def test_it_is_there_while_it_is_to_be_and_nothing_is_left(path: Path) -> None:
    file = StateFile(str(path))
    assert not path.exists()
    file.write({"metrics_url": "x"})
    assert json.loads(path.read_text()) == {"pid": os.getpid(), "metrics_url": "x"}
    file.remove()
    assert list(path.parent.iterdir()) == []


def test_one_that_cannot_be_written_is_refused_at_once(path: Path) -> None:
    path.mkdir()
    for wrong in (path, path.parent / "none" / "state.json", Path("/dev/null/x")):
        with pytest.raises(ConfigurationError, match="state file"):
            StateFile(str(wrong))


@pytest.mark.parametrize("found", ["", "{", "[1]", "null", "\x00\xff", '{"pid": 1}'])
def test_what_is_not_ours_any_more_stays(path: Path, found: str) -> None:
    file = StateFile(str(path))
    file.write({})
    path.write_bytes(found.encode("latin-1"))
    file.remove()
    assert path.read_bytes() == found.encode("latin-1")


def test_what_comes_in_its_way_later_is_logged(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = StateFile(str(path))
    path.mkdir()
    file.write({})
    file.remove()
    assert list(path.parent.iterdir()) == [path]
    path.rmdir()
    path.parent.rmdir()
    file.write({})
    file.remove()
