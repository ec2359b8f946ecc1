"""Only the functions that a script needs: making each of them anew at every call is what a short script mostly does."""

from __future__ import annotations

import re

_FUNCTION = re.compile(r"^local function (?P<name>\w+)\((?:[^\n]* end$|.*?^end$)\n*", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"^--.*\n", re.MULTILINE)
_WORD = re.compile(r"\w+")


def linked(library: str, *roots: str) -> str:
    """``library`` without those of its functions that neither ``roots`` nor what they need mention, and no comments.

    It takes the library's own style for granted: functions begin at the margin, and end there or on the same line.
    """
    library = _COMMENT.sub("", library)
    functions = {found["name"]: found[0] for found in _FUNCTION.finditer(library)}
    rest = _FUNCTION.sub("", library)
    needed: set[str] = set()
    mentioned = {word for text in (rest, *roots) for word in _WORD.findall(text)}
    while new := (mentioned & functions.keys()) - needed:
        needed |= new
        mentioned = {word for name in new for word in _WORD.findall(functions[name])}
    return _FUNCTION.sub(lambda found: found[0] if found["name"] in needed else "", library)
