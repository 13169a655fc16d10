"""A bundle in a few lines, for people."""

from __future__ import annotations

from typing import Any

from .open import Bundle
from .sections import AtlasSection, SpadeSection


def bundle_info(bundle: Bundle) -> dict[str, Any]:
    """What `haiku-edge bundle info` shows: plain values, ready for JSON, in the order in which they are read best.

    Sizes are bytes, resolutions micrometres per pixel, tile and patch sides pixels. A part that the bundle lacks is
    None; `training`, whom the towers learned from, is None where that is not known.
    """
    manifest = bundle.manifest
    towers = {"he": manifest.he, "text": manifest.text, "mif": manifest.mif}
    return {
        "name": manifest.name,
        "version": manifest.version,
        "digest": bundle.digest,
        "path": str(bundle.root),
        "embedded": bundle.embedded,
        "synthetic": manifest.synthetic,
        "statement": manifest.statement,
        "family": manifest.family,
        "schema_version": manifest.schema_version,
        "created_by": manifest.created_by,
        "embedding_dimension": manifest.embedding_dimension,
        "towers": {name: None if tower is None else tower.model_dump(mode="json") for name, tower in towers.items()},
        "spade": None if manifest.spade is None else _spade(manifest.spade),
        "retrieval": manifest.retrieval.model_dump(),
        "atlas": None if manifest.atlas is None else _atlas(manifest.atlas),
        "calibration": None if manifest.calibration is None else manifest.calibration.model_dump(),
        "training": None if manifest.training is None else manifest.training.model_dump(exclude={"file"}),
        "heads": [head.model_dump(mode="json") for head in manifest.heads],
        "students": [
            {"name": student.name, **student.model_dump(mode="json", exclude={"weights", "storage"})}
            for student in manifest.students
        ],
        "metrics": dict(manifest.metrics),
        "files": {name: entry.size for name, entry in sorted(manifest.files.items())},
        "size": sum(entry.size for entry in manifest.files.values()),
    }


def _spade(spade: SpadeSection) -> dict[str, Any]:
    return {
        "tower": spade.tower.model_dump(mode="json"),
        "dimension": spade.dimension,
        "keys": spade.keys,
        "neighbours": spade.neighbours,
        "experts": [expert.model_dump(mode="json") for expert in spade.experts],
        "atlas": None if spade.atlas is None else _atlas(spade.atlas),
        "calibration": None if spade.calibration is None else spade.calibration.model_dump(),
    }


def _atlas(atlas: AtlasSection) -> dict[str, Any]:
    return {
        "patches": atlas.patch_count,
        "patients": atlas.patient_count,
        "measure": atlas.measure,
        "markers": list(atlas.markers),
        "positivity": atlas.positivity,
        "clinical_facts": atlas.facts is not None,
        "index": atlas.index.model_dump(exclude_none=True),
    }
