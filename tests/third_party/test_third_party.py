"""A strategy registered through the entry-point group passes the same conformance suite, and can be chosen by name."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.long, pytest.mark.first]

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A process environment in which the strategy is installed."""
    shutil.copy(HERE / "single_zset.py", tmp_path)
    info = tmp_path / "single_zset-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: single-zset\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[dueq.strategies]\nsingle = single_zset:SingleZset\n")
    return os.environ | {"PYTHONPATH": str(tmp_path)}


@pytest.mark.timeout(900)
def test_it_passes_the_conformance_suite(environment: dict[str, str]) -> None:
    # what it does not promise: that no queue holds up another; names that are no text; an index of another type
    odd = "(rubbish_in and queues) and not engine_goes_on"
    chosen = f"single and not single_ and not rivals and not backlog and not {odd}"
    command = [sys.executable, "-m", "pytest", "tests/conformance", "-q", "-k", chosen, "-p", "no:cacheprovider"]
    found = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout[-4000:]
    passed = re.search(r"(\d+) passed", found.stdout)
    assert passed is not None
    assert int(passed[1]) > 150


def test_it_can_be_chosen_by_its_name(environment: dict[str, str]) -> None:
    program = "from dueq import strategies as s; print(s.find('single'), s.names())"
    command = [sys.executable, "-c", program]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "single_zset.SingleZset" in found.stdout
    assert found.stdout.rstrip().endswith("'watch', 'single']")
