"""Puts what the mixture found into the words and numbers of `result.json`."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..report.schema import Biomarker
from ..report.schema_spatial import Expert, Gene, SpatialSection, Spot, SpotEvidence, SpotGene
from .describe import describe_device
from .evidence import known
from .spade import SpadeFindings, SpadeModel
from .summarise import describe_calibration, summarise

MOST_SPOTS_A_TILE: Final = 10
"""Spots told of each shown tile: those that weigh most."""

MOST_GENES_A_SPOT: Final = 20
"""Genes told of each spot: those that it measured farthest from average."""


def describe_genes(model: SpadeModel, findings: SpadeFindings) -> SpatialSection:
    """Describe genes, experts and evidence over the slide."""
    status, tower = findings.tiles.status, model.section.tower
    biomarkers = summarise(model.atlas, findings.tiles, findings.calibration, findings.calibration, ())
    weights = findings.output.experts[findings.searched]
    return SpatialSection(
        device=describe_device(model.engine),
        tile_size=tower.tile_size,
        mpp=tower.mpp,
        spots=len(model.atlas.patches),
        patients=len(np.unique(model.atlas.patients)),
        keys=model.section.keys,
        neighbours=model.neighbours,
        predicted=int((status == "predicted").sum()),
        abstained=int((status == "abstained").sum()),
        calibration=describe_calibration(findings.calibration),
        genes=[_gene(biomarker) for biomarker in biomarkers],
        evidence=_evidence(model, findings),
        experts=_experts(model, findings, weights),
        experts_a_tile=effective_experts(weights),
    )


def effective_experts(weights: NDArray[np.float32]) -> float:
    """How many experts speak for a tile: exp of the mean entropy of their weights, (n, e); 1 is one alone."""
    shares = weights.astype(np.float64)
    logarithms = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return float(np.exp(-(shares * logarithms).sum(axis=1).mean()))


def _gene(biomarker: Biomarker) -> Gene:
    return Gene(
        gene=biomarker.marker,
        expression=biomarker.intensity,
        **biomarker.model_dump(include=set(Gene.model_fields) - {"gene", "expression"}),
    )


def _experts(model: SpadeModel, findings: SpadeFindings, weights: NDArray[np.float32]) -> list[Expert]:
    heaviest = findings.expert[findings.searched]
    return [
        Expert(
            expert=number,
            share=float(weights[:, number - 1].mean(dtype=np.float64)),
            tiles=int((heaviest == number).sum()),
            spots=stated.spots,
            organs=list(stated.organs),
            genes=list(stated.genes),
        )
        for number, stated in enumerate(model.section.experts, start=1)
    ]


def _evidence(model: SpadeModel, findings: SpadeFindings) -> list[SpotEvidence]:
    tiles, expert = findings.tiles, findings.expert
    return [
        SpotEvidence(
            tile=tile.tile,
            x=int(tiles.origins[tile.tile, 0]),
            y=int(tiles.origins[tile.tile, 1]),
            why=tile.why,
            status=tiles.status[tile.tile],
            expert=int(expert[tile.tile]),
            similarity=float(tiles.similarity[tile.tile]),
            percentile=known(tiles.percentile[tile.tile]),
            neighbours=_spots(model, findings, tiles.row_of[tile.tile]),
        )
        for tile in findings.chosen
    ]


def _spots(model: SpadeModel, findings: SpadeFindings, row: int) -> list[Spot]:
    atlas, found = model.atlas, findings.found
    percentiles = findings.calibration.percentile(found.he_similarity[row])
    return [
        Spot(
            rank=rank + 1,
            spot=str(atlas.patches[spot]),
            section=str(atlas.sections[spot]),
            patient=str(atlas.patients[spot]),
            organ=str(atlas.organs[spot]),
            similarity=float(found.he_similarity[row, rank]),
            percentile=known(percentiles[rank]),
            weight=float(found.weights[row, rank]),
            genes=_measured(model, int(spot)),
        )
        for rank, spot in enumerate(found.ids[row][:MOST_SPOTS_A_TILE])
        if spot >= 0
    ]


def _measured(model: SpadeModel, spot: int) -> list[SpotGene]:
    """The genes of a spot that lie farthest from average."""
    atlas = model.atlas
    z, expression = atlas.z[spot], atlas.expression[spot]
    order = [int(g) for g in np.argsort(-np.abs(z), kind="stable") if np.isfinite(z[g])]
    return [
        SpotGene(gene=atlas.markers[g], expression=float(expression[g]), z=float(z[g]))
        for g in order[:MOST_GENES_A_SPOT]
    ]
