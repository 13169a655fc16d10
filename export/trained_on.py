"""Whom the towers of a bundle learned from, as a part of the bundle."""

from __future__ import annotations

from haiku_edge.runtime.bundle import KnownPatients, TrainingSection

TRAINING_FILE = "training/patients.json"


def training_part(known: KnownPatients) -> tuple[TrainingSection | None, dict[str, bytes]]:
    """What a bundle says of whom its towers learned from: the manifest's section, and the file; neither if not known.

    Args:
        known: From a checkpoint, or `KnownPatients.of_names(names)` where everybody is at hand.
    """
    if not known:
        return None, {}
    section = TrainingSection(
        file=TRAINING_FILE, patients=len(known.train), held_out=len(known.held_out), complete=known.complete
    )
    return section, {TRAINING_FILE: known.to_json()}
