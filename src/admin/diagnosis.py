"""The properties of a Redis server, and what they mean for dueq: the facts behind ``dueq doctor``.

A managed server may refuse any command (CONFIG above all). The property is then None, shown as unknown, never an error.
"""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import redis
from redis.exceptions import AuthenticationError, ResponseError

from .. import strategies
from ..core.client.redaction import redact
from ..core.client.safe_text import bounded
from ..core.clock import US
from ..core.namespace import Namespace
from ..core.schema import ownership
from ..core.schema.format import NEWEST
from ..core.store import write_probe
from ..core.store.requirements import Obstacle, obstacles
from ..core.store.server_scripts import script_refusal
from .overview import server_name

Verdict = Literal["ok", "warning", "bad", "unknown"]

_SKEW_S = 1.0
_PINGS = 8
_SLOW_MS = 10.0
_STILL_MS = 100.0
_SLOWEST = 128  # entries read from the server's slow log: its default length
_RECENT_S = 3600.0
_COMMAND_CHARACTERS = 60
_WITHOUT_SCRIPTS = "strategies that need scripts cannot run; the others need several round trips for each task"


@dataclass(frozen=True, slots=True)
class Finding:
    """One property of the server: its value, dueq's verdict, and what to do if the verdict is not ok."""

    name: str
    value: str | None
    verdict: Verdict = "ok"
    advice: str = ""


@dataclass(frozen=True, slots=True)
class StrategyView:
    """One strategy: whether it can run on this server, and if not, what it lacks."""

    name: str
    summary: str
    obstacles: list[Obstacle]

    @property
    def can_run(self) -> bool:
        return not self.obstacles


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All that ``dueq doctor`` shows. ``strategy`` is the one whose ability to run decides the exit code."""

    redis_url: str
    namespace: str
    strategy: str
    findings: list[Finding] = field(default_factory=list)
    strategies: list[StrategyView] = field(default_factory=list)

    @property
    def can_run(self) -> bool:
        chosen = next(view for view in self.strategies if view.name == self.strategy)
        return chosen.can_run and all(finding.verdict != "bad" for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        return {
            "redis_url": self.redis_url,
            "namespace": self.namespace,
            "strategy": self.strategy,
            "can_run": self.can_run,
            "findings": [asdict(finding) for finding in self.findings],
            "strategies": [asdict(view) | {"can_run": view.can_run} for view in self.strategies],
        }


def diagnose(namespace: Namespace) -> Diagnosis:
    """Collect all properties of the server; changes nothing. Raises redis-py's errors if it cannot be reached."""
    client = namespace.client
    round_trip = _round_trip(client)
    info: dict[str, Any] = _reply(client.info) or {}
    since_2_6 = _is_since_2_6(info)
    found = [
        _server(info),
        _mode(info),
        _role(info),
        _append_only(client, info),
        _eviction(client, info),
        _saves(info),
        _writes(namespace),
        round_trip,
        _slow_commands(client),
        _skew(client, since_2_6),
        Finding("hz", _setting(client, info, "hz")),
        Finding("notify-keyspace-events", _setting(client, info, "notify-keyspace-events")),
        _scripts(client),
    ]
    kept = ownership.look(client, namespace.keys)
    recorded = ownership.store_in(kept)
    found.append(_store(namespace, found[-1].verdict == "ok"))
    found.append(_format(namespace, ownership.format_in(kept)))
    views = [_strategy(namespace, name, recorded) for name in strategies.names()]
    where = redact(namespace.settings.redis_url or "")
    return Diagnosis(where, namespace.keys.namespace, namespace.strategy.name, [_settled(f) for f in found], views)


def _settled(finding: Finding) -> Finding:
    """The finding, with the verdict unknown if it has no value."""
    return Finding(finding.name, None, "unknown") if finding.value is None else finding


def _reply(send: Callable[[], Any]) -> Any:
    """The reply to a command, or None if the server refuses the command."""
    try:
        return send()
    except AuthenticationError:
        raise
    except ResponseError:
        return None


def _setting(client: redis.Redis, info: dict[str, Any], name: str) -> str | None:
    """A setting of the server: from INFO, which is seldom refused, else from CONFIG GET. None if neither has it."""
    reply = info.get(name.replace("-", "_"))
    if reply is None:
        reply = (_reply(lambda: client.config_get(name)) or {}).get(name)
    return None if reply is None else str(reply)


def _server(info: dict[str, Any]) -> Finding:
    if "redis_version" not in info:
        return Finding("server", None)
    name = server_name(info)
    return Finding("server", f"{name}, like Redis {info['redis_version']}" if "valkey_version" in info else name)


def _mode(info: dict[str, Any]) -> Finding:
    mode = info.get("redis_mode", "standalone" if info else None)
    match mode:
        case "cluster":
            advice = (
                "dueq does not support Redis Cluster yet: it works only while this node has the namespace's slot; "
                "use a Redis that is not in cluster mode (cluster-enabled no)"
            )
            return Finding("mode", mode, "warning", advice)
        case "sentinel":
            return Finding("mode", mode, "bad", "this is a Sentinel, which keeps no data: use the primary's address")
    return Finding("mode", mode)


def _role(info: dict[str, Any]) -> Finding:
    role = info.get("role")
    if role == "slave" and info.get("slave_read_only", 1):
        return Finding("role", "replica", "bad", "a replica refuses writes: use the primary's address")
    return Finding("role", "primary" if role == "master" else role)


def _append_only(client: redis.Redis, info: dict[str, Any]) -> Finding:
    name, enabled = "append-only file", info.get("aof_enabled")
    if enabled is None:
        return Finding(name, None)
    if not enabled:
        return Finding(
            name, "off", "warning", "tasks since the last snapshot are lost if the server dies: appendonly yes"
        )
    fsync = _setting(client, {}, "appendfsync")
    if fsync == "no":
        advice = "a power cut may lose many seconds: appendfsync everysec (up to one), or always (none)"
        return Finding(name, "on, fsync no", "warning", advice)
    return Finding(name, f"on, fsync {fsync or 'unknown'}")


def _eviction(client: redis.Redis, info: dict[str, Any]) -> Finding:
    policy = _setting(client, info, "maxmemory-policy")
    if policy not in (None, "noeviction"):
        advice = "a server whose memory is full deletes tasks without an error: maxmemory-policy noeviction"
        return Finding("maxmemory-policy", policy, "warning", advice)
    return Finding("maxmemory-policy", policy)


def _saves(info: dict[str, Any]) -> Finding:
    reply = [info[name] for name in ("rdb_last_bgsave_status", "aof_last_write_status") if name in info]
    if any(status != "ok" for status in reply):
        advice = "the server could not write to its disk, and may refuse tasks (MISCONF): make room, see its log"
        return Finding("last save", "failed", "warning", advice)
    return Finding("last save", "ok" if reply else None)


def _writes(namespace: Namespace) -> Finding:
    """Whether the server accepts writes. One is tried, since its own status may not show a refusal."""
    try:
        refused = write_probe.refusal(namespace.client, namespace.keys)
    except AuthenticationError:
        raise
    except ResponseError:
        return Finding("writes", None)
    if refused is None:
        return Finding("writes", "accepted")
    return Finding("writes", f"refused: {redact(refused.said)}", "bad", refused.advice)


def _round_trip(client: redis.Redis) -> Finding:
    """How long several PINGs take. Raises redis-py's errors if there is no reply."""
    times = []
    for _ in range(_PINGS):
        began = time.perf_counter()
        _reply(client.ping)  # a refusal is a reply, too
        times.append((time.perf_counter() - began) * 1000)
    # the first also connects
    median, worst = statistics.median(times[1:]), max(times[1:])
    value = f"{median:.2f} ms, the slowest of {len(times) - 1} {worst:.2f} ms"
    if median > _SLOW_MS:
        advice = "each task needs at least one: run dueq nearer to Redis, let workers take several tasks (--prefetch)"
        return Finding("round trip", value, "warning", advice)
    if worst > _STILL_MS:
        advice = "something delays the server: look at slow commands, and at its host's CPU, swap and disk"
        return Finding("round trip", value, "warning", advice)
    return Finding("round trip", value)


def _slow_commands(client: redis.Redis) -> Finding:
    name = "slow commands"
    found = _reply(lambda: client.slowlog_get(_SLOWEST))
    if found is None:
        return Finding(name, None)
    recent = [entry for entry in found if entry["start_time"] > time.time() - _RECENT_S]
    if not recent:
        return Finding(name, "none in the last hour")
    worst = max(recent, key=lambda entry: entry["duration"])
    command = bounded(worst["command"].decode("utf-8", "replace"), _COMMAND_CHARACTERS)
    value = f"{len(recent)} in the last hour, the longest {worst['duration'] / 1000:.0f} ms: {command}"
    return Finding(
        name, value, "warning", "while one runs, everything else waits, also due tasks: find the client that sends it"
    )


def _is_since_2_6(info: dict[str, Any]) -> bool:
    """Whether the server may know TIME and EVAL; also True if it does not tell its version."""
    numbers = re.findall(r"\d+", str(info.get("redis_version", "")))[:2]
    return not numbers or [int(number) for number in numbers] >= [2, 6]


def _skew(client: redis.Redis, since_2_6: bool) -> Finding:
    if not since_2_6:
        return Finding("clock skew", None)
    before = time.time()
    reply = _reply(client.time)
    after = time.time()
    if reply is None:
        return Finding("clock skew", None)
    skew = reply[0] + reply[1] / US - (before + after) / 2
    value = f"{skew * 1000:+.1f} ms"
    if abs(skew) > _SKEW_S:
        advice = "due times given as instants are compared with Redis's clock: synchronise both hosts by NTP"
        return Finding("clock skew", value, "warning", advice)
    return Finding("clock skew", value)


def _scripts(client: redis.Redis) -> Finding:
    try:
        refusal = script_refusal(client)
    except AuthenticationError:
        raise
    except ResponseError as error:
        refusal = str(error)
    if refusal:
        return Finding("scripts", f"refused: {redact(refusal)}", "warning", _WITHOUT_SCRIPTS)
    return Finding("scripts", "allowed")


def _store(namespace: Namespace, scripts: bool) -> Finding:
    """The store that the namespace has, or would have."""
    store = namespace.strategy.store
    if store == "scripted" and not scripts:
        advice = "this user may not run scripts, so nothing can run: allow EVAL, EVALSHA, SCRIPT LOAD (ACL +@scripting)"
        if "transactional" in namespace.strategy.stores():
            advice += (
                f", or change the store: dueq migrate --store transactional --namespace {namespace.keys.namespace}"
            )
        return Finding("store", store, "bad", advice)
    if store == "transactional" and scripts and "scripted" in namespace.strategy.stores():
        advice = (
            f"each task costs several round trips: dueq migrate --store scripted --namespace {namespace.keys.namespace}"
        )
        return Finding("store", store, "warning", advice)
    return Finding("store", store)


def _format(namespace: Namespace, format_: str) -> Finding:
    """The format that new records of the namespace have."""
    advice = (
        f"an older dueq began this namespace: once none uses it any more, new tasks take less memory after "
        f"dueq migrate --format {NEWEST} --namespace {namespace.keys.namespace}"
    )
    return Finding("record format", format_, "ok", "" if format_ == NEWEST else advice)


def _strategy(namespace: Namespace, name: str, recorded: str | None) -> StrategyView:
    """``recorded`` is the namespace's store, if it has one. A strategy that cannot use it is checked with its own."""
    strategy = strategies.find(name)
    store = next((kind for kind in strategy.stores() if kind == recorded), None)
    try:
        found = obstacles(namespace.client, strategy, namespace.keys, store)
    except AuthenticationError:
        raise
    except ResponseError as error:
        found = [Obstacle(f"a reply to INFO ({redact(str(error))})", "allow the user INFO (ACL +info)")]
    return StrategyView(name, strategy.summary, found)
