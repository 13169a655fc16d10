"""A child process for work that could crash a native library.

A damaged slide, or a tower that a builder of engines can't take, can end the process from inside a C library, past
every exception handler. The parent stays out of it, so there is always somebody left to say what happened.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType

from .errors import NativeCrashError, StoppedError

_MARK = "HAIKU_EDGE_CHILD"
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
"""Large allocations in pages of 2 MB: of 4 kB each, a gigabyte of weights costs as much to bring in as to hash."""

_PR_SET_PDEATHSIG = 1
_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Work:
    """What a child does, for the messages.

    Attributes:
        subject: What it works on.
        likely: What a crash most likely comes of, and what to do.
        kept: What a stop or a crash does not cost.
    """

    subject: str
    likely: str
    kept: str


def reading_slide(name: str) -> Work:
    """A slide is read and its tiles are embedded."""
    return Work(
        subject=name,
        likely="The file is most likely damaged; check it against its original, or copy it again.",
        kept="Finished tiles are kept: the same command goes on from there.",
    )


def reading_spots(name: str) -> Work:
    """The files and images of spots are read, and a dataset is written."""
    return Work(
        subject=name,
        likely="One of its files is most likely damaged; check them against their originals, or copy them again.",
        kept="No dataset was written.",
    )


def building_engines() -> Work:
    """Engines are built by the libraries that will run them."""
    return Work(
        subject="the engines",
        likely="The library that builds this engine can't take the tower; leave it out with --engine or --precision.",
        kept="Engines that were finished are kept.",
    )


def in_child() -> bool:
    """Whether this process is such a child. The first call in one ties its life to the parent's."""
    if _MARK not in os.environ:
        return False
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    return True


def run_in_child(module: str, arguments: Sequence[str], work: Work) -> int:
    """Run `python -m module arguments` in a child that shares our terminal, and wait for it.

    Args:
        module: The module to run.
        arguments: Its command line.
        work: What it does, for the messages.

    Returns:
        The child's exit code.

    Raises:
        StoppedError: The child was stopped, from the keyboard or by another process.
        NativeCrashError: Another signal ended the child.
    """
    # -P keeps the working directory, which may hold anything, off the import path.
    command = [sys.executable, "-P", "-m", module, *arguments]
    child = subprocess.Popen(command, env={**HUGE_PAGES, **os.environ, _MARK: "1"})

    def pass_on(number: int, frame: FrameType | None) -> None:
        child.send_signal(number)

    previous = {number: signal.signal(number, pass_on) for number in _STOPPING}
    try:
        status = child.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if -status in _STOPPING or status == StoppedError.exit_code:
        raise StoppedError(f"The run on {work.subject} was stopped. {work.kept}")
    if status < 0:
        raise NativeCrashError(_describe(-status, work))
    return status


def _describe(number: int, work: Work) -> str:
    if number == signal.SIGKILL:
        ended = f"The process that worked on {work.subject} was killed from outside, perhaps for lack of memory."
        return f"{ended} {work.kept}"
    return (
        f"A native library crashed ({signal.Signals(number).name}) while it worked on {work.subject}. "
        f"{work.likely} {work.kept}"
    )
