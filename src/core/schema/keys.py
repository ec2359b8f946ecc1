"""Every Redis key name that dueq uses: made here, for Python and for the scripts, and nowhere else.

All keys of a namespace share one hash tag, ``dueq:{namespace}:``, so that they live in one cluster slot.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..client.protocol import LENIENT
from ..config import check_name

SHARD_DIGITS = 3
"""Hex digits of SHA-1(id) that choose a record's hash: 4,096 hashes, so that each stays small enough to be
walked in one bounded command on every server (Redis 2.4 has no SCAN)."""

_PLAIN = {
    "meta": "meta",  # hash: who owns the namespace, and what lies in it (ownership.py)
    "queues": "queues",  # set of queue names
    "token": "token",  # counter: the last fencing token given
    "stats": "stats",  # hash: counters of what producers did (they have no metrics page)
    "workers": "workers",  # zset: worker -> until when it is taken to be alive, while it holds anything
    "revoked": "revoked",  # hash: id -> how many of its entries in lists are void (cancelled, rescheduled)
    "quarantined": "quarantined",  # hash: "kind at place id" of what could not be read -> its bytes
    "again": "again",  # hash: id -> the next run, which its task asked for while it ran: due|queue|body
    "reasons": "reasons",  # hash: id -> why a dead letter died
    "wake": "wake",  # list: wake-ups of dispatchers, pushed when an earlier task is scheduled
    "guard": "guard",  # counter, for WATCH: each step that takes a task out of the index touches it
    "leased": "leased",  # zset: "queue:id" -> when its lease expires
    "busy": "busy",  # zset: queues whose ready lists have entries; a queue without may be among them for a while
    "chosen": "chosen",  # zset, within one step only: queues that have work, of those that a worker serves
    "tmps": "tmps",  # zset: tmp set of a dispatcher -> when it was filled
    "audited": "audited",  # when the last audit began, epoch seconds
    "supervisors": "supervisors",  # zset: supervisor -> until when it is taken to be alive (engines.py)
    "aside": "aside",  # zset: "queue:name" of every list of unclaimed tasks that is not empty -> when it last grew
    "rehearsed": "rehearsed",  # before which due time workers were last woken to rehearse (rehearse.lua)
    "probe": "probe",  # never exists: dueq tries on it what a server allows (permissions.py, write_probe.py)
    "recovered": "recovered",  # when something was last taken back from owners that are gone, epoch seconds
}
_PER_NAME = {
    "record": "r:",  # hash per shard: id -> record
    "ready": "ready:",  # list per queue; pushed on the left, taken on the right
    "wakeup": "bell:",  # list per queue: wake-ups of idle workers, pushed when the ready list grows
    "leased_before": "leased:",  # zset per queue, of an older layout: id -> when its lease expires
    "unclaimed": "unclaimed:",  # zset per queue and task name ("queue:name"): id -> when it was put aside
    "quarantine": "quarantine:",  # zset per kind of what could not be read: "at place id" -> at, microseconds
    "foreign": "foreign:",  # a key of a wrong type, renamed: "when it was found:its name"
    "dead": "dead:",  # zset per queue: id -> when it died
    "seconds": "seconds:",  # zset per queue: second -> itself, for each that has or had a bucket
    # hash per queue: second -> how many tasks were put into its bucket and not withdrawn, 'all' -> their sum,
    # 'void:second' -> how many of the bucket's entries are void
    "sizes": "sizes:",
    "bucket": "bucket:",  # list per queue and second ("queue:second"): ids, pushed on the left, taken on the right
    "alarm": "alarm:",  # string per queue and task ("queue:id") that expires when the task is due
    "wanted": "wanted:",  # zset per tmp set, within one transaction only: ids that the dispatcher tries to take
    "tmp": "tmp:",  # zset per dispatcher, batch and queue ("dispatcher:batch:queue"): id -> due_at, on its way to READY
    "serves": "serves:",  # zset per set of queues that some workers serve (store/crowds.py): queue -> its place
    "held": "held:",  # list per worker: ids it holds, started or not
    "supervisor": "supervisor:",  # hash per supervisor: what it is and serves (engines.py)
    "journal": "journal:",  # list per first hex digit of SHA-1(id): what happened to tasks lately (journal.py)
}
_HEADS = "heads:"  # zset per strategy: queue -> when its first task is due, of queues with tasks in the index
_TIMER = "timer:"  # zset per strategy (`buckets` has another index) and queue ("strategy:queue"): id -> due_at


def unique_name(role: str) -> str:
    """A name for this process, never used again: claims of a dead process must not look like its successor's."""
    host = "".join(c if c.isalnum() or c == "-" else "-" for c in socket.gethostname())[:24] or "host"
    return f"{role}.{host}.{os.getpid()}.{secrets.token_hex(6)}"


def childs_name(role: str, supervisor: str, number: int) -> str:
    """The name of the child with this ``number`` of ``supervisor``, which has no pid before it is started."""
    return f"{names_of_children(role, supervisor)}{number}"


def number_of_child(name: str) -> int:
    """The number in the ``name`` of a child."""
    return int(name.rpartition(".")[2])


def names_of_children(role: str, supervisor: str) -> str:
    """The beginning that the names of all children of ``supervisor`` of one role share, and no other names have."""
    _, host, _, unique = supervisor.split(".")
    return f"{role}.{host}.{unique}."


@dataclass(frozen=True)
class Keys:
    """The key names of one namespace."""

    namespace: str
    prefix: str = field(init=False)

    def __post_init__(self) -> None:
        check_name("namespace", self.namespace)
        object.__setattr__(self, "prefix", f"dueq:{{{self.namespace}}}:")

    def plain(self, name: str) -> str:
        """A key of which the namespace has one, by its name in the table above."""
        return self.prefix + _PLAIN[name]

    def of(self, family: str, name: str) -> str:
        """A key of which there is one per queue or worker, by its family in the table above."""
        return self.prefix + _PER_NAME[family] + name

    def timer(self, strategy: str, queue: str) -> str:
        """The zset of due times of ``strategy``. Each strategy has its own: in a migration two have an index."""
        return f"{self.prefix}{_TIMER}{strategy}:{queue}"

    def heads(self, strategy: str) -> str:
        """The zset in which ``strategy`` keeps when the first task of each queue is due, if it keeps one."""
        return f"{self.prefix}{_HEADS}{strategy}"

    @staticmethod
    def lease(queue: str, task_id: str) -> str:
        """A task's member in ``leased``: names of queues have no colon."""
        return f"{queue}:{task_id}"

    def record(self, task_id: str) -> str:
        """The hash that holds this task's record."""
        return self.of("record", _digest(task_id)[:SHARD_DIGITS])

    def journal(self, task_id: str) -> str:
        """The list that holds what happened to this task."""
        return self.of("journal", _digest(task_id)[0])

    def journals(self) -> list[str]:
        """Every list of what happened."""
        return [self.of("journal", f"{digit:x}") for digit in range(16)]

    def records(self) -> Iterator[str]:
        """Every hash that may hold records."""
        for shard in range(16**SHARD_DIGITS):
            yield self.of("record", f"{shard:0{SHARD_DIGITS}x}")

    def bell_of(self, worker: str) -> str:
        """The list where a wake-up reaches this worker alone: no queue has such a name."""
        return self.of("wakeup", f"@{worker}")

    def singles(self) -> list[str]:
        """Every key of which the namespace has one."""
        return [self.prefix + name for name in _PLAIN.values()]

    def of_queue(self, queue: str) -> list[str]:
        """Every key that belongs to one queue, without those of the strategy's index."""
        return [self.of(family, queue) for family in ("ready", "wakeup", "leased_before", "dead")]


def _digest(task_id: str) -> str:
    return hashlib.sha1(task_id.encode(errors=LENIENT), usedforsecurity=False).hexdigest()


_DIGEST = """local digested, digest_of_it
local function digest(name)
  if name ~= digested then digested, digest_of_it = name, redis.sha1hex(name) end -- mostly it is the same name again
  return digest_of_it
end"""


def lua_names() -> str:
    """The same names as Lua functions over the prefix ``P``, of the strategy ``STRATEGY``, for every script's head."""
    lines = [_DIGEST]
    lines += [f"local function key_{name}() return P .. '{suffix}' end" for name, suffix in _PLAIN.items()]
    lines.append(f"local function key_heads() return P .. '{_HEADS}' .. STRATEGY end")
    lines.append(f"local function key_timer(queue) return P .. '{_TIMER}' .. STRATEGY .. ':' .. queue end")
    for family, suffix in _PER_NAME.items():
        digits = {"record": SHARD_DIGITS, "journal": 1}.get(family)
        if digits is not None:
            expression = f"P .. '{suffix}' .. string.sub(digest(name), 1, {digits})"
        else:
            expression = f"P .. '{suffix}' .. name"
        lines.append(f"local function key_{family}(name) return {expression} end")
    return "\n".join(lines)
