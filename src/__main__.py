"""The program ``dueq``. Kept light: every child process that is spawned imports this module again."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Sequence

_SECRETS = re.compile(
    r"(?<=://)\S*@|(?<=[?&]password=)[^&\s]*|(?<=[?&]username=)[^&\s]*|(?<=_password=)[^&\s]*|(?<=_username=)[^&\s]*"
)


def title(arguments: Sequence[str]) -> str:
    """What ps shows for ``dueq`` with these arguments: the same words, without credentials.

    This is stricter than ``redaction.redact``, since a malformed address may have a password anywhere before its last
    ``@``. It does not import ``redact``, so that the title changes as early as possible.
    """
    shown = (_SECRETS.sub(lambda found: "***@" if found[0].endswith("@") else "***", word) for word in arguments)
    return " ".join(("dueq", *shown))


def main() -> None:
    """Hide credentials from the process list, then hand over to the command line."""
    from .core.process.descriptors import open_missing

    open_missing()  # before anything else is opened
    from setproctitle import setproctitle

    setproctitle(title(sys.argv[1:]))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not closed
            stream.reconfigure(errors="backslashreplace")  # in a locale that has no such character

    try:
        from .cli.commands import built, wanted

        built(wanted(sys.argv[1:]))(prog_name="dueq")
    except KeyboardInterrupt:  # during the imports; once a command runs, the command handles it
        sys.exit(130)
    except OSError as error:  # a full disk, no directory for temporary files, no working directory, ...
        from .cli.exits import Exit, refusal_of_the_system
        from .cli.output import complain

        complain(refusal_of_the_system(error))
        sys.exit(Exit.USAGE)
    finally:
        _discard_unwritable_output()


def _discard_unwritable_output() -> None:
    """Discard output that cannot be written, on a full disk for example.

    The error was reported already. The interpreter would report it again at exit, and change the exit status.
    """
    for descriptor, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)
        except ValueError:  # closed
            continue


if __name__ == "__main__":
    main()
