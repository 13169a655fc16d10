"""Open the atlas of a verified bundle and check that its parts fit each other."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..bundle import AtlasSection, Bundle, IndexSection
from ..errors import BundleContentError, DeviceUnavailableError, UsageError
from .exact import ExactIndex
from .facts import read_facts
from .hnsw import HnswIndex
from .patches import PatchTable, read_patches
from .pictures import Pictures
from .probe import probe_hnswlib
from .types import VectorIndex

UNIT_TOLERANCE = 1e-3
"""How far a vector's length may be from 1: float16 towers round a length by about 5e-4."""

EXACT_BELOW = 20_000
"""Atlases below this size are searched exactly: it is as fast as a graph there, and leaves nothing to chance."""

IndexChoice = Literal["auto", "exact", "hnsw"]


@dataclass(frozen=True, slots=True)
class Atlas:
    """The evidence: n real mIF patches with m markers, or n real spots with m genes.

    Attributes:
        vectors: (n, d) float32 unit vectors of the mIF tower, or of spots.
        markers: Names of the m markers, or genes.
        expression: (n, m) float32 mean raw intensity, 0 to 255, or of genes ln(1 + counts per 10,000); NaN where not
            measured.
        mean: (m,) float32 mean over the patches that measured the marker; NaN where none did.
        std: (m,) float32 standard deviation over them (population); 1 where they are all alike, NaN where none did.
        z: (n, m) float32, (expression - mean) / std; NaN where not measured.
        positive: (n, m) float32, 1 or 0; NaN where not measured, or where nothing says what is positive.
        patches: (n,) str, identifiers.
        patients: (n,) str, pseudonyms.
        sections: (n,) str.
        organs: (n,) str.
        panels: (n,) str.
        x: (n,) float32 left edge in the section, micrometres; NaN where not known.
        y: (n,) float32 top edge in the section, micrometres; NaN where not known.
        index: Finds nearest patches.
        pictures: The patches' pictures.
        warnings: What the user should know, such as that the graph can't be used on this machine.
        facts: Patient → clinical facts in the order of the notes; empty where the bundle holds none.
        positivity: When a patch counts as positive, in one sentence; None where nothing says.
        measure: What was measured: protein, of mIF patches, or gene, of spots.
    """

    vectors: NDArray[np.float32]
    markers: tuple[str, ...]
    expression: NDArray[np.float32]
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    z: NDArray[np.float32]
    positive: NDArray[np.float32]
    patches: NDArray[np.str_]
    patients: NDArray[np.str_]
    sections: NDArray[np.str_]
    organs: NDArray[np.str_]
    panels: NDArray[np.str_]
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    index: VectorIndex
    pictures: Pictures
    warnings: tuple[str, ...] = ()
    facts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    positivity: str | None = None
    measure: Literal["protein", "gene"] = "protein"


def open_atlas(
    bundle: Bundle, section: AtlasSection | None = None, *, index: IndexChoice = "auto", threads: int = 1
) -> Atlas:
    """Open the evidence of a bundle.

    Args:
        bundle: A verified bundle.
        section: Which evidence; by default the mIF patches.
        index: 'auto' takes the bundle's own index and steps down to exact search, with a warning, where hnswlib does
            not work on this machine; 'exact' searches exactly; 'hnsw' takes the graph or refuses.
        threads: Threads of one search.

    Raises:
        BundleContentError: The parts do not fit each other or the manifest.
        DeviceUnavailableError: 'hnsw' was asked for and hnswlib does not work here.
        UsageError: 'hnsw' was asked for and the bundle has no graph.
    """
    section = section or bundle.manifest.need_atlas()
    vectors = read_vectors(bundle.read(section.vectors), section)
    table = read_patches(bundle.read(section.patches), section.markers, section.measure)
    _check_counts(section, table)
    mean, std, z = standardise(table.expression)
    chosen, warnings = _choose_index(bundle, section.index, vectors, index, threads)
    return Atlas(
        vectors=vectors,
        markers=section.markers,
        expression=table.expression,
        mean=mean,
        std=std,
        z=z,
        positive=table.positive,
        patches=table.patches,
        patients=table.patients,
        sections=table.sections,
        organs=table.organs,
        panels=table.panels,
        x=table.x,
        y=table.y,
        index=chosen,
        pictures=Pictures(bundle.read(section.pictures), table.pictures, section.markers),
        warnings=warnings,
        facts=_read_facts(bundle, section, table),
        positivity=section.positivity,
        measure=section.measure,
    )


def read_vectors(data: bytes, section: AtlasSection) -> NDArray[np.float32]:
    """Read the verified bytes of `vectors.npy`.

    Returns:
        (patch_count, dimension) float32, read-only.

    Raises:
        BundleContentError: Not such an array, or not of unit vectors.
    """
    try:
        vectors = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError, MemoryError) as error:
        raise _refused(f"its vectors are no NumPy array ({error})") from None
    expected = (section.patch_count, section.index.dimension)
    if not isinstance(vectors, np.ndarray) or vectors.dtype != np.float32 or vectors.shape != expected:
        raise _refused(f"its vectors are not float32 of the shape {expected}")
    vectors = np.ascontiguousarray(vectors)
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    if not bool((np.abs(lengths - 1) <= UNIT_TOLERANCE).all()):
        raise _refused("a vector does not have the length 1")
    vectors.flags.writeable = False
    return vectors


def standardise(
    expression: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Mean, standard deviation and z-scores of each marker over the patches that measured it; see `Atlas`.

    Args:
        expression: (n, m) float32, NaN where not measured.
    """
    measured = ~np.isnan(expression)
    number = measured.sum(axis=0)
    known = number > 0
    share = np.where(known, number, np.nan)
    values = np.where(measured, expression, 0).astype(np.float64)
    mean = values.sum(axis=0) / share
    squares = np.where(measured, values - mean, 0) ** 2
    std = np.sqrt(squares.sum(axis=0) / share)
    std = np.where(known & (std < 1e-6), 1.0, std)
    z = (expression - mean) / std
    return mean.astype(np.float32), std.astype(np.float32), z.astype(np.float32)


def _check_counts(section: AtlasSection, table: PatchTable) -> None:
    if len(table.patches) != section.patch_count:
        raise _refused(f"its table has {len(table.patches)} patches, the manifest {section.patch_count}")
    patients = len(set(table.patients.tolist()))
    if patients != section.patient_count:
        raise _refused(f"its table has {patients} patients, the manifest {section.patient_count}")


def _read_facts(bundle: Bundle, section: AtlasSection, table: PatchTable) -> dict[str, dict[str, str]]:
    if section.facts is None:
        return {}
    return read_facts(bundle.read(section.facts), set(table.patients.tolist()))


def _choose_index(
    bundle: Bundle, stated: IndexSection, vectors: NDArray[np.float32], choice: IndexChoice, threads: int
) -> tuple[VectorIndex, tuple[str, ...]]:
    if choice == "hnsw" and stated.kind != "hnsw":
        raise UsageError(f"The bundle {bundle.manifest.name} has no graph to search; it is searched exactly.")
    small = choice == "auto" and stated.count < EXACT_BELOW
    if choice == "exact" or stated.kind == "exact" or small:
        return ExactIndex(vectors), ()
    trouble = probe_hnswlib()
    if trouble is not None:
        if choice == "hnsw":
            raise DeviceUnavailableError(f"The atlas can't be searched by its graph: {trouble}")
        return ExactIndex(vectors), (f"The atlas is searched exactly: {trouble}",)
    return _load_graph(bundle, stated, vectors, threads), ()


def _load_graph(bundle: Bundle, stated: IndexSection, vectors: NDArray[np.float32], threads: int) -> HnswIndex:
    if stated.file is None or stated.m is None or stated.ef_construction is None or stated.ef_search is None:
        raise _refused("its graph is not described")
    return HnswIndex.from_bytes(
        bundle.read(stated.file),
        vectors,
        m=stated.m,
        ef_construction=stated.ef_construction,
        ef_search=stated.ef_search,
        threads=threads,
    )


def _refused(why: str) -> BundleContentError:
    return BundleContentError(f"The bundle's atlas can't be used: {why}. Export the bundle again.")
