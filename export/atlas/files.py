"""The files of an atlas, and what the manifest says of them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.atlas import PatchTable, write_facts, write_patches
from haiku_edge.runtime.bundle import AtlasSection

from .index import IndexKind, build_index

Measure = Literal["protein", "gene"]

FOLDERS: Final[Mapping[Measure, str]] = {"protein": "atlas", "gene": "spots"}
"""Where in a bundle the evidence of each kind lies."""

_FILES: Final = {
    "vectors": "vectors.npy",
    "index": "index.hnsw",
    "patches": "patches.arrow",
    "pictures": "pictures.bin",
    "facts": "facts.arrow",
}


@dataclass(frozen=True, slots=True)
class BuiltAtlas:
    """The atlas's files and its section of the manifest.

    Attributes:
        contents: Path in the bundle → bytes.
        section: For `Description.atlas`.
    """

    contents: dict[str, bytes]
    section: AtlasSection


def assemble_files(
    vectors: NDArray[np.float32],
    markers: tuple[str, ...],
    table: PatchTable,
    pictures: bytes,
    *,
    positivity: str,
    facts: Mapping[str, Mapping[str, str]],
    index: IndexKind,
    measure: Measure = "protein",
) -> BuiltAtlas:
    """Index the vectors, and write everything as files.

    Args:
        vectors: (n, d) float32 unit vectors of the mIF tower, or of spots.
        markers: Names of the m markers or genes of the table.
        table: What is known of the n patches.
        pictures: The file that the table points into.
        positivity: When a patch counts as positive, in one sentence.
        facts: Patient → clinical facts, of those whose facts are known.
        index: How the atlas is searched.
        measure: What was measured; each kind has its own folder in the bundle.

    Raises:
        DeviceUnavailableError, BundleContentError, DiskFullError: See `build_index`.
    """
    names = {kind: f"{FOLDERS[measure]}/{file}" for kind, file in _FILES.items()}
    graph, index_section = build_index(vectors, names["index"], kind=index)
    contents = {
        names["vectors"]: _npy(vectors),
        names["patches"]: write_patches(table, measure),
        names["pictures"]: pictures,
    }
    if graph is not None:
        contents[names["index"]] = graph
    if facts:
        contents[names["facts"]] = write_facts(facts)
    section = AtlasSection(
        vectors=names["vectors"],
        index=index_section,
        patches=names["patches"],
        pictures=names["pictures"],
        facts=names["facts"] if facts else None,
        positivity=positivity,
        markers=markers,
        patch_count=len(vectors),
        patient_count=len(set(table.patients.tolist())),
        measure=measure,
    )
    return BuiltAtlas(contents, section)


def _npy(vectors: NDArray[np.float32]) -> bytes:
    sink = io.BytesIO()
    np.save(sink, vectors, allow_pickle=False)
    return sink.getvalue()
