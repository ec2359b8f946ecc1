"""The program ``dueq``. Kept light: every child process that is spawned imports this module again."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

_SECRETS = re.compile(
    r"(?<=://)\S*@|(?<=[?&]password=)[^&\s]*|(?<=[?&]username=)[^&\s]*|(?<=_password=)[^&\s]*|(?<=_username=)[^&\s]*"
)


def title(arguments: Sequence[str]) -> str:
    """What ps shows for ``dueq`` with these arguments: the same words, without credentials.

    Stricter than ``connection.redact``, which it does not import: a wrong address may hide a password anywhere before
    its last ``@``, and the sooner the title changes the better.
    """
    shown = (_SECRETS.sub(lambda found: "***@" if found[0].endswith("@") else "***", word) for word in arguments)
    return " ".join(("dueq", *shown))


def main() -> None:
    """Hide credentials from the process list, then hand over to the command line."""
    from .core.descriptors import open_missing

    open_missing()  # before anything else is opened
    from setproctitle import setproctitle

    setproctitle(title(sys.argv[1:]))

    try:
        from .cli.app import app

        app(prog_name="dueq")
    except KeyboardInterrupt:  # while all of that is imported; later the commands see to it
        sys.exit(130)


if __name__ == "__main__":
    main()
