"""Tying the life of a process to its parent's."""

from __future__ import annotations

import contextlib
import os
import signal

import multiprocess

from .prctl import prctl

_PR_SET_PDEATHSIG = 1


def end_with_parent(how: signal.Signals = signal.SIGKILL) -> None:
    """Ask Linux to send ``how`` to this process when the thread that started it ends; elsewhere do nothing."""
    prctl(_PR_SET_PDEATHSIG, how)


def reap_orphans() -> None:
    """Wait for zombies that are not our children: PID 1 of a container inherits every orphan.

    Call it right after waiting for our own children: if one of them has died since, this stops until the next call.
    """
    ours = {process.pid for process in multiprocess.active_children()}
    with contextlib.suppress(ChildProcessError):  # there is no child at all
        while (dead := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            if dead.si_pid in ours:
                return
            os.waitpid(dead.si_pid, os.WNOHANG)


def stop_with_parent() -> None:
    """For ``preexec_fn``: SIGTERM when the parent ends, however it does."""
    end_with_parent(signal.SIGTERM)
