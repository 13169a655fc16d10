"""Puts a case into the words and numbers of `result.json`, and its tiles into a table."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..atlas import Atlas
from ..inference.clock import StageClock
from ..inference.describe import describe_bundle, describe_device, describe_slide
from ..version import product
from .analyse import Analysis
from .case import Case
from .cautions import case_warnings
from .changes import Changes
from .composition import Composition
from .edits import Edit, same_key
from .fusion import Ranked
from .schema import (
    BlocksSection,
    Change,
    CounterfactualResult,
    EditSection,
    GallerySection,
    GroupShare,
    MarkerChange,
    NicheSection,
    Parts,
    RandomSection,
    ShownPatch,
    ShownTile,
    TextSection,
    TilesSection,
)
from .tiles import choose_tiles

SHOWN_PATCHES = 5
"""Patches shown of each tile that went, and that came."""

SHOWN_GROUPS = 12
_STANDS_OUT = 3

Floats = NDArray[np.float64]


def assemble_result(case: Case, clock: StageClock) -> CounterfactualResult:
    """Make the result of a run; everything that the report shows comes from here."""
    analysis, atlas = case.analysis, case.model.atlas
    return CounterfactualResult(
        product=product(),
        bundle=describe_bundle(case.model.bundle),
        device=describe_device(case.model.engine, case.model.tower),
        slide=describe_slide(case.info, case.digest, case.survey),
        tiles=_tiles(case),
        notes=case.question.notes.section,
        edits=[_edit(edit) for edit in case.question.edited.edits],
        text=_text(case),
        parameters=_parameters(case),
        positivity=atlas.positivity,
        blocks=_blocks(case),
        markers=_markers(analysis, atlas),
        niches=[_niche(analysis, atlas, number) for number in range(len(analysis.niche_changes))],
        random_edits=_random(analysis),
        gallery=_gallery(analysis),
        evidence=_evidence(case),
        warnings=case_warnings(case),
        timing={**clock.seconds, "total": clock.total()},
    )


def tile_table(case: Case) -> pa.Table:
    """The rows of `counterfactual.parquet`, one a tile of the plan; null where nothing is said."""
    grid, count = case.survey.plan.grid, len(case.judged.status)
    niche, block = np.full(count, -1, np.int32), np.full(count, -1, np.int32)
    niche[case.judged.used], block[case.judged.used] = case.analysis.niches.labels + 1, case.analysis.blocks.labels
    columns: dict[str, pa.Array] = {
        "column": pa.array(grid.columns, pa.int32()),
        "row": pa.array(grid.rows, pa.int32()),
        "x": pa.array(grid.origins[:, 0], pa.int32()),
        "y": pa.array(grid.origins[:, 1], pa.int32()),
        "status": pa.array(case.judged.status.tolist(), pa.string()),
        "similarity": _nullable(case.judged.similarity),
        "niche": pa.array(niche, pa.int32(), mask=niche < 0),
        "block": pa.array(block, pa.int32(), mask=block < 0),
    }
    for m, marker in enumerate(case.model.atlas.markers):
        for name, values in (("before", case.analysis.before), ("after", case.analysis.after)):
            column = np.full(count, np.nan)
            column[case.judged.used] = values[:, m]
            columns[f"{marker}_{name}"] = _nullable(column)
    return pa.table(columns)


def _tiles(case: Case) -> TilesSection:
    grid = case.survey.plan.grid
    counts = {name: int((case.judged.status == name).sum()) for name in ("used", "abstained", "blur", "unreadable")}
    return TilesSection.model_validate(
        {"size": grid.size, "mpp": grid.mpp, "extent": grid.extent, "embedding": case.embedding, **counts}
    )


def _edit(edit: Edit) -> EditSection:
    field, before, after = (edit.key, edit.before, edit.after) if edit.shown else (None, None, None)
    return EditSection(
        field=field,
        before=before,
        after=after,
        atlas_patients_before=edit.patients_before,
        atlas_patients_after=edit.patients_after,
        atlas_patients_known=edit.patients_known,
    )


def _text(case: Case) -> TextSection:
    hidden = case.question.edited.original.hidden_facts or case.question.edited.edited.hidden_facts
    return TextSection(
        cosine=case.question.cosine,
        prompt_before=None if hidden else case.question.edited.original.prompt,
        prompt_after=None if hidden else case.question.edited.edited.prompt,
    )


def _parameters(case: Case) -> dict[str, Any]:
    return {
        "fusion": case.search.fusion,
        "text_weight": case.search.text_weight,
        "neighbours": case.search.neighbours,
        "niches": case.options.niches,
        "random_edits": case.options.random_edits,
        "exclude_patients": list(case.options.exclude_patients),
        "mpp_override": case.options.mpp,
    }


def _blocks(case: Case) -> BlocksSection:
    blocks = case.analysis.blocks
    return BlocksSection(side_mm=blocks.side_mm, count=blocks.count, tiles=int((blocks.labels >= 0).sum()))


def _markers(analysis: Analysis, atlas: Atlas) -> list[MarkerChange]:
    order = np.argsort(-np.nan_to_num(np.abs(analysis.changes.difference), nan=-1), kind="stable")
    drawn = analysis.null.drawn
    low, high = _percentiles(drawn, len(atlas.markers))
    return [
        MarkerChange(
            **_change(atlas.markers[m], analysis.changes, analysis.q, m),
            random_p=_number(analysis.null.p[m]),
            random_low=_number(low[m]),
            random_high=_number(high[m]),
            parts={own.name: _parts(own, m) for own in analysis.compositions},
        )
        for m in order
    ]


def _percentiles(drawn: Floats, markers: int) -> tuple[Floats, Floats]:
    known = np.isfinite(drawn).any(axis=0) if len(drawn) else np.zeros(markers, np.bool_)
    low, high = np.full(markers, np.nan), np.full(markers, np.nan)
    if known.any():
        low[known], high[known] = np.nanpercentile(drawn[:, known], [2.5, 97.5], axis=0)
    return low, high


def _change(marker: str, changes: Changes, q: Floats, m: int) -> dict[str, Any]:
    return {
        "marker": marker,
        "before": _number(changes.before[m]),
        "after": _number(changes.after[m]),
        "difference": _number(changes.difference[m]),
        "low": _number(changes.low[m]),
        "high": _number(changes.high[m]),
        "effect_size": _number(changes.effect[m]),
        "p": _number(changes.p[m]),
        "p_wilcoxon": _number(changes.p_wilcoxon[m]),
        "q": _number(q[m]),
        "tiles": int(changes.tiles[m]),
        "blocks": int(changes.blocks[m]),
    }


def _parts(composition: Composition, m: int) -> Parts:
    return Parts(composition=_number(composition.between[m]), within=_number(composition.within[m]))


def _niche(analysis: Analysis, atlas: Atlas, number: int) -> NicheSection:
    changes, q = analysis.niche_changes[number], analysis.niche_q[number]
    excess = np.nan_to_num(changes.before - analysis.changes.before, nan=-1)
    highest = [atlas.markers[m] for m in np.argsort(-excess, kind="stable")[:_STANDS_OUT] if excess[m] > 0]
    order = np.argsort(-np.nan_to_num(np.abs(analysis.changes.difference), nan=-1), kind="stable")
    return NicheSection(
        number=number + 1,
        tiles=int((analysis.niches.labels == number).sum()),
        highest=highest,
        markers=[Change(**_change(atlas.markers[m], changes, q, m)) for m in order],
    )


def _random(analysis: Analysis) -> RandomSection:
    null = analysis.null
    moved = np.nanmean(np.abs(null.drawn), axis=1) if len(null.drawn) else np.array([math.nan])
    real = np.abs(null.real[np.isfinite(null.real)])
    return RandomSection(
        edits=len(null.drawn),
        fields=null.fields,
        tiles=null.tiles,
        mean_change=float(real.mean()) if len(real) else None,
        random_median=_number(float(np.median(moved))),
        p=_number(null.overall_p),
    )


def _gallery(analysis: Analysis) -> GallerySection:
    effective = 1 / np.maximum((analysis.patient_shares**2).sum(axis=1), 1e-12)
    return GallerySection(
        turnover=analysis.turnover,
        renewed=analysis.renewed,
        effective_patients_before=float(effective[0]),
        effective_patients_after=float(effective[1]),
        groups={own.name: _largest(own) for own in analysis.compositions},
    )


def _largest(composition: Composition) -> list[GroupShare]:
    held = np.maximum(composition.before, composition.after)
    order = np.argsort(-held, kind="stable")[:SHOWN_GROUPS]
    return [
        GroupShare(group=composition.labels[g], before=float(composition.before[g]), after=float(composition.after[g]))
        for g in order
        if held[g] > 0
    ]


def _evidence(case: Case) -> list[ShownTile]:
    analysis, grid = case.analysis, case.survey.plan.grid
    shown = []
    for tile in choose_tiles(case):
        plan_row = int(case.judged.used[tile.row])
        before, after = (set(r.ids[tile.row].tolist()) for r in (analysis.ranked_before, analysis.ranked_after))
        both = (before & after) | {-1}
        shown.append(
            ShownTile(
                tile=plan_row,
                x=int(grid.origins[plan_row, 0]),
                y=int(grid.origins[plan_row, 1]),
                niche=int(analysis.niches.labels[tile.row]) + 1,
                why=tile.why,
                stay=len(both - {-1}),
                went=_patches(case, analysis.ranked_before, tile.row, both),
                came=_patches(case, analysis.ranked_after, tile.row, both),
            )
        )
    return shown


def _patches(case: Case, ranked: Ranked, row: int, both: set[int]) -> list[ShownPatch]:
    """The best ranked patches that are not in `both`."""
    atlas = case.model.atlas
    own = [(int(i), float(s)) for i, s in zip(ranked.ids[row], ranked.scores[row], strict=True) if int(i) not in both]
    return [
        ShownPatch(
            patch=str(atlas.patches[patch]),
            patient=str(atlas.patients[patch]),
            organ=str(atlas.organs[patch]),
            panel=str(atlas.panels[patch]),
            score=score,
            facts=_edited_facts(case, str(atlas.patients[patch])),
        )
        for patch, score in own[:SHOWN_PATCHES]
    ]


def _edited_facts(case: Case, patient: str) -> dict[str, str]:
    own = {same_key(key): value for key, value in case.model.atlas.facts.get(patient, {}).items()}
    return {
        edit.key: own[same_key(edit.key)]
        for edit in case.question.edited.edits
        if edit.shown and same_key(edit.key) in own
    }


def _number(value: float | np.floating[Any]) -> float | None:
    return float(value) if math.isfinite(value) else None


def _nullable(values: NDArray[np.floating]) -> pa.Array:
    own = np.asarray(values, np.float32)
    return pa.array(own, pa.float32(), mask=~np.isfinite(own))
