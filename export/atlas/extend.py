"""Put more patches into an atlas whose own patches are there as pictures only."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from haiku_edge.runtime.atlas import PatchTable, PictureTable, open_atlas, read_patches, write_facts
from haiku_edge.runtime.atlas import write_patches as table_bytes
from haiku_edge.runtime.bundle import AtlasSection, Bundle, CalibrationSection
from haiku_edge.runtime.errors import CohortError, UnreadableDatasetError
from haiku_edge.runtime.inference import read_cases

from .build import FACTS_FILE, INDEX_FILE, PATCHES_FILE, PICTURES_FILE, VECTORS_FILE
from .from_dataset import (
    AtlasParts,
    PatchesOfDataset,
    calibration_section,
    calibration_table,
    positivity_of,
    provenance_of,
    split_patients,
    write_table,
)
from .index import build_index
from .pictures import display_ranges, encode_patch
from .positivity import OTSU_RULE, otsu_positivity

if TYPE_CHECKING:
    from ..dataset import PatchDataset
    from ..evaluation.embedded_cohort import EmbeddedCohort

_LONGEST_RULE = 500
_T = TypeVar("_T", bound=np.generic)


def extend_atlas(bundle: Bundle, dataset: PatchDataset, cohort: EmbeddedCohort) -> AtlasParts:
    """The atlas of a bundle with the patches of a dataset added.

    The old patches' rows and pictures stay as they were; new ones are shown in the same colours and ranges. The index
    is built anew. Patients with the role calibration join the calibration patients; nobody else is set aside.

    Args:
        bundle: Has an atlas.
        dataset: The new patches.
        cohort: The same patches, embedded with the bundle's towers.

    Raises:
        CohortError: A patient is on both sides, or no new patch may be evidence.
        UnreadableDatasetError: A new patch has the name of an old one.
        BundleContentError: The old atlas is damaged.
    """
    section = bundle.manifest.need_atlas()
    if "mif" not in cohort.vectors:
        raise CohortError(f"{dataset.name} has patches without mIF. An atlas is made of mIF.")
    atlas = open_atlas(bundle, index="exact")
    refuse_shared(bundle, dataset)
    split = split_patients(dataset, cohort, seed=0, share=0)
    rows = np.flatnonzero(split.atlas)
    new = cohort.select(rows)
    markers = (*section.markers, *(marker for marker in new.markers if marker not in section.markers))
    old_table = read_patches(bundle.read(section.patches), section.markers)
    old_pictures = bundle.read(section.pictures)
    patches = PatchesOfDataset(dataset, rows, markers)
    pictures, places = _pictures(old_table.pictures, len(old_pictures), section.markers, markers, patches, new)
    table = _joined(old_table, new, section.markers, markers, places)
    table, rule = _positivity(table, section.positivity, positivity_of(dataset))
    vectors = np.concatenate([atlas.vectors, new.vectors["mif"]])
    graph, index = build_index(vectors, INDEX_FILE, kind="hnsw" if section.index.kind == "hnsw" else "auto")
    facts = {**atlas.facts, **{patient: own for patient, own in new.facts.items() if own}}
    contents = {
        VECTORS_FILE: _npy(vectors),
        PATCHES_FILE: table_bytes(table),
        PICTURES_FILE: old_pictures + pictures,
        **({} if graph is None else {INDEX_FILE: graph}),
        **({FACTS_FILE: write_facts(facts)} if facts else {}),
    }
    extended = AtlasSection(
        vectors=VECTORS_FILE,
        index=index,
        patches=PATCHES_FILE,
        pictures=PICTURES_FILE,
        facts=FACTS_FILE if facts else None,
        positivity=rule,
        markers=markers,
        patch_count=len(vectors),
        patient_count=len(set(table.patients.tolist())),
    )
    cases = cohort.select(np.flatnonzero(split.calibration)) if split.calibration.any() else None
    calibration, more = _calibration(bundle, section.markers, markers, cases)
    return AtlasParts({**contents, **more}, extended, calibration, split.remarks)


def refuse_shared(bundle: Bundle, dataset: PatchDataset) -> None:
    """See that no patient and no patch is on both sides: nobody may be evidence or calibration for himself.

    Raises:
        CohortError: A patient of the dataset is in the bundle's atlas or calibration.
        UnreadableDatasetError: A patch has the name of one in the atlas.
    """
    atlas = open_atlas(bundle, index="exact")
    cases = None if bundle.manifest.calibration is None else read_cases(bundle, atlas)
    there = {*map(str, atlas.patients), *(() if cases is None else map(str, cases.patients))}
    shared = there & set(dataset.patients.tolist())
    if shared:
        raise CohortError(
            f"{len(shared)} patients of the dataset are already in {bundle.manifest.name}, as evidence or calibration. "
            "Add each patient once; to replace one, build the atlas anew from all datasets."
        )
    if doubles := {*map(str, atlas.patches)} & set(dataset.patches.tolist()):
        raise UnreadableDatasetError(f"{len(doubles)} patches have the names of patches that the atlas already has.")


def _pictures(
    old: PictureTable,
    offset: int,
    old_markers: tuple[str, ...],
    markers: tuple[str, ...],
    patches: PatchesOfDataset,
    new: EmbeddedCohort,
) -> tuple[bytes, PictureTable]:
    """The new patches' pictures, and the table of all; `offset` bytes of old ones come before."""
    measured = _measured(new, markers)
    ranges = display_ranges(patches, measured)
    for place, marker in enumerate(markers):
        ranges[place] = old.ranges.get(marker, tuple(ranges[place].tolist()))
    colours = {markers.index(marker): colour for marker, colour in old.colours.items()}
    data, count, width = bytearray(), len(new), len(markers)
    composite, channels = np.zeros((2, count), np.int64), np.zeros((2, count, width), np.int64)
    for row, (patch, known) in enumerate(zip(patches, measured, strict=True)):
        encoded = encode_patch(patch, known, colours=colours, ranges=ranges)
        composite[:, row] = offset + len(data), len(encoded.composite)
        data += encoded.composite
        for column in np.flatnonzero(known):
            channels[:, row, column] = offset + len(data), len(encoded.channels[column])
            data += encoded.channels[column]
    table = replace(
        old,
        composite_offset=np.concatenate([old.composite_offset, composite[0]]),
        composite_length=np.concatenate([old.composite_length, composite[1]]),
        channel_offset=np.concatenate([_widened(old.channel_offset, old_markers, markers, 0), channels[0]]),
        channel_length=np.concatenate([_widened(old.channel_length, old_markers, markers, 0), channels[1]]),
        ranges={marker: (float(ends[0]), float(ends[1])) for marker, ends in zip(markers, ranges, strict=True)},
    )
    return bytes(data), table


def _joined(
    old: PatchTable, new: EmbeddedCohort, old_markers: tuple[str, ...], markers: tuple[str, ...], pictures: PictureTable
) -> PatchTable:
    about = provenance_of(new)
    unknown = float("nan")

    def matrix(before: NDArray[np.float32], after: NDArray[np.float32]) -> NDArray[np.float32]:
        wide = (_widened(before, old_markers, markers, unknown), _widened(after, new.markers, markers, unknown))
        return np.concatenate(wide).astype(np.float32)

    return PatchTable(
        patches=np.concatenate([old.patches, np.array(about.patches, np.str_)]),
        sections=np.concatenate([old.sections, np.array(about.sections, np.str_)]),
        patients=np.concatenate([old.patients, np.array(about.patients, np.str_)]),
        organs=np.concatenate([old.organs, np.array(about.organs, np.str_)]),
        panels=np.concatenate([old.panels, np.array(about.panels, np.str_)]),
        x=np.concatenate([old.x, new.x]).astype(np.float32),
        y=np.concatenate([old.y, new.y]).astype(np.float32),
        expression=matrix(old.expression, new.expression),
        positive=matrix(old.positive, new.positive),
        pictures=pictures,
    )


def _positivity(table: PatchTable, old_rule: str | None, new_rule: str) -> tuple[PatchTable, str | None]:
    """Who is positive: by Otsu's threshold over all where that was the rule, else as each side stated."""
    if old_rule == OTSU_RULE:
        return replace(table, positive=otsu_positivity(table.expression)), OTSU_RULE
    if old_rule is None or old_rule == new_rule:
        return table, new_rule
    return table, f"{old_rule} In patches that were added later: {new_rule}"[:_LONGEST_RULE]


def _calibration(
    bundle: Bundle, old_markers: tuple[str, ...], markers: tuple[str, ...], cases: EmbeddedCohort | None
) -> tuple[CalibrationSection | None, dict[str, bytes]]:
    """The calibration cases of both sides, their expression in the order of all markers."""
    section = bundle.manifest.calibration
    if section is None:
        if cases is None:
            return None, {}
        new = calibration_section(cases)
        return new, {new.file: write_table(_wide_cases(calibration_table(cases), cases.markers, markers))}
    tables = [_wide_cases(bundle.read(section.file), old_markers, markers)]
    if cases is not None:
        tables.append(_wide_cases(calibration_table(cases), cases.markers, markers))
    joined = pa.concat_tables([table.select(tables[0].column_names) for table in tables]).combine_chunks()
    extended = section.model_copy(
        update={"patients": len(set(joined["patient"].to_pylist())), "cases": joined.num_rows}
    )
    return extended, {section.file: write_table(joined)}


def _wide_cases(data: bytes, own: tuple[str, ...], markers: tuple[str, ...]) -> pa.Table:
    table = pa.ipc.open_file(io.BytesIO(data)).read_all().combine_chunks()
    chunks = table["expression"].chunks
    flat = np.concatenate([np.asarray(chunk.flatten(), np.float32) for chunk in chunks]).reshape(-1, len(own))
    wide = _widened(flat, own, markers, float("nan"))
    column = pa.FixedSizeListArray.from_arrays(pa.array(wide.reshape(-1), pa.float32()), len(markers))
    return table.set_column(table.column_names.index("expression"), "expression", column)


def _measured(cohort: EmbeddedCohort, markers: tuple[str, ...]) -> NDArray[np.bool_]:
    return ~np.isnan(_widened(cohort.expression, cohort.markers, markers, float("nan")))


def _widened(matrix: NDArray[_T], own: tuple[str, ...], markers: tuple[str, ...], fill: float) -> NDArray[_T]:
    """(n, m) with the columns of `own` where they stand in `markers`, `fill` elsewhere."""
    wide = np.full((len(matrix), len(markers)), fill, matrix.dtype)
    wide[:, [markers.index(marker) for marker in own]] = matrix
    return wide


def _npy(vectors: NDArray[np.float32]) -> bytes:
    sink = io.BytesIO()
    np.save(sink, vectors, allow_pickle=False)
    return sink.getvalue()
