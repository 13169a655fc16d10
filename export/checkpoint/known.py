"""Whom weights have seen: the digests of patients beside them, or in the account of their training."""

from __future__ import annotations

import json
from pathlib import Path

from haiku_edge.runtime.atomic import atomic_write
from haiku_edge.runtime.bundle import KnownPatients
from haiku_edge.runtime.errors import CheckpointLayoutError

PATIENTS_FILE = "patients.json"
RUN_FILE = "run.json"
DIGESTS_KEY = "patient_digests"
"""Where `run.json` holds what `patients.json` holds too."""


def write_known(folder: Path, known: KnownPatients) -> None:
    """Write `patients.json` beside weights."""
    atomic_write(folder / PATIENTS_FILE, known.to_json())


def read_known(folder: Path) -> KnownPatients:
    """The patients that the weights of a folder have seen, as far as `patients.json`, else `run.json`, says.

    Raises:
        CheckpointLayoutError: The file is damaged.
    """
    file = folder / (PATIENTS_FILE if (folder / PATIENTS_FILE).is_file() else RUN_FILE)
    if not file.is_file():
        return KnownPatients()
    try:
        data = file.read_bytes()
        if file.name == RUN_FILE:
            stated = json.loads(data).get(DIGESTS_KEY)
            return KnownPatients() if stated is None else KnownPatients.from_json(json.dumps(stated).encode())
        return KnownPatients.from_json(data)
    except (OSError, AttributeError, ValueError):
        raise CheckpointLayoutError(f"{file.name} of {folder.name} is damaged. Copy the folder again.") from None
