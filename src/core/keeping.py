"""Which strategy keeps a namespace: asked before every step that touches the index, and told in clear words.

The hash ``meta`` has the field ``strategy``, and while a migration is under way also ``from``: the strategy whose index
still holds tasks (and ``migrator``: the process that moves them, see migration.py). New tasks go to the new index at
once. What takes tasks out of an index, or must know where a task is (dispatch, taking, cancel, reschedule), has to wait
until the migration is over. The scripts' own check stands in store/records.lua.
"""

from __future__ import annotations

from typing import Any

from .bells import Command
from .errors import NamespaceMigrating, StrategyMismatch
from .keys import Keys


def mismatch(namespace: str, kept_by: str, asked: str) -> StrategyMismatch:
    """The error for a namespace that another strategy keeps."""
    return StrategyMismatch(
        f"namespace {namespace!r} is kept by strategy {kept_by!r}, not {asked!r}: run with --strategy {kept_by}, take "
        f"another --namespace, or move its tasks with dueq migrate --to {asked} --namespace {namespace}"
    )


def migrating(namespace: str, source: str, target: str) -> NamespaceMigrating:
    """The error for what cannot be done while a migration is under way."""
    return NamespaceMigrating(
        f"namespace {namespace!r} is being moved from strategy {source!r} to {target!r}: try again when that is over; "
        f"if it was cut short, dueq migrate --to {target} --namespace {namespace} goes on with it"
    )


def unfinished(namespace: str, source: str, target: str, asked: str) -> NamespaceMigrating:
    """The error for a migration to ``asked`` while one to ``target`` is not over."""
    return NamespaceMigrating(
        f"namespace {namespace!r} is being moved from strategy {source!r} to {target!r}, and that is not over: finish "
        f"it first with dueq migrate --to {target} --namespace {namespace}, then move on to {asked!r}"
    )


def taken_over(namespace: str, source: str, target: str) -> NamespaceMigrating:
    """The error for a process whose migration is not its own any more."""
    return NamespaceMigrating(
        f"another process goes on moving namespace {namespace!r} from strategy {source!r} to {target!r}, has finished "
        f"that, or has purged the namespace: look with dueq status --namespace {namespace}"
    )


def question(keys: Keys) -> Command:
    """The command whose reply ``require`` looks at."""
    return ("HMGET", keys.plain("meta"), "strategy", "from")


def require(keys: Keys, strategy: str, reply: Any, *, settled: bool = False) -> None:
    """Raise StrategyMismatch unless ``strategy`` keeps the namespace (or nobody does yet).

    With ``settled``, raise NamespaceMigrating if tasks may still be in the index of another.
    """
    kept_by, source = reply
    if kept_by is not None and kept_by.decode() != strategy:
        raise mismatch(keys.namespace, kept_by.decode(), strategy)
    if settled and source is not None:
        raise migrating(keys.namespace, source.decode(), strategy)


def refusal(keys: Keys, strategy: str, error: Exception) -> Exception:
    """What a script's error says, if it is one of the two above; else the error itself."""
    _, found, other = str(error).partition("DUEQMISMATCH ")
    if found:
        return mismatch(keys.namespace, other.split()[0], strategy)
    _, found, other = str(error).partition("DUEQMIGRATING ")
    return migrating(keys.namespace, other.split()[0], strategy) if found else error
