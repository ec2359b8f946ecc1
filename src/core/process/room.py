"""Whether something failed because memory, files, threads or processes ran out: that passes, so it is tried again."""

from __future__ import annotations

import errno

_WANTING = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOBUFS}


def wants_room(error: BaseException | None) -> bool:
    """Whether ``error``, or its cause, says that there was no room."""
    seen = set[int]()
    while error is not None and id(error) not in seen:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _WANTING):
            return True
        if isinstance(error, RuntimeError) and str(error).startswith("can't start new thread"):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False
