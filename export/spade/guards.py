"""What must hold between the parts of an export, before hours are spent on it."""

from __future__ import annotations

from collections.abc import Mapping

from haiku_edge.runtime.atlas import open_atlas
from haiku_edge.runtime.bundle import Bundle, KnownPatients, read_known_patients
from haiku_edge.runtime.errors import CohortError, PatchShapeError, UsageError
from haiku_edge.runtime.inference import read_cases

from ..checkpoint.spade import SpadeCheckpoint
from ..spatial import SpotDataset
from ..spatial.dataset import check_size
from ..spatial.features import alike
from .tower import ImageEncoder


def check_parts(
    encoder: ImageEncoder,
    checkpoint: SpadeCheckpoint,
    top: int | None,
    atlas: SpotDataset | None,
    cases: SpotDataset | None,
) -> None:
    """See that experts, routing and spots go with the tower, and atlas and calibration with each other.

    Args:
        encoder: The image encoder.
        checkpoint: The experts.
        top: Experts that speak for a tile; None for all.
        atlas: Spots that become the evidence.
        cases: Spots that calibrate.

    Raises:
        UsageError, PatchShapeError, CohortError: See the checks below.
    """
    check_top(top, checkpoint)
    check_scale(encoder.mpp, checkpoint)
    for spots in (atlas, cases):
        if spots is not None:
            check_patches(encoder.mpp, encoder.tile, spots)
    if atlas is not None and cases is not None:
        refuse_shared(atlas, cases)


def check_scale(mpp: float, checkpoint: SpadeCheckpoint) -> None:
    """See that the tower reads tiles at the scale that its experts learned at, which `train spade` states.

    Args:
        mpp: Micrometres per pixel of the tower's tiles.
        checkpoint: The experts.

    Raises:
        UsageError: They learned at another scale.
    """
    tile = checkpoint.about.get("tile")
    learned = tile.get("mpp") if isinstance(tile, Mapping) else None
    if isinstance(learned, int | float) and learned > 0 and not alike(mpp, learned):
        raise UsageError(
            f"The experts learned from patches of {learned:g} µm per pixel, and the tower would read tiles of {mpp:g}. "
            f"Pass --mpp {learned:g}."
        )


def check_patches(mpp: float, side: int, spots: SpotDataset) -> None:
    """See that a dataset's patches hold what the tower takes.

    Args:
        mpp: Micrometres per pixel of the tower's tiles.
        side: Side of them, pixels.
        spots: What it will embed.

    Raises:
        PatchShapeError: They are cut at another scale, or too small.
    """
    if not alike(mpp, spots.mpp):
        raise PatchShapeError(
            f"The patches of {spots.name} have {spots.mpp:g} µm per pixel, and the tower reads tiles of {mpp:g}. "
            f"Build the dataset again with `haiku-edge spots build --mpp {mpp:g}`."
        )
    check_size(side, spots)


def refuse_shared(atlas: SpotDataset, cases: SpotDataset) -> None:
    """See that no patient of the atlas calibrates it too (CohortError)."""
    both = {section.patient for section in atlas.sections} & {section.patient for section in cases.sections}
    if both:
        raise CohortError(
            f"{len(both)} patients are in {atlas.name} and in {cases.name}: nobody of the atlas of spots can calibrate "
            "it. Name other patients."
        )


def check_top(top: int | None, checkpoint: SpadeCheckpoint) -> None:
    """See that there are so many experts (UsageError)."""
    experts = checkpoint.config.experts
    if top is not None and not 1 <= top <= experts:
        raise UsageError(f"--top {top} can't be had of {experts} experts. Give a number from 1 to {experts}.")


def known_to_both(host: Bundle, known: KnownPatients) -> KnownPatients:
    """Whom the towers of a bundle of both families will have seen, once none of them calibrates the host's proteins.

    A bundle says it of all its towers together, so that `predict` would refuse one whose calibration is among them.

    Args:
        host: The bundle of Haiku.
        known: Whom the experts and their encoder have seen.

    Raises:
        CohortError: Somebody calibrates.
    """
    if host.manifest.calibration is not None:
        patients = read_cases(host, open_atlas(host, index="exact")).patients.tolist()
        if seen := known.among(patients):
            raise CohortError(
                f"{len(seen)} patients who calibrate {host.manifest.name} are among those whom the experts or their "
                "encoder learned from. Train with --exclude-patient for each, or write a bundle without --into."
            )
    return known.with_earlier(read_known_patients(host))
