"""Put more patches into an atlas whose own patches are there as pictures only."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from haiku_edge.runtime.arrow import list_column, list_matrix, table_bytes
from haiku_edge.runtime.atlas import Atlas, PatchTable, PictureTable, read_patches
from haiku_edge.runtime.bundle import Bundle, CalibrationSection, read_known_patients
from haiku_edge.runtime.errors import CohortError, UnreadableDatasetError
from haiku_edge.runtime.inference import read_cases

from .files import assemble_files
from .from_dataset import (
    AtlasParts,
    PatchesOfDataset,
    calibration_section,
    calibration_table,
    positivity_of,
    provenance_of,
    split_patients,
)
from .picture_file import encode_patches, ranges_by_name
from .pictures import display_ranges
from .positivity import OTSU_RULE, otsu_positivity

if TYPE_CHECKING:
    from ..dataset import PatchDataset
    from ..evaluation.embedded_cohort import EmbeddedCohort

_LONGEST_RULE = 500
_T = TypeVar("_T", bound=np.generic)


def extend_atlas(bundle: Bundle, atlas: Atlas, dataset: PatchDataset, cohort: EmbeddedCohort) -> AtlasParts:
    """The atlas of a bundle with the patches of a dataset added.

    The old patches' rows and pictures stay as they were; new ones are shown in the same colours and ranges. The index
    is built anew. Patients with the role calibration join the calibration patients; nobody else is set aside.

    Args:
        bundle: Has an atlas.
        atlas: That atlas, opened.
        dataset: The new patches.
        cohort: The same patches, embedded with the bundle's towers.

    Raises:
        CohortError: A patient is on both sides, no new patch may be evidence, or the towers learned from a new patient
            who is to calibrate.
        UnreadableDatasetError: A new patch has the name of an old one.
        BundleContentError: The old atlas is damaged.
    """
    section = bundle.manifest.need_atlas()
    if "mif" not in cohort.vectors:
        raise CohortError(f"{dataset.name} has patches without mIF. An atlas is made of mIF.")
    refuse_shared(bundle, atlas, dataset)
    split = split_patients(dataset, cohort, seed=0, share=0, known=read_known_patients(bundle))
    rows = np.flatnonzero(split.atlas)
    new = cohort.select(rows)
    markers = (*section.markers, *(marker for marker in new.markers if marker not in section.markers))
    old = read_patches(bundle.read(section.patches), section.markers)
    old_pictures = bundle.read(section.pictures)
    patches = PatchesOfDataset(dataset, rows, markers)
    pictures, places = _pictures(old.pictures, len(old_pictures), section.markers, markers, patches, new)
    table = _joined(old, new, section.markers, markers, places)
    table, rule = _positivity(table, section.positivity, positivity_of(dataset))
    built = assemble_files(
        np.concatenate([atlas.vectors, new.vectors["mif"]]),
        markers,
        table,
        old_pictures + pictures,
        positivity=rule,
        facts={**atlas.facts, **{patient: own for patient, own in new.facts.items() if own}},
        index="hnsw" if section.index.kind == "hnsw" else "auto",
    )
    cases = cohort.select(np.flatnonzero(split.calibration)) if split.calibration.any() else None
    calibration, more = _calibration(bundle, section.markers, markers, cases)
    return AtlasParts({**built.contents, **more}, built.section, calibration, split.remarks)


def refuse_shared(bundle: Bundle, atlas: Atlas, dataset: PatchDataset) -> None:
    """See that no patient and no patch is on both sides: nobody may be evidence or calibration for himself.

    Raises:
        CohortError: A patient of the dataset is in the bundle's atlas or calibration.
        UnreadableDatasetError: A patch has the name of one in the atlas.
    """
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
    measured = ~np.isnan(_widened(new.expression, new.markers, markers, float("nan")))
    ranges = display_ranges(patches, measured)
    for place, marker in enumerate(markers):
        ranges[place] = old.ranges.get(marker, tuple(ranges[place].tolist()))
    colours = {markers.index(marker): colour for marker, colour in old.colours.items()}
    encoded = encode_patches(patches, measured, colours=colours, ranges=ranges, offset=offset)
    offsets, lengths = encoded.channels
    table = replace(
        old,
        composite_offset=np.concatenate([old.composite_offset, encoded.composites[0]]),
        composite_length=np.concatenate([old.composite_length, encoded.composites[1]]),
        channel_offset=np.concatenate([_widened(old.channel_offset, old_markers, markers, 0), offsets]),
        channel_length=np.concatenate([_widened(old.channel_length, old_markers, markers, 0), lengths]),
        ranges=ranges_by_name(markers, ranges),
    )
    return encoded.data, table


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


def _positivity(table: PatchTable, old_rule: str | None, new_rule: str) -> tuple[PatchTable, str]:
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
        return new, {new.file: table_bytes(_wide_cases(calibration_table(cases), cases.markers, markers))}
    tables = [_wide_cases(bundle.read(section.file), old_markers, markers)]
    if cases is not None:
        tables.append(_wide_cases(calibration_table(cases), cases.markers, markers))
    joined = pa.concat_tables([table.select(tables[0].column_names) for table in tables]).combine_chunks()
    extended = section.model_copy(
        update={"patients": len(set(joined["patient"].to_pylist())), "cases": joined.num_rows}
    )
    return extended, {section.file: table_bytes(joined)}


def _wide_cases(data: bytes, own: tuple[str, ...], markers: tuple[str, ...]) -> pa.Table:
    table = pa.ipc.open_file(io.BytesIO(data)).read_all().combine_chunks()
    wide = _widened(list_matrix(table, "expression", np.float32, len(own)), own, markers, float("nan"))
    return table.set_column(table.column_names.index("expression"), "expression", list_column(wide))


def _widened(matrix: NDArray[_T], own: tuple[str, ...], markers: tuple[str, ...], fill: float) -> NDArray[_T]:
    """(n, m) with the columns of `own` where they stand in `markers`, `fill` elsewhere."""
    wide = np.full((len(matrix), len(markers)), fill, matrix.dtype)
    wide[:, [markers.index(marker) for marker in own]] = matrix
    return wide
