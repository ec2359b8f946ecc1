"""Gives a script only the shared functions that it needs: Redis makes each function anew at every call of a script, and
that is most of the work of a short script.

Calls of one-expression functions are replaced by their expressions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_FUNCTION = re.compile(r"^local function (?P<name>\w+)\((?:[^\n]* end$|.*?^end$)\n*", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"^--.*\n", re.MULTILINE)
_STRING_OR_COMMENT = re.compile(r"""('(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")|--[^\n]*""")
_WORD = re.compile(r"\w+")


_NEEDS = re.compile(r"^ *-- needs (?P<names>[\w, ]+)\n", re.MULTILINE)
"""A line of a script that says: these functions are needed only here, in a branch that is seldom taken."""


def linked(library: str, *roots: str) -> str:
    """``library`` without comments, and of its functions only those that ``roots`` mention, and those that these need.

    It relies on the library's style: functions begin at the margin, and end there or on the same line.
    """
    functions = _functions(library)
    needed = _needed(functions, (_FUNCTION.sub("", _COMMENT.sub("", library)), *roots))
    return _FUNCTION.sub(lambda found: found[0] if found["name"] in needed else "", _COMMENT.sub("", library))


def without_seldom(text: str) -> str:
    """``text`` without the names in its ``needs`` lines, so that these functions are not put into its head."""
    names = {name for found in _NEEDS.finditer(text) for name in _listed(found["names"])}
    return _WORD.sub(lambda word: "" if word[0] in names else word[0], text)


def with_needs(text: str, library: str, head: str) -> str:
    """``text`` with each of its ``needs`` lines replaced by the functions of ``library`` that it names, and by those
    that these need, except functions that ``head`` has."""
    functions, there = _functions(library), _functions(head)

    def functions_here(line: re.Match[str]) -> str:
        needed = _needed(functions, _listed(line["names"])) - there.keys()
        return "".join(body for name, body in functions.items() if name in needed)

    return _NEEDS.sub(functions_here, text)


def _functions(library: str) -> dict[str, str]:
    return {found["name"]: found[0] for found in _FUNCTION.finditer(_COMMENT.sub("", library))}


def _needed(functions: Mapping[str, str], roots: Iterable[str]) -> set[str]:
    """The names of the ``functions`` that ``roots`` mention, and of those that these need."""
    needed: set[str] = set()
    mentioned = {word for text in roots for word in _words(text)}
    while new := (mentioned & functions.keys()) - needed:
        needed |= new
        mentioned = {word for name in new for word in _words(functions[name])}
    return needed


def _words(text: str) -> list[str]:
    """The words of ``text`` outside of its comments."""
    return _WORD.findall(_STRING_OR_COMMENT.sub(lambda found: found[1] or "", text))


_ONE_LINE = re.compile(
    r"^local function (?P<name>\w+)\((?P<parameters>[\w, ]*)\) (?P<returns>return )?(?P<body>[^\n]+) end\n",
    re.MULTILINE,
)
_NO_EXPRESSION = re.compile(r"\b(if|for|while|local|return|then|do|function)\b|[;\"{}\\:]|\[\[")
_QUOTED = re.compile(r"('[^']*')")
_VARIABLE = re.compile(r"(?<![.\w])[A-Za-z_]\w*")
_PLAIN = re.compile(r"[\w.]+(?:\[[\w +]+\])?|'[^',()]*'")
_OTHER_NAME = re.compile(r"(?:[\w.:]|\bfunction )\Z")
_BEGINS_STATEMENT = re.compile(r"(?:.*(?:\b(?:then|do|else|end)|;))?\s*")
_DECLARED = re.compile(
    r"\bfunction\s*(?P<function>[\w.:]*)\s*\((?P<parameters>[^()]*)\)|\b(?:local|for)\s+(?!function\b)(?P<names>\w+(?:\s*,\s*\w+)*)"
)


def inlined(text: str, library: str, others: str) -> str:
    """``text`` with calls of one-expression functions of ``library`` replaced by their expressions.

    A call is replaced only where the meaning certainly stays the same: each argument is a name, a field or a constant
    (anything else could be evaluated twice, or in another order), and ``others``, the text around it, does not redefine
    a name that the function relies on. One-line functions that are not called any more are removed.
    """
    if "[[" in others:
        return text  # this code does not find the end of such strings
    chosen = _expressions(library) - _relied_on(library, _declared(others))
    while True:
        before = text
        for name in [found["name"] for found in _ONE_LINE.finditer(text)]:
            function = _ONE_LINE.search(text, text.index(f"local function {name}("))  # its text may have changed
            if function is not None:
                text = _without_calls(text, function) if name in chosen else text
                text = text if text.count(name) > 1 else text.replace(function[0], "", 1)
        if text == before:
            return text


def _expressions(library: str) -> set[str]:
    """The names of functions whose body is one expression, or one call."""
    return {
        found["name"]
        for found in _ONE_LINE.finditer(library)
        if not _NO_EXPRESSION.search(bare := _QUOTED.sub("", found["body"]))
        and found["name"] not in _VARIABLE.findall(bare)
    }


def _relied_on(library: str, declared: set[str]) -> set[str]:
    """The names of one-line functions that would mean something else where the names ``declared`` are redefined."""
    return {
        found["name"]
        for found in _ONE_LINE.finditer(library)
        if declared
        & ({found["name"], *_VARIABLE.findall(_QUOTED.sub("", found["body"]))} - {*_listed(found["parameters"])})
    }


def _declared(text: str) -> set[str]:
    names = set[str]()
    for found in _DECLARED.finditer(text):
        names.update(_listed(found["names"] or found["parameters"] or ""), [found["function"] or ""])
    return names - {"", "function"}


def _without_calls(text: str, function: re.Match[str]) -> str:
    parameters = _listed(function["parameters"])
    bare = not function["returns"] or _is_call(function["body"])  # brackets would keep only the first of its values
    parts = _QUOTED.split(function["body"] if bare else f"({function['body']})")

    def expanded(call: re.Match[str]) -> str:
        line, at = call.string[call.string.rfind("\n", 0, call.start()) + 1 : call.start()], _listed(call["arguments"])
        if _OTHER_NAME.search(line) or line.count("'") % 2 or line.count('"') % 2:  # or the call is in quotes
            return call[0]
        if len(at) != len(parameters) or not all(map(_PLAIN.fullmatch, at)):
            return call[0]
        if not bare and _BEGINS_STATEMENT.fullmatch(line):
            return call[0]
        given = dict(zip(parameters, at, strict=True))
        return "".join(
            part if part.startswith("'") else _VARIABLE.sub(lambda word: given.get(word[0], word[0]), part)
            for part in parts
        )

    # a pattern that begins with the name is found much faster
    return re.sub(rf"{function['name']}\((?P<arguments>[^()]*)\)", expanded, text)


def _listed(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _is_call(expression: str) -> bool:
    """Whether ``expression`` is one function call, and nothing else."""
    if not re.match(r"[\w.]+\(", expression):
        return False
    depth = 0
    for at, character in enumerate(_QUOTED.sub(lambda quoted: "_" * len(quoted[0]), expression)):
        depth += (character == "(") - (character == ")")
        if depth == 0 and character == ")":
            return at == len(expression) - 1
    return False
