"""The files of an atlas, and what the manifest says of them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.atlas import PatchTable, write_facts, write_patches
from haiku_edge.runtime.bundle import AtlasSection

from .index import IndexKind, build_index

VECTORS_FILE = "atlas/vectors.npy"
INDEX_FILE = "atlas/index.hnsw"
PATCHES_FILE = "atlas/patches.arrow"
PICTURES_FILE = "atlas/pictures.bin"
FACTS_FILE = "atlas/facts.arrow"


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
) -> BuiltAtlas:
    """Index the vectors, and write everything as files.

    Args:
        vectors: (n, d) float32 unit vectors of the mIF tower.
        markers: Names of the m markers of the table.
        table: What is known of the n patches.
        pictures: The file that the table points into.
        positivity: When a patch counts as positive, in one sentence.
        facts: Patient → clinical facts, of those whose facts are known.
        index: How the atlas is searched.

    Raises:
        DeviceUnavailableError, BundleContentError, DiskFullError: See `build_index`.
    """
    graph, index_section = build_index(vectors, INDEX_FILE, kind=index)
    contents = {VECTORS_FILE: _npy(vectors), PATCHES_FILE: write_patches(table), PICTURES_FILE: pictures}
    if graph is not None:
        contents[INDEX_FILE] = graph
    if facts:
        contents[FACTS_FILE] = write_facts(facts)
    section = AtlasSection(
        vectors=VECTORS_FILE,
        index=index_section,
        patches=PATCHES_FILE,
        pictures=PICTURES_FILE,
        facts=FACTS_FILE if facts else None,
        positivity=positivity,
        markers=markers,
        patch_count=len(vectors),
        patient_count=len(set(table.patients.tolist())),
    )
    return BuiltAtlas(contents, section)


def _npy(vectors: NDArray[np.float32]) -> bytes:
    sink = io.BytesIO()
    np.save(sink, vectors, allow_pickle=False)
    return sink.getvalue()
