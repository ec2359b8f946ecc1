"""Files of the user that hide modules of dueq's dependencies or of Python itself: queue.py, or redis.py.

This module imports next to nothing: it is needed when an import has failed.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

_NEEDED = frozenset(
    {"redis", "hiredis", "multiprocess", "dill", "prometheus_client", "psutil", "setproctitle", "typer", "rich"}
    | {"cattrs", "attrs", "attr"}
)
_CHILDREN_IMPORT = (
    "import dueq.core.supervisor.roles, dueq.core.supervisor.child; "
    "import dueq.core.worker.worker, dueq.core.dispatcher.dispatcher"
)  # fmt: skip
_TRIAL_S = 30.0


@contextlib.contextmanager
def imports_of_ours() -> Iterator[None]:
    """If an import inside the ``with`` fails because of such a file, the ImportError names the file."""
    try:
        yield
    except (ImportError, AttributeError) as error:
        if files := hiding_loaded():
            raise ImportError(complaint(files)) from error
        raise


def hiding(directory: str) -> list[str]:
    """The files in ``directory`` that stand in the way of modules of the same names."""
    found = []
    for name in sorted(_NEEDED | sys.stdlib_module_names):
        for path in (os.path.join(directory, f"{name}.py"), os.path.join(directory, name, "__init__.py")):  # noqa: PTH118
            loaded = getattr(sys.modules.get(name), "__file__", None)
            if os.path.isfile(path) and (loaded is not None or name in _NEEDED):  # noqa: PTH113
                found.append(path)
    return found


def hiding_loaded() -> list[str]:
    """The files that were imported already, in place of what dueq needs."""
    places = {os.path.realpath(place or ".") for place in sys.path[:1]}
    return [
        file
        for name in sorted(_NEEDED | sys.stdlib_module_names)
        if (file := getattr(sys.modules.get(name), "__file__", None)) and _place(file) in places
    ]


def breaks_children(directory: str) -> bool:
    """Whether a child process, which looks for modules in ``directory`` first, cannot import what it needs."""
    import subprocess

    program = f"import sys; sys.path.insert(0, {directory!r}); {_CHILDREN_IMPORT}"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(place for place in sys.path if place != directory)}
    tried = subprocess.run(
        [sys.executable, "-c", program],
        cwd="/",
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=_TRIAL_S,
        check=False,
    )
    return tried.returncode != 0


def complaint(files: list[str]) -> str:
    """The message for the user."""
    names = ", ".join(files)
    return (
        f"{names} {'hides a module' if len(files) == 1 else 'hide modules'} of the same name that dueq needs: rename "
        f"{'it' if len(files) == 1 else 'them'}"
    )


def _place(file: str) -> str:
    directory, base = os.path.split(os.path.realpath(file))
    return os.path.dirname(directory) if base == "__init__.py" else directory  # noqa: PTH120
