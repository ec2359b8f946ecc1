"""Fixtures: a temporary directory for each test, so that files left behind are noticed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary files go, of this process and of those that it starts. Short: a server's socket lies in it."""
    directory = Path(tempfile.mkdtemp(prefix="bt-", dir="/tmp"))
    monkeypatch.setattr("tempfile.tempdir", str(directory))
    monkeypatch.setenv("TMPDIR", str(directory))
    yield directory
    shutil.rmtree(directory)
