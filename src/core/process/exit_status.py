"""How a child tells its supervisor why it ended."""

from __future__ import annotations

from enum import IntEnum


class ExitStatus(IntEnum):
    """Why a child ended. Any other exit status, or a signal, is a death."""

    STOPPED = 0
    """It was asked to stop, and left nothing behind."""

    FAILED = 1
    """It met an error that nobody caught."""

    BOOT_FAILED = 78
    """It could not begin: EX_CONFIG of sysexits.h."""

    DISPLACED = 79
    """Its strategy does not own the namespace any more, or this version of dueq must not write there any more."""

    RECYCLED = 80
    """A worker that has reached its limit of tasks or memory, and holds nothing any more."""

    NO_ROOM = 81
    """It could not begin, since memory, files or processes ran out: that may pass, and is not its fault."""
