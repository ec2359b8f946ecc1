"""Which strategy owns a namespace, with which store. Every step that touches the index checks this first.

The hash ``meta`` has these fields, written in one step:

- ``strategy``
- ``store``: ``scripted``, or ``transactional`` where the server has no scripts. Processes of both must not work side by
  side, so each step looks at it. A namespace without the field was written by an older dueq, whose strategy chose the
  store; the first engine that starts while no other runs writes what the server allows.
- ``by``: who chose the strategy, an ``engine`` or a ``producer``. A producer takes a default, so its choice yields to
  the first engine that asks for another strategy; an engine's choice does not. A namespace without the field counts as
  an engine's: an older dueq wrote it. Engines fill in missing fields when they start.
- ``format``, ``features``: see format.py.

While a migration is under way there is also ``from``: the strategy whose index still holds tasks (and ``migrator``, the
process that moves them, and ``moved``, its sign of life, see migration.py). New tasks go to the new index at once.
Steps that take tasks out of an index, or must know where a task is (dispatch, taking, cancel, reschedule), have to wait
until the migration is over. During a yield, ``by`` stays ``producer`` until the yield is over.

The scripts' own check is in schema/records.lua.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

from ..client.protocol import SHOWN, Command
from ..config import NAME
from ..errors import (
    DueqError,
    NamespaceDamaged,
    NamespaceMigrating,
    NamespaceTooNew,
    NamespaceTooOld,
    StoreMismatch,
    StoreYields,
    StrategyMismatch,
    StrategyYields,
    YieldUnderWay,
)
from .format import FEATURES, FORMATS, NEWEST, listed, require_known
from .keys import Keys
from .tail import features

By = Literal["producer", "engine"]
"""Who chose a namespace's strategy."""

StoreKind = Literal["scripted", "transactional"]
"""How the transitions of tasks are made atomic: each is a script, or a transaction of WATCH, MULTI and EXEC."""


class Ownership(NamedTuple):
    """How a process uses a namespace: with which strategy and store."""

    strategy: str
    store: StoreKind


_LIST = re.compile(rf"(?:{NAME.pattern}(?:,{NAME.pattern})*)?")
_WRITTEN = {
    "strategy": NAME,
    "from": NAME,
    "by": re.compile("producer|engine"),
    "format": re.compile(r"[1-9][0-9]{0,8}"),
    "features": _LIST,
    "store": NAME,
}
"""The values that any version of dueq may have written into each field."""

FIELDS = tuple(_WRITTEN)


def named(reply: Sequence[bytes | None]) -> dict[str, bytes | None]:
    """The reply to ``question`` or ``look`` by the names of its fields."""
    return dict(zip(FIELDS, reply, strict=False))


def damaged(values: Mapping[str, bytes | None]) -> list[str]:
    """The fields of ``meta`` with values that no dueq writes; none in a newer format, unknown to this version."""
    texts = {name: raw.decode(errors=SHOWN) for name, raw in values.items() if raw is not None}
    format_ = texts.get("format", NEWEST)
    if format_ not in FORMATS and _WRITTEN["format"].fullmatch(format_):
        return []
    return [name for name, text in texts.items() if not _WRITTEN[name].fullmatch(text)]


def damage(keys: Keys, values: Mapping[str, bytes | None]) -> NamespaceDamaged | None:
    """The error for damage in the fields of ``meta`` that a step goes by; None if they are sound."""
    names = [name for name in damaged(values) if name != "by"]
    return (
        NamespaceDamaged(
            f"the field {names[0]} in meta of namespace {keys.namespace!r} holds bytes that dueq did not write "
            f"({values[names[0]]!r}): another program writes to keys of this namespace, or a key is damaged; an engine "
            f"of the namespace puts the bytes into quarantine within seconds: try again, or look with dueq doctor"
        )
        if names
        else None
    )


def mismatch(namespace: str, owner: str, wanted: str) -> StrategyMismatch:
    """The error for a namespace that another strategy owns."""
    return StrategyMismatch(
        f"namespace {namespace!r} is owned by strategy {owner!r}, not {wanted!r}: run with --strategy {owner}, take "
        f"another --namespace, or move its tasks with dueq migrate --to {wanted} --namespace {namespace}"
    )


def yields(namespace: str, owner: str, wanted: str) -> StrategyYields:
    """The error for a namespace that another strategy owns, which a producer chose."""
    return StrategyYields(
        f"namespace {namespace!r} is owned by strategy {owner!r}, not {wanted!r}: a producer chose it, so an engine "
        f"takes the namespace over when it is started with --strategy {wanted}; without such an engine use {owner}"
    )


def migrating(namespace: str, source: str, target: str) -> NamespaceMigrating:
    """The error for what cannot be done while a migration is under way."""
    return NamespaceMigrating(
        f"namespace {namespace!r} is being moved from strategy {source!r} to {target!r}: try again when that is over; "
        f"if it was cut short, dueq migrate --to {target} --namespace {namespace} goes on with it"
    )


def unfinished(namespace: str, source: str, target: str, wanted: str) -> NamespaceMigrating:
    """The error for a migration to ``wanted`` while one to ``target`` is not over."""
    return NamespaceMigrating(
        f"namespace {namespace!r} is being moved from strategy {source!r} to {target!r}, and that is not over: finish "
        f"it first with dueq migrate --to {target} --namespace {namespace}, then move on to {wanted!r}"
    )


def taken_over(namespace: str, source: str, target: str) -> NamespaceMigrating:
    """The error for a process whose migration another process has taken over."""
    return NamespaceMigrating(
        f"another process goes on moving namespace {namespace!r} from strategy {source!r} to {target!r}, has finished "
        f"that, or has purged the namespace: look with dueq status --namespace {namespace}"
    )


def other_store(namespace: str, kept: str, ours: Ownership, by: str | None) -> DueqError:
    """The error for a namespace that uses another store than ``ours``."""
    if kept not in get_args(StoreKind):
        return NamespaceTooNew(
            f"namespace {namespace!r} uses the {kept} store, which this dueq does not know: a newer dueq wrote "
            f"it; upgrade dueq here before it uses this namespace"
        )
    if by == "producer":
        return StoreYields(
            f"namespace {namespace!r} uses the {kept} store, not the {ours.store} one: a producer chose it, so "
            f"an engine with the {ours.store} store takes the namespace over when it is started"
        )
    return StoreMismatch(
        f"namespace {namespace!r} uses the {kept} store, not the {ours.store} one, with which this process "
        f"began: start it again; or move the namespace with dueq migrate --store {ours.store} --namespace {namespace}"
    )


def others_live(namespace: str, kept: str, ours: Ownership) -> StoreMismatch:
    """The error for a namespace of an older dueq, which did not write its store, while processes of it are alive."""
    return StoreMismatch(
        f"namespace {namespace!r} was written by an older dueq, whose strategy {ours.strategy!r} had the {kept} store; "
        f"here it is to have the {ours.store} one, and processes that may have the other are alive: stop every dueq "
        f"run of this namespace, wait a minute, then start this again"
    )


def question(keys: Keys, *also: str) -> Command:
    """The command whose reply ``require`` checks. ``also`` names further fields of ``meta``; their values come last."""
    return ("HMGET", keys.plain("meta"), *FIELDS, *also)


def look(client: Any, keys: Keys) -> Any:
    """Send ``question`` and return the reply."""
    return client.execute_command(*question(keys))


def owner_of(reply: Any) -> str | None:
    """The strategy that owns the namespace, None if nobody does yet, from the reply to ``question``."""
    return None if reply[0] is None else str(reply[0].decode(errors=SHOWN))


def chosen_by_producer(reply: Any) -> bool:
    """Whether a producer chose that strategy, so that it yields to an engine's."""
    return bool(reply[2] == b"producer")


def store_in(reply: Any) -> str | None:
    """The store that the namespace uses, None if nobody wrote that yet, from the reply to ``question``."""
    return None if reply[5] is None else str(reply[5].decode(errors=SHOWN))


def format_in(reply: Any) -> str:
    """The format of new records in the namespace, from the reply to ``question``. An older dueq did not write it."""
    if reply[3] is not None:
        return str(reply[3].decode(errors=SHOWN))
    return NEWEST if reply[0] is None else FORMATS[0]


def is_engines(reply: Any, ours: Ownership) -> bool:
    """Whether an engine owns the namespace as ``ours`` says, with nothing left to do or to fill in."""
    strategy, source, by, *rest, store = reply
    settled = (strategy, source, by) == (ours.strategy.encode(), None, b"engine") and None not in rest
    return settled and store == ours.store.encode() and not damaged(named(reply))


def written(keys: Keys, ours: Ownership, by: By, format_: str) -> list[Command]:
    """The commands that write who owns the namespace from now on, to be sent inside MULTI.

    ``format_`` is that of new records: what ``format_in`` says, unless it is to change.
    """
    meta = keys.plain("meta")
    return [
        ("HMSET", meta, "strategy", ours.strategy, "store", ours.store, "by", by, "format", format_),
        ("HSETNX", meta, "features", listed([])),
    ]


def featuring(keys: Keys, reply: Any, tails: Iterable[bytes]) -> list[Command]:
    """The command that adds the record features which ``tails`` use to those in ``meta``, if any is new there."""
    kept = {name for name in (reply[4] or b"").decode(errors=SHOWN).split(",") if name}
    used = set[str]().union(*map(features, filter(None, tails)))
    return [("HSET", keys.plain("meta"), "features", listed(kept | used))] if used - kept else []


def lua_constants() -> str:
    """What the scripts' check compares with."""
    return f"local FORMAT, FEATURES = '{NEWEST}', ',{listed(FEATURES)},'\n"


def old_format(keys: Keys) -> NamespaceTooOld:
    """The error for a task that says more than a record of the namespace's format can."""
    return NamespaceTooOld(
        f"namespace {keys.namespace!r} has records of format {FORMATS[0]}, which have no room for expires and headers: "
        f"once no older dueq uses it, run dueq migrate --format {NEWEST} --namespace {keys.namespace}"
    )


def require(keys: Keys, ours: Ownership, reply: Any, *, settled: bool = False) -> None:
    """Raise StrategyMismatch if another strategy than ``ours`` owns the namespace.

    Raises StrategyYields if a producer chose the other strategy; StoreMismatch if the namespace uses the other store;
    NamespaceTooNew if this version must not write there; NamespaceDamaged if a field has a value that no dueq writes.
    With ``settled``, raises NamespaceMigrating if tasks may still be in the index of another strategy.
    """
    try:
        _require(keys, ours, reply, settled=settled)
    except DueqError as error:
        raise damage(keys, named(reply)) or error from None


def _require(keys: Keys, ours: Ownership, reply: Any, *, settled: bool) -> None:
    kept, source, by, format_, features, store = (
        None if raw is None else str(raw.decode(errors=SHOWN)) for raw in reply
    )
    require_known(keys.namespace, format_ or "", features or "")
    if kept is not None and kept != ours.strategy:
        raise _not_ours(keys, kept, ours.strategy, by)
    if store is not None and store != ours.store:
        raise other_store(keys.namespace, store, ours, by)
    if settled and source is not None:
        raise _not_yet(keys, source, ours.strategy, by)


def refusal(keys: Keys, ours: Ownership, error: Exception) -> Exception:
    """The error above that a script's ``error`` stands for; else ``error`` itself."""
    strategy = ours.strategy
    _, found, rest = str(error).partition("DUEQSTORE ")
    if found:
        store, by = rest.split(" ", 2)[:2]
        return damage(keys, {"store": store.encode()}) or other_store(keys.namespace, store, ours, by)
    _, found, rest = str(error).partition("DUEQMISMATCH ")
    if found:
        owner, by = rest.split(" ", 2)[:2]
        return damage(keys, {"strategy": owner.encode()}) or _not_ours(keys, owner, strategy, by)
    _, found, rest = str(error).partition("DUEQMIGRATING ")
    if found:
        source, by = rest.split(" ", 2)[:2]
        return damage(keys, {"from": source.encode()}) or _not_yet(keys, source, strategy, by)
    if "DUEQOLDFORMAT " in str(error):
        return old_format(keys)
    _, found, rest = str(error).partition("DUEQTOONEW ")
    if found:
        format_, features = rest.split(" ", 2)[:2]
        if wrong := damage(keys, {"format": format_.encode(), "features": features.encode()}):
            return wrong
        try:
            require_known(keys.namespace, format_, features)
        except NamespaceTooNew as too_new:
            return too_new
    return error


def _not_ours(keys: Keys, owner: str, strategy: str, by: str | None) -> StrategyMismatch:
    return (yields if by == "producer" else mismatch)(keys.namespace, owner, strategy)


def _not_yet(keys: Keys, source: str, strategy: str, by: str | None) -> NamespaceMigrating:
    error = migrating(keys.namespace, source, strategy)
    return YieldUnderWay(*error.args) if by == "producer" else error
