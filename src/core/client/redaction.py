"""Removes the credentials of addresses from texts for people. Imports nothing, for commands that need no Redis."""

from __future__ import annotations

import re

# greedy, since a password may hold an unescaped / or @; bounded, since a log line may be 100 kB without a single space
_CREDENTIALS = re.compile(r"(?P<scheme>\b[\w+]{1,16}://)\S{0,1000}@")
REDACTED_SPAN = 1100
"""Most characters of one address that ``redact`` looks at: its end may be this far behind a cut."""
_QUERY_SECRET = re.compile(r"(?P<key>[?&](?:sentinel_|ssl_)?(?:password|username)=)[^&\s]*", re.IGNORECASE)


def redact(text: str) -> str:
    """``text`` with the credentials of every address in it replaced by ``***``."""
    return _QUERY_SECRET.sub(r"\g<key>***", _CREDENTIALS.sub(r"\g<scheme>***@", text))
