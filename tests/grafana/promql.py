"""Queries taken apart: the series that they select, and what their conditions compare."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import promql_parser

_COMPARISONS = ("==", "!=", ">", "<", ">=", "<=")


def nodes(expr: str) -> list[Any]:
    """Every part of a query. Raises ValueError if it is none."""
    found: list[Any] = []
    promql_parser.walk(promql_parser.parse(expr), found.append)
    return found


def selectors(expr: str) -> list[Any]:
    """Every ``name{matchers}`` in it."""
    return [node for node in nodes(expr) if isinstance(node, promql_parser.VectorSelector)]


def matchers(selector: Any) -> list[tuple[str, str]]:
    """Label and value of each matcher."""
    return [(matcher.name, matcher.value) for matcher in selector.matchers.matchers]


def outside_of_ranges(expr: str) -> set[str]:
    """The metrics that are somewhere looked at as they are, not over a window."""
    found = nodes(expr)  # has the selector inside a range, too
    everywhere = Counter(str(node.name) for node in found if isinstance(node, promql_parser.VectorSelector))
    ranges = [node.vector_selector for node in found if isinstance(node, promql_parser.MatrixSelector)]
    return set(everywhere - Counter(str(selector.name) for selector in ranges))


def operands(expr: str) -> Iterator[str]:
    """What an alert's conditions look at, each of which has a value whether it fires or not.

    A comparison hides what does not fulfil it, and ``absent`` what is there: so their insides.
    """
    yield from _operands(promql_parser.parse(expr))


def _operands(node: Any) -> Iterator[str]:
    if isinstance(node, promql_parser.ParenExpr):
        yield from _operands(node.expr)
    elif isinstance(node, promql_parser.BinaryExpr) and str(node.op) in (*_COMPARISONS, "and", "or", "unless"):
        for side in (node.lhs, node.rhs):
            yield from _operands(side)
    elif isinstance(node, promql_parser.Call) and node.func.name == "absent":
        yield from _operands(node.args[0])
    elif not isinstance(node, promql_parser.NumberLiteral):
        yield node.prettify()
