"""The command line with every command, for tests and tools that inspect all of them."""

from __future__ import annotations

from .commands import built

app = built()
