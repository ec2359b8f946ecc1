"""What becomes of a task that failed. Nothing here raises, whatever the task's exception and backoff do.

Both are the application's code. If an error of theirs could get out, one task would end one worker after another,
without ever becoming a dead letter.
"""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from typing import Any

from ..app.policy import LONGEST_S, Backoff, Failures, check_seconds
from ..app.task import Task
from ..app.verdicts import RetryIn, Snooze, Verdict
from ..client.safe_text import bounded
from ..clock import LAST_DUE_US, US, datetime_of
from ..errors import InvalidTask, NothingRan, WrongArguments
from ..schema.record import Record, task_of
from ..store.values import Outcome
from ..telemetry.logs import about

log = logging.getLogger("dueq.worker")

_REASON_CHARACTERS = 2000
_UNKNOWN = Failures()  # of a task that is not known here
_HOPELESS = (WrongArguments, NothingRan)
"""Errors that another try would meet again."""


def outcome_of(claim: Record, name: str, task: Task[..., Any] | None, error: BaseException) -> Outcome:
    """Another try, or a dead letter. ``task`` is None if no task of that ``name`` is known here."""
    policy, kind = _UNKNOWN if task is None else task.failures, type(error)
    if issubclass(kind, Verdict):
        with suppress(BaseException):  # a class of the application's may lack what dueq's have: then it is any error
            return _as_decided(claim, name, policy, error)
    if issubclass(kind, _HOPELESS):
        _say(logging.ERROR, "task %s (%s) cannot run, and is not tried again", claim, error, name)
        return Outcome(claim, "dead", reason=reason_of(error))
    if not policy.may_retry(kind):
        _say(logging.ERROR, "task %s (%s) failed, and is not tried again after such an error", claim, error, name)
        return Outcome(claim, "dead", reason=reason_of(error))
    if claim.retries >= policy.retries:
        _say(logging.ERROR, "task %s (%s) failed for good after %d retries", claim, error, name, claim.retries)
        return Outcome(claim, "dead", reason=reason_of(error))
    delay = delay_of(claim, name, task)
    _say(
        *(logging.WARNING, "task %s (%s) failed, retry %d of %d in %.1f s", claim, error),
        *(name, claim.retries + 1, policy.retries, delay),
    )
    return Outcome(claim, "retry", delay_us=int(delay * US), reason=reason_of(error))


def _as_decided(claim: Record, name: str, policy: Failures, verdict: BaseException) -> Outcome:
    """What the task itself decided. It is no failure of the code, so nobody needs its traceback."""
    if isinstance(verdict, Snooze):
        due_us, delay_us = _whole(verdict.due_us), _whole(verdict.delay_us)
        until = f"until {datetime_of(due_us)}" if due_us else f"for {delay_us / US:g} s"
        _say(logging.INFO, "task %s (%s) snoozes %s", claim, None, name, until)
        return Outcome(claim, "snooze", delay_us=delay_us, due_us=due_us, reason=_text_of(verdict))
    if isinstance(verdict, RetryIn) and claim.retries < policy.retries:
        seconds = check_seconds("RetryIn(…)", verdict.seconds)
        _say(
            *(logging.WARNING, "task %s (%s) asked for retry %d of %d in %.1f s: %s", claim, None),
            *(name, claim.retries + 1, policy.retries, seconds, _text_of(verdict)),
        )
        return Outcome(claim, "retry", delay_us=int(seconds * US), reason=_text_of(verdict))
    reason = _text_of(verdict) + (f" (after {claim.retries} retries)" if isinstance(verdict, RetryIn) else "")
    _say(logging.ERROR, "task %s (%s) is buried: %s", claim, None, name, reason)
    return Outcome(claim, "dead", reason=reason)


def _whole(micros: object) -> int:
    """``micros``, if Redis can keep it as a time: a class of the application's may have put anything there."""
    if type(micros) is not int or not 0 <= micros < LAST_DUE_US:
        raise InvalidTask(f"{micros!r} are no microseconds")
    return micros


def _text_of(verdict: BaseException) -> str:
    return bounded(str.encode(str(verdict), "utf-8", "backslashreplace").decode(), _REASON_CHARACTERS)


def misfired(claim: Record) -> Outcome:
    """The outcome of a task that is not run, since it has expired."""
    _say(
        *(logging.WARNING, "task %s (%s) is not run: it was to start by %s", claim, None),
        *(task_of(claim.body, "replace"), datetime_of(claim.expires_us)),
    )
    return Outcome(claim, "misfire")


def reason_of(error: BaseException) -> str:
    """The error's class and text, for a dead letter."""
    kind = _class_name(error)
    try:
        # __str__ may return an object that overrides methods of str: call those of str itself
        text = str.encode(str(error), "utf-8", "backslashreplace").decode()
    except BaseException as broken:  # noqa: BLE001  # the task's own exception class decides what happens here
        text = f"(its text raised {_class_name(broken)})"
    return bounded(
        f"{kind}: {text}" if text else kind, _REASON_CHARACTERS
    )  # Redis's readers see no more than the log's


def delay_of(claim: Record, name: str, task: Task[..., Any] | None) -> float:
    """Seconds until the next try: as the task's backoff says, or the default if that is nonsense."""
    default = Backoff().delay(claim.retries)
    if task is None:
        return default
    try:
        delay: Any = task.failures.backoff.delay(claim.retries)
        if isinstance(delay, (int, float)) and math.isfinite(delay) and 0 <= delay <= LONGEST_S:
            return float(delay)
        trouble = f"is {delay!r}"[:_REASON_CHARACTERS]
    except BaseException as broken:  # noqa: BLE001  # other people's code
        trouble = f"raised {reason_of(broken)}"
    _say(
        *(logging.ERROR, "task %s (%s): its backoff's delay(%d) %s, but must be seconds, from 0 to %d", claim, None),
        *(name, claim.retries, trouble, LONGEST_S),
    )
    return default


def _class_name(error: BaseException) -> str:
    # not type(error).__name__, which a metaclass may override
    name: str = type.__dict__["__name__"].__get__(type(error))
    return name


def _say(level: int, text: str, claim: Record, error: BaseException | None, *arguments: Any) -> None:
    try:
        log.log(level, text, claim.id, *arguments, exc_info=error, extra=about(claim))
    except BaseException:  # noqa: BLE001  # a log handler of the application may raise, too
        if error is not None:
            _say(level, f"{text}: %s", claim, None, *arguments, reason_of(error))
