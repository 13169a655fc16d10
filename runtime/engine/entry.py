"""What the cache says about an engine: what it was built from, what its gate found, how fast it is."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .fingerprint import Fingerprint

ENTRY = "entry.json"
FORMAT = 2
"""Format 1 had another digest of its files; an engine of it is built again."""

MAX_ENTRY_BYTES = 1 << 20

EQUAL_COSINE = 1 - 1e-5
"""Least cosine of what differs from fp32 by no more than the order of its sums, or by what fp16 rounds."""


@dataclass(frozen=True, slots=True)
class GateRecord:
    """What an engine's gate found on this machine.

    Attributes:
        passed: Whether the engine may run.
        equals_fp32: Whether it gives what fp32 arithmetic in another order gives, which is all that `--strict` allows.
        rule: float or integer: what was asked of it.
        least_cosine: Least cosine to the fp32 reference over the golden cases.
        mean_cosine: Mean of the same.
        cases: How many golden cases.
        neighbour_overlap: Share of the 5 nearest patches that stay the same; None where no atlas was asked.
        biomarker_shift: Largest change of a slide's biomarker value, in standard deviations of the atlas; or None.
        reason: The verdict in words.
    """

    passed: bool
    equals_fp32: bool
    rule: str
    least_cosine: float
    mean_cosine: float
    cases: int
    neighbour_overlap: float | None
    biomarker_shift: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class FileRecord:
    """Digest (hex; see `pieces`) and size in bytes of one file of an engine."""

    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class CachedEngine:
    """One engine of the cache.

    Attributes:
        fingerprint: What it was built from and for.
        title: What a list calls it: the bundle and the tower.
        built: When, in UTC (ISO 8601).
        build_seconds: How long that took.
        gate: What its gate found.
        items_per_second: Tiles, texts or patches that it was measured to embed, at `batch`.
        batch: The batch at which it was timed.
        memory: Bytes of device memory that it takes; None where it is not known.
        files: Name → digest and size.
        note: What else there is to know of how it was built; mostly empty.
    """

    fingerprint: Fingerprint
    title: str
    built: str
    build_seconds: float
    gate: GateRecord
    items_per_second: float
    batch: int
    memory: int | None = None
    files: dict[str, FileRecord] = field(default_factory=dict)
    note: str = ""

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(record.size for record in self.files.values())


def entry_json(entry: CachedEngine) -> bytes:
    """The text of `entry.json`."""
    return json.dumps({"format": FORMAT, **asdict(entry)}, indent=2, allow_nan=False).encode()


def read_entry(folder: Path) -> CachedEngine | None:
    """What a folder says about its engine; None where it says nothing that can be trusted."""
    try:
        descriptor = os.open(folder / ENTRY, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            entry = _parse_entry(json.loads(stream.read(MAX_ENTRY_BYTES)))
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return entry if entry.fingerprint.key() == folder.name else None


def _parse_entry(document: dict[str, Any]) -> CachedEngine:
    """ValueError, TypeError or KeyError where it is none of this format."""
    values = dict(document)
    if values.pop("format") != FORMAT:
        raise ValueError("another format")
    files = {name: FileRecord(**record) for name, record in values.pop("files").items()}
    if any("/" in name or name in ("", ".", "..", ENTRY) for name in files):
        raise ValueError("a file outside the entry")
    entry = CachedEngine(
        fingerprint=Fingerprint.from_json(values.pop("fingerprint")),
        gate=GateRecord(**values.pop("gate")),
        files=files,
        **values,
    )
    numbers = (entry.items_per_second, entry.build_seconds, entry.gate.least_cosine, entry.gate.mean_cosine)
    texts = (entry.title, entry.built, entry.gate.rule, entry.gate.reason, entry.note)
    if not (
        all(isinstance(number, int | float) and math.isfinite(number) for number in numbers)
        and all(isinstance(text, str) for text in texts)
        and all(isinstance(flag, bool) for flag in (entry.gate.passed, entry.gate.equals_fp32))
        and isinstance(entry.batch, int)
        and entry.batch > 0
    ):
        raise ValueError("a value of another type")
    return entry
