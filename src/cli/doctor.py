"""``dueq doctor``: the diagnosis, for people and scripts."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from ..admin.diagnosis import Diagnosis, diagnose
from ..core.namespace import Namespace
from ..core.store.acl import rule
from .exits import Exit
from .options import Json, NamespaceName, RedisUrl, StrategyName, opened
from .output import console, say, say_json, table

_STYLES = {"ok": "green", "warning": "yellow", "bad": "red", "unknown": "dim"}


def doctor(
    strategy: StrategyName = None,
    acl: Annotated[
        bool, typer.Option("--acl", help="Print the smallest ACL rule that the namespace and strategy need.")
    ] = False,
    redis_url: RedisUrl = None,
    namespace: NamespaceName = None,
    as_json: Json = False,
) -> None:
    """Say what the Redis server is, and whether dueq can run on it; if not, what to change.

    A property that the server does not report is shown as unknown, which is no
    fault: managed servers often refuse CONFIG. dueq tries each command that it
    needs, and a write; it changes nothing. The exit code is 1 if the strategy
    cannot run here: the one given by --strategy, else the one that owns the
    namespace.

    With --acl, doctor prints one line of an ACL file instead (without its first
    word, it is the argument of ACL SETUSER): the smallest permissions for the
    engines, producers and commands of the namespace. Replace the password in it.

    \b
    Examples:
      dueq doctor
      dueq doctor --redis-url redis://cache.internal:6379 --strategy lua
      dueq doctor --json | jq .can_run
      dueq doctor --acl --strategy lua --namespace shop
    """
    with opened(redis_url, namespace, strategy, writes=False) as space:
        if acl:
            _print_rule(space, as_json)
            return
        found = diagnose(space)
    if as_json:
        say_json(found.as_json())
    else:
        _print(found)
    if not found.can_run:
        raise typer.Exit(Exit.NO)


def _print_rule(space: Namespace, as_json: bool) -> None:
    database = space.client.connection_pool.connection_kwargs.get("db") or 0
    line = rule(space.keys, [type(space.strategy)], space.strategy.store, database)
    if as_json:
        say_json({"namespace": space.keys.namespace, "strategy": space.strategy.name, "rule": line})
    else:
        say(line)


def _print(found: Diagnosis) -> None:
    say(f"{found.redis_url}, namespace {found.namespace}")
    rows = [
        (
            finding.name,
            # an empty setting is a value too: notify-keyspace-events is "" by default
            "unknown" if finding.value is None else finding.value or "(empty)",
            Text(finding.verdict, style=_STYLES[finding.verdict]),
            finding.advice,
        )
        for finding in found.findings
    ]
    console().print(table(None, ("property", "value", "verdict", "what to change"), rows))
    say()
    strategies = [
        (
            view.name,
            Text("can run", style="green") if view.can_run else Text("cannot run", style="red"),
            view.summary if view.can_run else "; ".join(f"lacks {o.lacking}: {o.remedy}" for o in view.obstacles),
        )
        for view in found.strategies
    ]
    console().print(table(None, ("strategy", "here", ""), strategies))
    say()
    say(f"strategy {found.strategy} " + ("can run here" if found.can_run else "cannot run here: see above"))
