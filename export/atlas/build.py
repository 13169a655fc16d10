"""Put an atlas together from patches and what was measured on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.atlas import PatchTable, PictureTable
from haiku_edge.runtime.errors import UsageError
from haiku_edge.runtime.notes.keys import forbidden_key
from haiku_edge.runtime.notes.values import identifiers_in

from .files import BuiltAtlas, assemble_files
from .index import IndexKind
from .picture_file import encode_patches, ranges_by_name
from .pictures import CHANNEL_SIDE, COMPOSITE_SIDE, composite_colours, display_ranges
from .positivity import OTSU_RULE, otsu_positivity

GIVEN_RULE = "As stated by those who measured the patches."


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where n patches come from.

    Attributes:
        patches: Identifiers, each once.
        sections: Identifiers of the tissue sections.
        patients: Pseudonyms.
        organs: Names.
        panels: Names of the antibody panels.
        x: (n,) left edges in the section, micrometres, or None where not known.
        y: (n,) top edges in the section, micrometres, or None.
    """

    patches: tuple[str, ...]
    sections: tuple[str, ...]
    patients: tuple[str, ...]
    organs: tuple[str, ...]
    panels: tuple[str, ...]
    x: NDArray[np.float32] | None = None
    y: NDArray[np.float32] | None = None


def build_atlas(
    vectors: NDArray[np.float32],
    markers: tuple[str, ...],
    mif: Iterable[NDArray[np.uint8]],
    expression: NDArray[np.float32],
    provenance: Provenance,
    *,
    index: IndexKind = "auto",
    ranges: NDArray[np.float32] | None = None,
    positive: NDArray[np.float32] | None = None,
    positivity: str | None = None,
    facts: Mapping[str, Mapping[str, str]] | None = None,
) -> BuiltAtlas:
    """Build the atlas's files.

    Args:
        vectors: (n, d) float32 unit vectors of the mIF tower.
        markers: Names of the m markers.
        mif: n patches, each (m, h, w) uint8 raw intensities; rows of unmeasured markers are ignored. Gone through
            twice, unless `ranges` is given: then an iterator will do.
        expression: (n, m) float32 mean raw intensity, NaN where the marker was not measured.
        provenance: Where the patches come from.
        index: How the atlas is searched.
        ranges: (m, 2) intensities shown as black and at full brightness; found from the patches where None.
        positive: (n, m) float32, 1 or 0, NaN where not measured or not known; by Otsu's threshold where None.
        positivity: When a patch counts as positive, in one sentence; goes with `positive`.
        facts: Patient → clinical facts in the order of the notes, for the patients whose facts are known.

    Raises:
        UsageError: The arguments do not fit each other.
        DeviceUnavailableError, BundleContentError, DiskFullError: See `assemble_files`.
    """
    vectors = np.ascontiguousarray(vectors, np.float32)
    measured = ~np.isnan(expression)
    _check_arguments(vectors, markers, expression, provenance)
    _check_facts(facts or {}, provenance)
    known, rule = _positivity(expression, positive, positivity)
    pictures, places = _encode_all(mif, markers, measured, _ranges(mif, measured) if ranges is None else ranges)
    table = _table(expression, known, provenance, places)
    return assemble_files(vectors, markers, table, pictures, positivity=rule, facts=facts or {}, index=index)


def _check_arguments(
    vectors: NDArray[np.float32], markers: tuple[str, ...], expression: NDArray[np.float32], provenance: Provenance
) -> None:
    count = len(vectors)
    columns = (provenance.patches, provenance.sections, provenance.patients, provenance.organs, provenance.panels)
    places = tuple(place for place in (provenance.x, provenance.y) if place is not None)
    if not count or any(len(column) != count for column in (*columns, *places)):
        raise UsageError(f"There are {count} vectors; an atlas has at least one, and its provenance as many rows.")
    if expression.shape != (count, len(markers)):
        raise UsageError(f"The expression has the shape {expression.shape}, not {(count, len(markers))}.")
    if not np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3):
        raise UsageError("The vectors are not all of length 1. Take them from the mIF tower as it gives them.")


def _positivity(
    expression: NDArray[np.float32], positive: NDArray[np.float32] | None, rule: str | None
) -> tuple[NDArray[np.float32], str]:
    """Who is positive, and the sentence that says why."""
    if positive is None:
        if rule is not None:
            raise UsageError("A rule of positivity goes with the values that it gave; pass `positive` too.")
        return otsu_positivity(expression), OTSU_RULE
    if positive.shape != expression.shape:
        raise UsageError(f"The positivity has the shape {positive.shape}, not {expression.shape}.")
    known = ~np.isnan(positive)
    if not np.isin(positive[known], (0, 1)).all() or (known & np.isnan(expression)).any():
        raise UsageError("Positivity is 1 or 0, and NaN wherever the marker was not measured.")
    return positive, GIVEN_RULE if rule is None else rule


def _check_facts(facts: Mapping[str, Mapping[str, str]], provenance: Provenance) -> None:
    strangers = set(facts) - set(provenance.patients)
    if strangers:
        raise UsageError(
            f"There are facts of {len(strangers)} patients who have no patch in the atlas. Leave them out."
        )
    if any(not key or not value for own in facts.values() for key, value in own.items()):
        raise UsageError("A fact of the atlas has no key or no value. Leave out what is not known.")
    kinds = {
        kind
        for own in facts.values()
        for key, value in own.items()
        for kind in (forbidden_key(key), *identifiers_in(value))
        if kind
    }
    if kinds:
        raise UsageError(
            f"The facts of the atlas hold what identifies a patient ({', '.join(sorted(kinds))}). Take it out: an "
            "atlas is passed on."
        )


def _ranges(mif: Iterable[NDArray[np.uint8]], measured: NDArray[np.bool_]) -> NDArray[np.float32]:
    if iter(mif) is mif:
        raise UsageError("An iterator of patches can be gone through once; give a sequence, or the ranges too.")
    return display_ranges(mif, measured)


def _encode_all(
    mif: Iterable[NDArray[np.uint8]],
    markers: tuple[str, ...],
    measured: NDArray[np.bool_],
    ranges: NDArray[np.float32],
) -> tuple[bytes, PictureTable]:
    """The pictures in the colours of these markers, and the table of them."""
    colours = composite_colours(markers)
    by_row = {markers.index(marker): colour for marker, colour in colours.items()}
    encoded = encode_patches(mif, measured, colours=by_row, ranges=ranges)
    table = PictureTable(
        composite_offset=encoded.composites[0],
        composite_length=encoded.composites[1],
        channel_offset=encoded.channels[0],
        channel_length=encoded.channels[1],
        composite_side=COMPOSITE_SIDE,
        channel_side=CHANNEL_SIDE,
        colours=colours,
        ranges=ranges_by_name(markers, ranges),
    )
    return encoded.data, table


def _table(
    expression: NDArray[np.float32], positive: NDArray[np.float32], provenance: Provenance, pictures: PictureTable
) -> PatchTable:
    unknown = np.full(len(expression), np.nan, np.float32)
    return PatchTable(
        patches=np.array(provenance.patches, np.str_),
        sections=np.array(provenance.sections, np.str_),
        patients=np.array(provenance.patients, np.str_),
        organs=np.array(provenance.organs, np.str_),
        panels=np.array(provenance.panels, np.str_),
        x=unknown if provenance.x is None else provenance.x,
        y=unknown if provenance.y is None else provenance.y,
        expression=expression,
        positive=positive,
        pictures=pictures,
    )
