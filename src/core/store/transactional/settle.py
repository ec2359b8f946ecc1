"""The writes that end a started claim, or start a held one, without scripts."""

from __future__ import annotations

from ...client.transactions import Transactions
from ...schema.record import Record, readable_record
from ...schema.states import CLAIMED, State
from ..again import decode_again
from ..values import Outcome, Settled
from .edit import Edit

_SAFE_LEASE_US = 1_000_000


def settle(
    edit: Edit, worker: str, outcome: Outcome, raw: bytes | None, again: bytes | None, now_us: int
) -> tuple[Settled, Record | None]:
    """Settle ``outcome``, of a claim of ``worker``; returns what became of it, and the task if it is scheduled again.

    ``raw`` is the task's record, which is watched, and ``again`` the next run that it asked for.
    """
    record = readable_record(outcome.claim.id, raw)
    refused = refusal(raw, record, outcome.claim, worker)
    if record is None or refused:
        return refused, None
    record = record.started()  # its worker began it, since it settles it, whether or not the start got here
    edit.let_go(record)
    following = None if outcome.runs_on else decode_again(record.id, again)
    if outcome.is_over and following is None:
        edit.erase(record)
    elif outcome.kind == "dead":
        edit.bury_run(record, outcome.reason, now_us, following, token=record.token)
    if following is not None:
        follower = edit.follow(following, record.token, now_us)
        edit.add(follower)
        return "done", follower
    if outcome.runs_on:
        following = _run_on(record, outcome, now_us)
        edit.save(following)
        edit.add(following)
        return "done", following
    return "done", None


def _run_on(record: Record, outcome: Outcome, now_us: int) -> Record:
    """The task as it waits for its next start."""
    due_us = max(now_us, outcome.due_us or now_us + outcome.delay_us)
    waits = record._replace(state=State.SCHEDULED, since_us=0, worker="", due_us=due_us)
    if outcome.kind == "retry":
        return waits._replace(cause="retry", retries=record.retries + 1)
    return waits._replace(cause="retry" if record.format == "1" else "snoozed", starts=record.starts - 1)


def refusal(raw: bytes | None, record: Record | None, claim: Record, worker: str) -> Settled:
    """Why ``worker`` cannot settle ``claim``, now that its record is ``record``, read from ``raw``; empty if it can."""
    if raw is None:
        return "missing"
    if record is None:
        return "stale"
    if record.token != claim.token:
        return "stale"
    if record.state not in CLAIMED:
        return "repeated"
    return "" if record.worker == worker else "stale"


def start(edit: Edit, worker: str, claim: Record, raw: bytes | None, until_us: int) -> Record | None:
    """Start a claim that ``worker`` holds, leased until ``until_us``; None if it is not this worker's any more."""
    record = readable_record(claim.id, raw)
    if record is None or record.state not in CLAIMED or (record.token, record.worker) != (claim.token, worker):
        return None
    started = record.started()
    if record.state == State.HELD:  # else the step that took it started all
        edit.save(started)
    edit.lease(started, until_us)
    return started


def ack_when_full(transactions: Transactions, edit: Edit, worker: str, claim: Record, now_us: int) -> Settled | None:
    """An ack at maxmemory, where Redis refuses all commands in MULTI, but not plain commands that only free memory.

    Nobody else touches a claim while its lease lasts, so until then no transaction is needed. None if the lease ends
    too soon for that: then the ack has to wait for memory.
    """
    key, lease = edit.keys.record(claim.id), edit.keys.lease(claim.queue, claim.id)
    raw, end, again = transactions.trip(
        [
            ("HGET", key, claim.id),
            ("ZSCORE", edit.keys.plain("leased"), lease),
            ("HEXISTS", edit.keys.plain("again"), claim.id),
        ]
    )
    record = readable_record(claim.id, raw)
    refused = refusal(raw, record, claim, worker)
    if record is None or refused:
        return refused
    if again or end is None or float(end) < now_us + _SAFE_LEASE_US:
        return None
    edit.erase(record)  # first: if this process dies here, the steps that find the rest clear it away
    edit.let_go(record)
    transactions.trip(edit.commands)
    return "done"
