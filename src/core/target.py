"""MODULE:APP, as given to ``dueq run``, to the application object."""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path

from .app import Dueq
from .errors import ConfigurationError


def load(target: str) -> Dueq:
    """Import the application. Raises ConfigurationError if the name is wrong or the import fails.

    The current directory is importable, as with ``python -m``.
    """
    module_name, _, attribute = target.partition(":")
    if not module_name or not attribute:
        raise ConfigurationError(f"{target!r} names no application: write MODULE:APP, such as shop.tasks:app")
    here = str(Path.cwd())
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
    except Exception as error:  # the module is the user's: anything may go wrong in it
        raise _failed(module_name, error) from error
    found = getattr(module, attribute, None)
    if not isinstance(found, Dueq):
        raise ConfigurationError(
            f"{target!r} is {'missing' if found is None else type(found).__name__}, not a Dueq "
            f"application: the module needs a line such as {attribute} = Dueq()"
        )
    return found


def _failed(module_name: str, error: Exception) -> ConfigurationError:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return ConfigurationError(
        f"importing {module_name} failed: {type(error).__name__}: {error} ({frame.filename}, line {frame.lineno})"
    )
