"""What a producer is told of tasks that were not scheduled, or perhaps not."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ..errors import DueqError, ServerRefused, ServerUnavailable
from .task import Call, Handle

log = logging.getLogger("dueq.producer")


def warn_of(handles: Sequence[Handle]) -> None:
    """Say in the log what was not scheduled: it is easily overlooked."""
    if old := [handle for handle in handles if not handle.created]:
        shown = ", ".join(f"{handle.id} ({handle.state})" for handle in old[:5]) + (", …" if len(old) > 5 else "")
        log.warning("%d of %d tasks not scheduled, since their ids are in use: %s", len(old), len(handles), shown)


def with_ids(error: DueqError, wanted: Sequence[Call], handles: Sequence[Handle], per_trip: int) -> DueqError:
    """Add what is known to ``error``, which ended the scheduling of ``wanted``.

    They were sent ``per_trip`` at a time; ``handles`` are of the first tasks.
    """
    error.ids, error.handles = tuple(call.id for call in wanted), tuple(handles)
    if len(handles) == len(wanted):
        return error  # all are scheduled: it says what is wrong with that
    if len(wanted) == 1:
        known = f"whether task {wanted[0].id} is scheduled is not known" if _is_in_doubt(error) else ""
        if error.untouched:
            known = f"task {wanted[0].id} is not scheduled, nothing was written"
        again = f"with id={wanted[0].id!r} it is safe to ask again"
    else:
        unsent = max(0, len(wanted) - len(handles) - per_trip)
        known = f"{len(handles):,} of {len(wanted):,} tasks are scheduled (error.handles)"
        if error.untouched:
            known += ", of the others none" if handles else ", nothing was written"
        elif _is_in_doubt(error):
            known += f", of the {len(wanted) - len(handles) - unsent:,} after them that is not known"
        again = "with the same ids (error.ids) it is safe to ask for all again"
    error.args = (f"{error}; {known}: {again}" if known else str(error),)
    return error


def _is_in_doubt(error: DueqError) -> bool:
    return isinstance(error, (ServerUnavailable, ServerRefused))
