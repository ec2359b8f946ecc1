"""A user's application whose tasks write into a ledger: ``dueq run dueq.chaos.watched:app``."""

from __future__ import annotations

import os

from ..core.app.loader import load
from ..core.config import REDIS_URL_VARIABLE
from . import OWN_APP_VARIABLE
from .recorded import recorded
from .redirect import redirected

_redirection = redirected(os.environ[REDIS_URL_VARIABLE])
_redirection.__enter__()  # until the process ends, since tasks may make Dueq objects, too
app = load(os.environ.get(OWN_APP_VARIABLE, ""))
for _name, _task in app.tasks.items():
    _task.function = recorded(_name, _task.function)
