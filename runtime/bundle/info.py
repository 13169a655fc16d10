"""A bundle in a few lines, for people."""

from __future__ import annotations

from typing import Any

from .open import Bundle


def bundle_info(bundle: Bundle) -> dict[str, Any]:
    """What `haiku-edge bundle info` shows: plain values, ready for JSON, in the order in which they are read best.

    Sizes are bytes, resolutions micrometres per pixel, tile and patch sides pixels.
    """
    manifest = bundle.manifest
    towers = {
        "he": manifest.he.model_dump(),
        "text": manifest.text.model_dump(),
        "mif": manifest.mif.model_dump() if manifest.mif is not None else None,
    }
    index = manifest.atlas.index
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
        "towers": towers,
        "retrieval": manifest.retrieval.model_dump(),
        "atlas": {
            "patches": manifest.atlas.patch_count,
            "patients": manifest.atlas.patient_count,
            "markers": list(manifest.atlas.markers),
            "index": index.model_dump(exclude_none=True),
        },
        "calibration": manifest.calibration.model_dump(),
        "metrics": dict(manifest.metrics),
        "files": {name: entry.size for name, entry in sorted(manifest.files.items())},
        "size": sum(entry.size for entry in manifest.files.values()),
    }
