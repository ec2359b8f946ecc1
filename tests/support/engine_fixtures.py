"""Fixtures: an engine over a private server, and a producer for it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from support.engine import APPS, Engine


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(tmp_path)
    yield engine
    engine.close()


@pytest.fixture
def sample(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The sample application, as a producer would import it."""
    monkeypatch.setenv("DUEQ_REDIS_URL", engine.url)
    monkeypatch.syspath_prepend(str(APPS))
    yield importlib.import_module("sample")
    del sys.modules["sample"]
