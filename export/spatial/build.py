"""From a table of sections to a dataset of spots: read, choose genes, cut patches, write."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.atomic import check_writable
from haiku_edge.runtime.engine.fingerprint import cpu_threads
from haiku_edge.runtime.errors import PanelError, UnreadableDatasetError
from haiku_edge.runtime.inference import Progress, Silent

from .check import resolution
from .cohort_table import CohortRow, read_cohort, remarks_on_cohort
from .dataset import MPP, SIZE, SpotDataset, check_place, write_spots
from .genes import LEAST_COMMON, PER_SECTION, CommonGenes, common_genes, library_of, most_variable
from .open import read_section
from .patches import cut_patches, fine_enough, place_spots
from .pictures import open_picture
from .types import SpotSection


@dataclass(frozen=True, slots=True)
class SpotSettings:
    """How a dataset is made.

    Attributes:
        genes_per_section: Most variable genes that each section adds to the union.
        least_common_genes: Genes that must stay in common for a section to join.
        size: Side of a patch, pixels.
        mpp: Micrometres per pixel of a patch.
        threads: Threads that read slides; None takes all cores that this process may use.
        force: Replace an older dataset.
        genes: Genes to take, as those of a dataset that experts learned from; None chooses the most variable.
    """

    genes_per_section: int = PER_SECTION
    least_common_genes: int = LEAST_COMMON
    size: int = SIZE
    mpp: float = MPP
    threads: int | None = None
    force: bool = False
    genes: tuple[str, ...] | None = None


@dataclass
class SpotReport:
    """What became of the sections.

    Attributes:
        genes: Genes of the dataset.
        common: Genes that the sections share, of which those are chosen.
        spots: Section → spots written.
        outside: Section → spots left out, since their patch leaves the image.
        left_out: Section → why it was.
    """

    genes: int = 0
    common: int = 0
    spots: dict[str, int] = field(default_factory=dict)
    outside: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def build_spots(
    table: Path, out: Path, settings: SpotSettings | None = None, *, progress: Progress | None = None
) -> tuple[SpotDataset, SpotReport]:
    """Make a dataset of spots. One section is held at a time; each is read three times, its image once.

    Source of the steps: SPADE, 2506.21857, published code (reference 2.3 and 2.4), with the names of the genes kept.

    Args:
        table: A CSV or TSV file; see `read_cohort`.
        out: The dataset's folder.
        settings: How it is made.
        progress: Told about every section, and about every spot.

    Raises:
        UnreadableDatasetError, PanelError, CohortError: The input can't be used; nothing is written.
        SlideError: An image can't be used.
        OutputError: See `write_spots`.
    """
    chosen, told, report = settings or SpotSettings(), progress or Silent(), SpotReport()
    check_place(out, force=chosen.force)
    check_writable(out.parent)
    rows = read_cohort(table)
    for remark in remarks_on_cohort(rows):
        told.say(remark)
    spots: dict[str, int] = {}
    common = _share_genes(rows, chosen, report, told, spots)
    joined = [row for row in rows if row.section in common.joined]
    genes = _choose_genes(joined, common, chosen, told)
    report.genes, report.common = len(genes), len(common.genes)
    told.start("Cutting patches", sum(spots[row.section] for row in joined))
    dataset = write_spots(
        out,
        _cut_sections(joined, chosen, report, told, out.absolute().parent),
        name=out.name,
        genes=genes,
        size=chosen.size,
        mpp=chosen.mpp,
        selection=_selection(chosen, report),
        force=chosen.force,
        progress=told,
    )
    told.finish()
    return dataset, report


def _share_genes(
    rows: Sequence[CohortRow], settings: SpotSettings, report: SpotReport, progress: Progress, spots: dict[str, int]
) -> CommonGenes:
    """Read every section for its genes' names, see that its image is there, and fill in its number of spots."""

    def names() -> Iterator[tuple[str, Sequence[str]]]:
        for row in rows:
            section = read_section(row, progress)
            image_of(section)
            fine_enough(section, settings.mpp)
            spots[row.section] = len(section.spots)
            progress.advance(1)
            yield row.section, section.genes

    progress.start("Reading the genes of sections", len(rows))
    common = common_genes(names(), settings.least_common_genes)
    progress.finish()
    for section, count in common.left_out.items():
        report.left_out[section] = f"with it, {count} genes would be left in common"
        progress.say(
            f"{section} is left out: {report.left_out[section]}, and {settings.least_common_genes} are asked for."
        )
    return common


def _choose_genes(
    rows: Sequence[CohortRow], common: CommonGenes, settings: SpotSettings, progress: Progress
) -> tuple[str, ...]:
    """The genes that were asked for, or the union of each section's most variable ones, in the common genes' order."""
    if settings.genes is not None:
        return _check_genes(settings.genes, common)
    wanted: set[str] = set()
    progress.start("Choosing variable genes", len(rows))
    for row in rows:
        section = read_section(row)
        places = {gene: column for column, gene in enumerate(section.genes)}
        counts = section.counts[:, [places[gene] for gene in common.genes]]
        columns = most_variable(counts, library_of(section.counts), settings.genes_per_section)
        wanted.update(common.genes[column] for column in columns.tolist())
        progress.advance(1)
    progress.finish()
    if not wanted:
        raise PanelError("No gene varies within a section, so there is nothing to choose. Check the counts.")
    return tuple(gene for gene in common.genes if gene in wanted)


def _check_genes(genes: tuple[str, ...], common: CommonGenes) -> tuple[str, ...]:
    """The genes, all of which are among the common ones."""
    missing = sorted(set(genes) - set(common.genes))
    if missing:
        raise PanelError(
            f"{len(missing)} of the {len(genes)} genes asked for are not in every section ({', '.join(missing[:3])}…). "
            "Leave out the sections that lack them, or learn and compare with genes that all have."
        )
    return genes


def _cut_sections(
    rows: Sequence[CohortRow], settings: SpotSettings, report: SpotReport, progress: Progress, scratch: Path
) -> Iterator[tuple[SpotSection, Iterable[NDArray[np.uint8]]]]:
    for row in rows:
        section = read_section(row)
        with open_picture(image_of(section), resolution(section), scratch) as slide:
            placed = place_spots(section, slide.info, settings.size, settings.mpp)
            report.spots[row.section] = len(placed.section.spots)
            report.outside[row.section] = placed.outside
            progress.advance(placed.outside)
            yield placed.section, cut_patches(slide, placed.plan, settings.threads or cpu_threads())


def image_of(section: SpotSection) -> Path:
    """The image of a section.

    Raises:
        UnreadableDatasetError: It has none.
    """
    if section.image is None:
        raise UnreadableDatasetError(
            f"The section {section.section} came without an image. Name its H&E in the column image of the table."
        )
    return section.image


def _selection(settings: SpotSettings, report: SpotReport) -> dict[str, Any]:
    return {
        "variable_genes_per_section": settings.genes_per_section if settings.genes is None else None,
        "least_common_genes": settings.least_common_genes,
        "common_genes": report.common,
        "left_out": dict(report.left_out),
    }
