"""The name by which workers import the module of a function, also where that module is run as a program.

``python shop.py`` calls its module ``__main__``, and children of multiprocessing call it ``__mp_main__``; workers
import ``shop``. No worker would know a task that was named after ``__main__``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError

_PROGRAMS = ("__main__", "__mp_main__")
_IMPORTABLE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_ADVICE = "or give the task a name of its own: @app.task(name=…)"


def module_name(module: str | None, names: Mapping[str, Any]) -> str:
    """The name by which workers import ``module``, of the globals ``names``. Raises ConfigurationError if none can."""
    if module and module not in _PROGRAMS and not module.startswith("<"):
        return module
    spec = getattr(names.get("__spec__"), "name", None)
    if isinstance(spec, str) and spec not in _PROGRAMS:  # python -m
        return spec
    file = names.get("__file__")
    if not isinstance(file, str):
        raise ConfigurationError(
            f"a task is defined where no worker can import it (in a prompt, a notebook, or a program without a file): "
            f"put it into a module, {_ADVICE}"
        )
    return _of_program(Path(file).resolve())


def _of_program(file: Path) -> str:
    """The module name of a file that is run as a program: up to where its packages end, as Python imports it."""
    parts, root = [file.stem], file.parent
    while (root / "__init__.py").is_file():
        parts.insert(0, root.name)
        root = root.parent
    name, here = ".".join(parts), _here()
    if not _IMPORTABLE.fullmatch(name) or parts == ["__main__"]:
        raise ConfigurationError(
            f"{file} defines a task, but no worker can import it as a module: give the file a name such as shop.py, "
            f"{_ADVICE}"
        )
    if here is None or here not in root.parents or root in _importable_from(file.parent):
        return name
    longer = ".".join((*root.relative_to(here).parts, name))
    raise ConfigurationError(
        f"workers know the tasks of {file} as those of {name} or of {longer}, depending on where dueq run is started: "
        f"run it as python -m {longer} from {here}, or start it in {root}, {_ADVICE}"
    )


def _importable_from(script: Path) -> set[Path]:
    """Where Python looks for modules, but for the directory of the program itself, which it puts first."""
    places = [Path(place).resolve() for place in sys.path if place]
    return {*(places[1:] if places[:1] == [script] else places)}


def _here() -> Path | None:
    try:
        return Path.cwd().resolve()
    except OSError:  # it was deleted
        return None
