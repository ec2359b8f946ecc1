"""Other people's texts made fit to be shown or kept: no credentials, no control characters, no endless lines.

Ids, arguments, reasons and error messages come from tasks, from Redis, and from other programs that write there.
"""

from __future__ import annotations

import traceback
from types import TracebackType

from .redaction import REDACTED_SPAN, redact

MESSAGE = 4000
"""Most characters of one message in a log line."""
_TRACEBACK = 16_000


def harmless(text: str) -> str:
    """``text`` as one line that cannot steer a terminal, look like two lines, or fail to be encoded."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def harmless_lines(text: str) -> str:
    """The same for a text of several lines: all after the first are indented, so that none looks like one of ours."""
    first, *rest = text.split("\n")
    return "\n".join((harmless(first), *(harmless(line if line.startswith("  ") else f"  {line}") for line in rest)))


def bounded(text: str, most: int = MESSAGE) -> str:
    """``text`` without credentials; a longer text is cut after ``most`` characters, and says how many are missing."""
    if len(text) <= most:
        return redact(text)
    # the cut may go through an address, which is recognised by its end: so more is redacted than is kept
    start = redact(text[: most + REDACTED_SPAN])
    start = start[: min(most, len(start) - REDACTED_SPAN)]
    return f"{start}... ({len(text) - most:,} more characters)"


def traceback_of(error: tuple[type[BaseException], BaseException, TracebackType | None]) -> str:
    """The traceback of ``error``, each of its messages bounded."""
    parts = (bounded(part.rstrip("\n")) for part in traceback.format_exception(*error))
    return bounded("\n".join(parts), _TRACEBACK)
