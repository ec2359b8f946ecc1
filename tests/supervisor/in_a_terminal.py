"""Run a command in the foreground of a terminal of its own.

At SIGUSR1, Ctrl+C is typed; at SIGUSR2 the terminal is closed.
"""

from __future__ import annotations

import os
import pty
import signal
import sys


def main() -> None:
    log = os.dup(2)
    pid, terminal = pty.fork()
    if pid == 0:
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.execvp(sys.argv[1], sys.argv[1:])
    signal.signal(signal.SIGUSR1, lambda *_: os.write(terminal, b"\x03"))
    signal.signal(signal.SIGUSR2, lambda *_: os.close(terminal))
    while True:
        try:
            _, status = os.waitpid(pid, 0)
        except InterruptedError:
            continue
        sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
