"""The whole command line, for those who look at every command."""

from __future__ import annotations

from .commands import built

app = built()
