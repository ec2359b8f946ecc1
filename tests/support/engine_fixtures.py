"""Fixtures: an engine over a private server, and a producer for it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from support.engine import APPS, Engine


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(tmp_path)
    yield engine
    engine.close()


@contextmanager
def application(engine: Engine, name: str) -> Iterator[ModuleType]:
    """The application in ``name`` of tests/support/apps, as a producer for ``engine`` would import it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DUEQ_REDIS_URL", engine.url)
        patch.setenv("LEDGER", str(engine.ledger))
        patch.syspath_prepend(str(APPS))
        yield importlib.import_module(name)
        del sys.modules[name]


@pytest.fixture
def sample(engine: Engine) -> Iterator[ModuleType]:
    """The sample application."""
    with application(engine, "sample") as app:
        yield app
