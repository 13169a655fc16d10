"""The report's chapter on genes: which of them it shows, and the spots behind them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from .experts import ExpertLabel, expert_colour
from .heatmap import marker_values
from .images import ReportImages, data_uri, webp
from .plots import Axis, IntervalPlot, axis_over, plot_of
from .schema import Result
from .schema_spatial import Expert, Gene, SpatialSection, Spot, SpotEvidence, SpotGene

PREFIX = "gene_"
"""How the columns of genes begin in `tiles.parquet`."""

MOST_MAPS = 24
"""Genes with a heatmap: a reader looks through two dozen pictures, and a page holds them."""

MOST_ROWS = 60
"""Genes in the report's table and in QuPath's measurements."""

MOST_SPOTS = 8
"""Spots shown beside a tile."""

_TOP_GENES = 5
"""Genes named below a spot: those that it measured farthest from average."""

_EXPERT_GENES = 6
"""Genes named of an expert: the highest in its spots."""

_FULL = 0.98
"""The mixture sees the whole tile from this share of its side on."""


@dataclass(frozen=True, slots=True)
class GeneMaps:
    """Pictures over the slide, each of the overview's size.

    Attributes:
        genes: PNG by gene, in the order in which they are shown.
        experts: PNG of the expert that weighs most.
        labels: Where the experts' numbers stand.
        radius: Of a number's disc, in overview pixels.
    """

    genes: Mapping[str, bytes]
    experts: bytes
    labels: tuple[ExpertLabel, ...]
    radius: float


@dataclass(frozen=True, slots=True)
class SpotRow:
    """One tile with its spots.

    Attributes:
        label: Its letter on the overview.
        item: What the result says.
        spots: Those that are shown.
    """

    label: str
    item: SpotEvidence
    spots: list[Spot]


@dataclass(frozen=True, slots=True)
class GeneChapter:
    """What the templates show of a mixture of experts.

    Attributes:
        found: What the result says.
        intervals: Whether a gene of the table has an interval.
        table: Genes of the table, the farthest from average first, with their plots.
        reasons: Why genes have no value or no interval, with their names, where the table does not say so.
        axis: Of all plots.
        maps: Genes with a heatmap, each with its picture's address.
        experts_map: Address of the map of experts.
        labels: Where the experts' numbers stand.
        radius: Of a number's disc, in overview pixels.
        rows: Tiles with their spots.
        tiles: Element identifier and address of the tiles' H&E, by row of the tiles table.
        spots: Element identifier and address of the spots' H&E, by spot identifier.
        seen: Side of what the mixture sees, as a share of the tile's; None where it sees all of it.
    """

    found: SpatialSection
    intervals: bool
    table: list[tuple[Gene, IntervalPlot]]
    reasons: list[tuple[str, list[str]]]
    axis: Axis
    maps: list[tuple[Gene, str]]
    experts_map: str
    labels: tuple[ExpertLabel, ...]
    radius: float
    rows: list[SpotRow]
    tiles: dict[int, tuple[str, str]]
    spots: dict[str, tuple[str, str]]
    seen: float | None


def gene_chapter(
    result: Result, images: ReportImages, maps: GeneMaps | None, letters: Mapping[int, str]
) -> GeneChapter | None:
    """Gather the chapter; None where the run has no genes.

    Args:
        result: What was found.
        images: Pictures of tiles and spots.
        maps: Pictures over the slide; None where there are no genes.
        letters: Of the shown tiles, by row of the tiles table.
    """
    found = result.spatial
    if found is None or maps is None:
        return None
    listed = listed_genes(found.genes)
    axis = axis_over(z for gene in listed for z in (gene.value, gene.low, gene.high))
    by_name = {gene.gene: gene for gene in found.genes}
    rows = [SpotRow(letters[item.tile], item, item.neighbours[:MOST_SPOTS]) for item in found.evidence]
    return GeneChapter(
        found=found,
        intervals=any(gene.low is not None and gene.high is not None for gene in listed),
        table=[(gene, plot_of(axis, gene.value, gene.low, gene.high)) for gene in listed],
        reasons=_reasons(found.genes, listed),
        axis=axis,
        maps=[(by_name[name], data_uri(picture, "image/png")) for name, picture in maps.genes.items()],
        experts_map=data_uri(maps.experts, "image/png"),
        labels=maps.labels,
        radius=maps.radius,
        rows=rows,
        tiles={row.item.tile: (f"tile-{n}", data_uri(webp(images.tiles[row.item.tile]))) for n, row in enumerate(rows)},
        spots=_pictures(rows, images),
        seen=_seen(result, found),
    )


def mapped_genes(result: Result, tiles: pa.Table) -> tuple[str, ...]:
    """The genes that vary most over the slide, at most `MOST_MAPS`, the most varying first."""
    genes = [] if result.spatial is None else [gene.gene for gene in result.spatial.genes]
    spread = {name: _spread(tiles, name) for name in genes}
    said = [name for name in genes if np.isfinite(spread[name])]
    return tuple(sorted(said, key=lambda name: -spread[name])[:MOST_MAPS])


def measured_genes(result: Result, tiles: pa.Table) -> tuple[str, ...]:
    """The genes that QuPath is given: all, or where they are more than `MOST_ROWS`, those with a heatmap."""
    genes = () if result.spatial is None else tuple(gene.gene for gene in result.spatial.genes)
    return genes if len(genes) <= MOST_ROWS else mapped_genes(result, tiles)


def listed_genes(genes: Sequence[Gene], most: int = MOST_ROWS) -> list[Gene]:
    """The genes of a table: the farthest from average first, those without a value last."""
    return sorted(genes, key=lambda gene: (gene.value is None, -abs(gene.value or 0.0)))[:most]


def top_genes(spot: Spot) -> list[SpotGene]:
    """The genes that a spot measured farthest from average, the farthest first."""
    return sorted(spot.genes, key=lambda item: (-abs(item.z), item.gene))[:_TOP_GENES]


def expert_genes(expert: Expert) -> list[str]:
    """The genes to name of an expert."""
    return expert.genes[:_EXPERT_GENES]


def experts_in_words(found: SpatialSection, most: int = 3) -> str:
    """Which experts speak for the slide, in one line."""
    first = sorted(found.experts, key=lambda item: -item.share)[:most]
    shares = ", ".join(f"{item.expert} ({100 * item.share:.0f} %)" for item in first)
    return f"Of {len(found.experts)} experts, {found.experts_a_tile:.1f} speak for a tile; the heaviest are {shares}."


def colour_of(expert: int) -> str:
    """An expert's colour as CSS takes it."""
    red, green, blue = expert_colour(expert)
    return f"rgb({red} {green} {blue})"


def _spread(tiles: pa.Table, gene: str) -> float:
    """Standard deviation over the tiles, NaN where none has a value."""
    values = marker_values(tiles, f"{PREFIX}{gene}")
    said = values[np.isfinite(values)].astype(np.float64)
    return float(said.std()) if len(said) else float("nan")


def _reasons(genes: Sequence[Gene], listed: Sequence[Gene]) -> list[tuple[str, list[str]]]:
    said = {gene.gene for gene in listed if gene.value is None}
    reasons: dict[str, list[str]] = {}
    for gene in genes:
        if gene.reason is not None and gene.gene not in said:
            reasons.setdefault(gene.reason, []).append(gene.gene)
    return list(reasons.items())


def _pictures(rows: Sequence[SpotRow], images: ReportImages) -> dict[str, tuple[str, str]]:
    names = dict.fromkeys(spot.spot for row in rows for spot in row.spots)
    return dict(_addresses(names, images))


def _addresses(names: Mapping[str, None], images: ReportImages) -> Iterator[tuple[str, tuple[str, str]]]:
    for number, name in enumerate(names):
        if name in images.spots:
            yield name, (f"spot-{number}", data_uri(images.spots[name]))


def _seen(result: Result, found: SpatialSection) -> float | None:
    share = found.tile_size * found.mpp / (result.tiles.size * result.tiles.mpp)
    return share if share < _FULL else None
