"""Give a bundle an atlas, or more of one: embed, build, and write a new bundle; the old one is left as it is."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from haiku_edge.runtime.atlas import open_atlas
from haiku_edge.runtime.atomic import make_directory
from haiku_edge.runtime.bundle import Bundle, Description, Manifest, read_known_patients
from haiku_edge.runtime.errors import UnreadableDatasetError
from haiku_edge.runtime.inference import Progress, Silent

from ..bundle import Content, check_replaceable, write_bundle
from ..bundle_copy import carry_files
from ..dataset import PatchDataset, refuse_person_names, remarks_on_names
from ..embedding import embed_dataset
from .extend import extend_atlas, refuse_shared
from .from_dataset import CALIBRATION_SHARE, AtlasParts, atlas_from_dataset
from .trained_on import refuse_trained_on

LONGEST_STATEMENT = 1000
"""Characters that a manifest's statement may have."""


@dataclass(frozen=True, slots=True)
class AddSettings:
    """How a dataset is added.

    Attributes:
        device: auto, tensorrt, cuda or cpu.
        threads: Threads to compute with; None takes all cores.
        drop_unknown: Leave out markers that the mIF tower does not know.
        any_mpp: Take patches of another resolution than the towers were made for.
        seed: Draws the calibration patients of a first atlas where the dataset does not name them.
        calibration_share: Share of the patients drawn.
        force: Replace an older bundle in the new one's place.
    """

    device: str = "auto"
    threads: int | None = None
    drop_unknown: bool = False
    any_mpp: bool = False
    seed: int = 0
    calibration_share: float = CALIBRATION_SHARE
    force: bool = False


def add_to_bundle(
    bundle: Bundle,
    dataset: PatchDataset,
    out: Path,
    settings: AddSettings | None = None,
    *,
    progress: Progress | None = None,
) -> Manifest:
    """Write a bundle with the patches of a dataset as evidence, beside those that it has.

    Args:
        bundle: Whose towers embed.
        dataset: The patches.
        out: The new bundle.
        settings: How they are added.
        progress: Told about every stage.

    Returns:
        The new bundle's manifest.

    Raises:
        DatasetError: The patches can't be used, a patient is on both sides, or is called by a person's name.
        OutputExistsError: Something is in that place that is no bundle, or is one and `force` is off.
        BundleError, OutputError: See `write_bundle`.
    """
    chosen, told = settings or AddSettings(), progress or Silent()
    check_replaceable(out, force=chosen.force)
    _check_dataset(dataset)
    known = read_known_patients(bundle)
    refuse_trained_on(dataset, known)
    for remark in remarks_on_names(dataset):
        told.say(remark)
    atlas = None if bundle.manifest.atlas is None else open_atlas(bundle, index="exact")
    if atlas is not None:
        refuse_shared(bundle, atlas, dataset)
    cohort = embed_dataset(
        bundle,
        dataset,
        told,
        modalities=("he", "mif", "text"),
        device=chosen.device,
        threads=chosen.threads,
        drop_unknown=chosen.drop_unknown,
        any_mpp=chosen.any_mpp,
    )
    told.start("Building the atlas")
    if atlas is None:
        share = chosen.calibration_share
        parts = atlas_from_dataset(dataset, cohort, seed=chosen.seed, calibration_share=share, known=known)
    else:
        parts = extend_atlas(bundle, atlas, dataset, cohort)
    told.finish()
    if bundle.manifest.students:
        told.say("The students are left out, since they were measured on the old atlas: `haiku-edge export distill`.")
    for remark in parts.remarks:
        told.say(remark)
    with _carried_over(bundle, parts, out) as contents:
        return write_bundle(out, _description(bundle, dataset, parts, len(cohort)), contents)


def _check_dataset(dataset: PatchDataset) -> None:
    """Refuse what can't become evidence, before the towers are opened."""
    refuse_person_names(dataset.patients.tolist(), dataset.name)
    if not dataset.markers:
        raise UnreadableDatasetError(
            f"No patch of {dataset.name} has mIF, of which an atlas is made. In the published layout mIF is a .pkl "
            "file and a .npy file is H&E: see docs/dataset-format.md, or cut images of regions with `haiku-edge atlas "
            "build`."
        )


def _description(bundle: Bundle, dataset: PatchDataset, parts: AtlasParts, patches: int) -> Description:
    """The old description with the new atlas. Figures that were measured on the old atlas are kept as such."""
    manifest = bundle.manifest
    old = Description.model_validate_json(manifest.model_dump_json(exclude={"files"}))
    added = {"dataset": dataset.name, "patches": patches, "to": bundle.digest, "remarks": list(parts.remarks)}
    metrics = {"atlas_added": added} | ({"before": dict(manifest.metrics)} if manifest.metrics else {})
    count = parts.section.patch_count - (0 if manifest.atlas is None else manifest.atlas.patch_count)
    statement = f"{manifest.statement} {count} patches of {dataset.name} were added to the atlas."
    if len(statement) > LONGEST_STATEMENT:
        statement = manifest.statement  # which by then tells of many
    changed = {"metrics": metrics, "statement": statement, "students": ()}
    return parts.described(old.model_copy(update=changed))


@contextmanager
def _carried_over(bundle: Bundle, parts: AtlasParts, out: Path) -> Iterator[dict[str, Content]]:
    """Every file of the new bundle; large ones as copies in a folder that is gone afterwards."""
    make_directory(out.parent)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.", suffix=".parts") as folder:
        kept = sorted(set(bundle.manifest.files) - _replaced(bundle) - set(parts.contents))
        yield {**parts.contents, **carry_files(bundle, kept, Path(folder))}


def _replaced(bundle: Bundle) -> set[str]:
    """Files of the old atlas and calibration, and of students, which were measured on that atlas."""
    manifest = bundle.manifest
    parts = [manifest.calibration, *(student.calibration for student in manifest.students)]
    names = {part.file for part in parts if part is not None}
    names |= {name for student in manifest.students for name in (student.file, *student.weights)}
    if (atlas := manifest.atlas) is not None:
        names |= {atlas.vectors, atlas.patches, atlas.pictures, atlas.facts or "", atlas.index.file or ""}
    return names
