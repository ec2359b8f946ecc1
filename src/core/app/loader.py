"""MODULE:APP, as given to ``dueq run``, to the application object."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from pathlib import Path

from ..errors import ConfigurationError
from ..process.shadowed import breaks_children, complaint, hiding
from .application import Dueq


def load(target: str) -> Dueq:
    """Import the application. Raises ConfigurationError if the name is wrong or the import fails.

    The current directory is importable, as with ``python -m``.
    """
    module_name, _, attribute = target.partition(":")
    if not module_name or not attribute:
        raise ConfigurationError(f"{target!r} names no application: write MODULE:APP, such as shop.tasks:app")
    if (dotted := _dotted(module_name)) != module_name:
        advice = f"write {dotted}:{attribute}, where {dotted} can be imported" if dotted else "write its name"
        raise ConfigurationError(f"{target!r} names a file, where the name of a module belongs: {advice}")
    here = _here()
    _see_that_nothing_is_hidden(here)
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise ConfigurationError(
                f"there is no module {error.name!r} (looked in {here} and the installed packages)"
            ) from None
        raise _failed(module_name, error) from error
    except SystemExit as error:
        frames = traceback.extract_tb(error.__traceback__)
        where = next((frame for frame in reversed(frames) if frame.filename.startswith(here)), frames[-1])
        raise ConfigurationError(
            f"importing {module_name} ended the program (sys.exit({error.code!r}), {where.filename}, line "
            f"{where.lineno}): code that is to run only when the file is the program belongs under "
            f'if __name__ == "__main__":'
        ) from None
    except Exception as error:  # the module is the user's: anything may go wrong in it
        raise _failed(module_name, error) from error
    found = getattr(module, attribute, None)
    if not isinstance(found, Dueq):
        raise ConfigurationError(
            f"{target!r} is {'missing' if found is None else type(found).__name__}, not a Dueq "
            f"application: the module needs a line such as {attribute} = Dueq()"
        )
    return found


def _dotted(module_name: str) -> str:
    """``module_name`` as the name of a module, if it is the path of a file."""
    path = module_name.replace(os.sep, "/").removesuffix(".py")
    return ".".join(part for part in path.replace("/", ".").split(".") if part)


def _see_that_nothing_is_hidden(here: str) -> None:
    """Child processes look in ``here`` first, also for what dueq needs; this one has loaded that already."""
    if (files := hiding(here)) and breaks_children(here):
        raise ConfigurationError(complaint(files))


def _here() -> str:
    try:
        return str(Path.cwd())
    except OSError as error:
        raise ConfigurationError(
            f"there is no working directory any more ({error.strerror}): change to one that exists, the one to import "
            f"the application from"
        ) from None


def _failed(module_name: str, error: Exception) -> ConfigurationError:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return ConfigurationError(
        f"importing {module_name} failed: {type(error).__name__}: {error} ({frame.filename}, line {frame.lineno})"
    )
