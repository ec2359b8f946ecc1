"""The format of the records in a namespace, and whether this version of dueq can read them.

``meta`` names the format of new records and the record features in use (a sorted comma list). A record keeps its format
as long as it lives. A newer dueq may use a format or a feature that this version lacks: then this version must not
write there, neither as producer nor as engine.
The scripts' own check is in schema/records.lua.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import NamespaceTooNew
from .tail import EXPIRES, HEADERS

NEWEST = "2"
"""The format of the records in a namespace that begins now."""

FORMATS = ("1", NEWEST)
"""The formats that this version reads and writes. A namespace keeps its own until ``dueq migrate --format``."""

FEATURES = frozenset({EXPIRES, HEADERS})
"""The record features that this version knows."""


def listed(features: Iterable[str]) -> str:
    """``features`` as ``meta`` has them."""
    return ",".join(sorted(features))


def require_known(namespace: str, format_: str, features: str) -> None:
    """Raise NamespaceTooNew unless this version knows the format and every feature.

    Empty values are known: an older dueq wrote neither field.
    """
    if format_ not in ("", *FORMATS):
        raise NamespaceTooNew(
            f"namespace {namespace!r} has records of format {format_}, and this dueq knows formats up to {NEWEST}: a "
            f"newer dueq wrote them; upgrade dueq here before it uses this namespace"
        )
    if unknown := [name for name in features.split(",") if name and name not in FEATURES]:
        raise NamespaceTooNew(
            f"namespace {namespace!r} uses {', '.join(unknown)}, which this dueq does not know: a newer dueq wrote it; "
            f"upgrade dueq here before it uses this namespace"
        )
