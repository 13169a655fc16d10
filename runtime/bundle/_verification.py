"""Large files of a bundle, verified while something else goes on."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from ..errors import BundleError

Check = Callable[[str, Callable[[], bool]], bool]
"""Verifies the file of a name, and asks now and then whether to give up; False where it did. Raises BundleError."""


class Verification:
    """Verifies files in threads, in the order in which they are named, and has verified all when its block ends.

    Whoever reads a file himself takes it off the threads' hands with `read`, so that its bytes are hashed once. A
    block that ends in an error does not wait. Where the machine has no thread left, the block's end verifies.

    Args:
        check: Verifies one file.
        names: The files; those that are likely to be read last.
    """

    def __init__(self, check: Check, names: Sequence[str]) -> None:
        self._check = check
        self._refusals: list[BundleError] = []
        self._settled: set[str] = set()
        self._taken: set[str] = set()
        self._stopped = False
        self._pool = ThreadPoolExecutor(max(1, min(len(names), len(os.sched_getaffinity(0)))), "verification")
        self._checks = {name: self._start(name) for name in names}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._stopped = True
            self._pool.shutdown(cancel_futures=True)

    def read(self, name: str, read: Callable[[], bytes]) -> bytes:
        """What `read` gives, which verifies it; where it raises, the block raises so too when it ends."""
        self._taken.add(name)
        if name in self._checks:
            self._checks[name].cancel()
        try:
            content = read()
        except BundleError as error:
            self._refusals.append(error)
            raise
        self._settled.add(name)
        return content

    def _start(self, name: str) -> Future[bool]:
        try:
            return self._pool.submit(self._check, name, lambda: self._stopped or name in self._taken)
        except RuntimeError:  # no thread can be started: whoever ends the block verifies the file
            waiting: Future[bool] = Future()
            waiting.cancel()
            return waiting

    def _finish(self) -> None:
        for refusal in self._refusals:
            raise refusal
        for name, check in self._checks.items():
            if name not in self._settled and (check.cancelled() or not check.result()):
                self._check(name, lambda: False)
