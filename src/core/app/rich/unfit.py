"""The error inside this package: a value that does not fit, and where in an argument it is."""

from __future__ import annotations

from ...errors import TaskTimeout


class Unfit(ValueError):
    """``reason`` says what is wrong with the value at ``path``, which begins behind the argument's name.

    ``cause`` is the exception of the application's own classes, if one raised it.
    """

    def __init__(self, reason: str, path: str = "", cause: Exception | None = None) -> None:
        super().__init__(reason)
        self.reason, self.path, self.cause = reason, path, cause


def inside(path: str, error: Exception) -> Unfit:
    """The ``error`` that a value at ``path`` met, as it looks from outside of that value.

    The task's soft timeout may be raised at any place: it is not an error of a value, and goes on.
    """
    if isinstance(error, TaskTimeout):
        raise error
    if isinstance(error, Unfit):
        return Unfit(error.reason, path + error.path, error.cause)
    if isinstance(error, RecursionError):
        return Unfit("is nested too deep for what is left of the stack here")  # a path would be as long
    return Unfit(f"is refused ({type(error).__name__}: {error})", path, error)
