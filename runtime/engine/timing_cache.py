"""What TensorRT learnt about a GPU's kernels while it built, kept for its next build there.

It lies in the cache of engines as an entry of its own that is no engine: private, digest-checked, bounded and pruned as
they are, for one kind and version of TensorRT, one GPU and one driver. It stands for no tower, so nothing ever runs it.
"""

from __future__ import annotations

import datetime
from typing import Final

from .cache import EngineCache
from .entry import CachedEngine, GateRecord
from .fingerprint import Fingerprint
from .machine import Machine

TIMINGS: Final = "kernel timings"
"""Its precision, in a fingerprint."""

FILE: Final = "timing.cache"

MOST_BYTES: Final = 256 << 20
"""One that has grown beyond is begun anew: a tower's takes some megabytes."""

_NO_ENGINE = GateRecord(False, False, "none", -1.0, -1.0, 0, None, None, "no engine: it makes the next build faster")


def is_timing_cache(entry: CachedEngine) -> bool:
    """Whether an entry of the cache is no engine, but what a builder learnt."""
    return entry.fingerprint.precision == TIMINGS


class TimingCache:
    """What one kind of TensorRT learnt on this machine's GPU.

    Args:
        cache: Where engines are kept.
        machine: This machine.
        engine: tensorrt.
    """

    def __init__(self, cache: EngineCache, machine: Machine, engine: str) -> None:
        self._cache = cache
        self._print: Fingerprint = machine.fingerprint(engine, "", TIMINGS)

    def read(self) -> bytes:
        """What is kept, compared with its digest; empty where there is nothing.

        Raises:
            EngineCacheError: The cache can't be read, or what is kept was altered.
        """
        entry = self._cache.find(self._print)
        return b"" if entry is None or FILE not in entry.files else self._cache.read(entry, FILE)

    def keep(self, content: bytes) -> None:
        """Keep this in place of what was there; what is empty or too large is not kept.

        Raises:
            EngineCacheError: The cache can't be written, or another process is writing this.
        """
        if not 0 < len(content) <= MOST_BYTES:
            return
        with self._cache.building(self._print) as draft:
            (draft.folder / FILE).write_bytes(content)
            draft.commit(_entry(self._print))

    def forget(self) -> None:
        """Take it out."""
        self._cache.remove(self._print)


def _entry(fingerprint: Fingerprint) -> CachedEngine:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return CachedEngine(fingerprint, "TensorRT's kernel timings", now, 0.0, _NO_ENGINE, 0.0, 1)
