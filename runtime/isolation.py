"""A child process for work on files that could crash a native library.

A damaged slide can end the process from inside a C library, past every exception handler. The parent stays out of it,
so there is always somebody left to say what happened.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from types import FrameType

from .errors import NativeCrashError

_MARK = "HAIKU_EDGE_CHILD"
_PR_SET_PDEATHSIG = 1


def in_child() -> bool:
    """Whether this process is such a child. The first call in one ties its life to the parent's."""
    if _MARK not in os.environ:
        return False
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    return True


def run_in_child(module: str, arguments: Sequence[str], subject: str) -> int:
    """Run `python -m module arguments` in a child that shares our terminal, and wait for it.

    Args:
        module: The module to run.
        arguments: Its command line.
        subject: What it works on, for the message.

    Returns:
        The child's exit code.

    Raises:
        NativeCrashError: A signal ended the child.
    """
    # -P keeps the working directory, which may hold anything, off the import path.
    command = [sys.executable, "-P", "-m", module, *arguments]
    child = subprocess.Popen(command, env={**os.environ, _MARK: "1"})

    def pass_on(number: int, frame: FrameType | None) -> None:
        child.send_signal(number)

    previous = signal.signal(signal.SIGTERM, pass_on)
    try:
        status = _wait(child)
    finally:
        signal.signal(signal.SIGTERM, previous)
    if status < 0:
        raise NativeCrashError(_describe(-status, subject))
    return status


def _wait(child: subprocess.Popen[bytes]) -> int:
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:
            # The terminal sends Ctrl-C to the child as well; it says its own goodbye.
            continue


def _describe(number: int, subject: str) -> str:
    kept = "Finished tiles are kept: the same command goes on from there."
    if number == signal.SIGKILL:
        return f"The process that read {subject} was killed from outside, perhaps for lack of memory. {kept}"
    if number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        return f"The run on {subject} was stopped. {kept}"
    return (
        f"A native library crashed ({signal.Signals(number).name}) while it worked on {subject}. "
        f"The file is most likely damaged; check it against its original, or copy it again. {kept}"
    )
