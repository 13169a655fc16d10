"""A bundle with a mixture of experts that is about to be written: alone, or beside the towers of another bundle."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from haiku_edge.runtime.bundle import Bundle, Description, GoldenSection, KnownPatients, SpadeSection
from haiku_edge.runtime.bundle.manifest import SCHEMA_VERSION
from haiku_edge.runtime.engine.model import SPADE
from haiku_edge.runtime.version import product, version

from ..bundle import Content
from ..bundle_copy import carry_files
from ..graph import golden_arrays
from ..trained_on import training_part
from ..work_folder import bundle_name
from .tower import FusedTower

GOLDEN_FILE: Final = "golden/cases.npz"


@dataclass(frozen=True, slots=True)
class Draft:
    """A bundle about to be written.

    Attributes:
        description: Its manifest without the table of files.
        contents: Its files.
    """

    description: Description
    contents: Mapping[str, Content]


@dataclass(frozen=True, slots=True)
class SpadePart:
    """What a mixture brings to a bundle.

    Attributes:
        fused: Its tower on disk.
        section: What the manifest says of it, without evidence.
        known: Whom all towers of the bundle learned from.
        statement: What the numbers are worth, in one sentence.
        synthetic: Whether anything was simulated.
        metrics: Figures of the mixture, and where it comes from.
    """

    fused: FusedTower
    section: SpadeSection
    known: KnownPatients
    statement: str
    synthetic: bool
    metrics: Mapping[str, Any]

    @property
    def towers(self) -> dict[str, Content]:
        """The files of its tower, by their names in the bundle."""
        return {f"towers/{path.name}": path for path in (self.fused.graph, *self.fused.weights)}


def draft_alone(part: SpadePart, name: str) -> Draft:
    """A bundle of the mixture alone, called after its folder."""
    training, digests = training_part(part.known)
    description = Description(
        name=bundle_name(name, "spade"),
        version=version(),
        family="spade",
        synthetic=part.synthetic,
        statement=part.statement,
        created_by=product(),
        embedding_dimension=part.section.dimension,
        training=training,
        golden=GoldenSection(file=GOLDEN_FILE),
        spade=part.section,
        metrics={"spade": dict(part.metrics)},
    )
    golden = golden_arrays({SPADE: {"tiles": part.fused.tiles}}, {SPADE: part.fused.golden})
    return Draft(description, {**part.towers, **digests, GOLDEN_FILE: golden})


def draft_joined(part: SpadePart, host: Bundle, folder: Path) -> Draft:
    """The mixture beside the parts of another bundle, whose own mixture, if any, goes.

    Args:
        part: The mixture.
        host: The other bundle.
        folder: New folder for the files that are carried over.
    """
    manifest = host.manifest
    training, digests = training_part(part.known)
    stated = {name: getattr(manifest, name) for name in Description.model_fields}
    changed = {
        "schema_version": SCHEMA_VERSION,
        "family": "haiku+spade",
        "spade": part.section,
        "training": training,
        "metrics": {**manifest.metrics, "spade": dict(part.metrics)},
    }
    if part.synthetic and not manifest.synthetic:
        changed |= {"synthetic": True, "statement": part.statement}
    new: dict[str, Content] = {**part.towers, **digests, manifest.golden.file: _golden(host, part.fused)}
    older = set() if manifest.spade is None else _files_of(manifest.spade)
    kept = sorted(set(manifest.files) - older - set(new))
    folder.mkdir()
    return Draft(Description(**stated | changed), {**carry_files(host, kept, folder), **new})


def _files_of(spade: SpadeSection) -> set[str]:
    """Files of an older mixture, which go with it."""
    parts = [spade.tower.file, *spade.tower.weights]
    if spade.atlas is not None:
        atlas = spade.atlas
        parts += [atlas.vectors, atlas.patches, atlas.pictures, atlas.index.file or "", atlas.facts or ""]
    if spade.calibration is not None:
        parts.append(spade.calibration.file)
    return set(parts) - {""}


def _golden(host: Bundle, fused: FusedTower) -> bytes:
    """The other bundle's golden cases with those of the mixture."""
    with np.load(io.BytesIO(host.read(host.manifest.golden.file)), allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    arrays |= {f"{SPADE}_tiles": fused.tiles, f"{SPADE}_vectors": fused.golden}
    sink = io.BytesIO()
    np.savez_compressed(sink, **arrays)
    return sink.getvalue()
