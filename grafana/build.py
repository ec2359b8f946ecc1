"""Writes the dashboards and recording rules: ``python grafana/build.py [DIRECTORY]``.

They go into DIRECTORY, by default the directory of this file, where they are committed. Raises OSError if a file cannot
be written.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from boards.overview import overview
from boards.processes import processes
from boards.recording import recording
from boards.strategies import strategies
from grafana_foundation_sdk.cog.encoder import JSONEncoder


def made() -> dict[str, str]:
    """The text of each file that is made, by its path."""
    files = {"prometheus/rules/dueq-recording.yml": recording()}
    for board in (overview(), strategies(), processes()):
        # sorted, since the library promises no order, and a new version should show only real changes
        text = json.dumps(board, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False)
        files[f"dashboards/{board.uid}.json"] = f"{text}\n"
    return files


def write(directory: Path) -> None:
    """Write every file below ``directory``."""
    for name, text in made().items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
