"""What goes over the wire: commands, and bytes that become text."""

from __future__ import annotations

Command = tuple[str | bytes | int, ...]
"""One Redis command: its name and arguments."""

LENIENT = "surrogateescape"
"""How bytes of Redis become text, and text bytes: bytes that are not text, such as damage, come back unchanged."""

SHOWN = "backslashreplace"
"""How bytes of Redis that should be text become text for people, and to compare."""
