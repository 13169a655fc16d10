"""The tiles of the slide: which are compared, and which are shown."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import NoTissueError
from ..inference import Model, retrieve
from ..inference.embed import EmbeddedTiles
from ..inference.tiles import readable_tiles
from ..slide import is_blurred
from .case import Case, ChosenTile, Judged
from .niches import Clusters

WELL_FILLED = 0.6
"""Share of tissue from which a tile shows tissue rather than its edge."""


def judge_tiles(model: Model, embedded: EmbeddedTiles) -> Judged:
    """Keep the tiles that are sharp, readable and like something in the atlas.

    Raises:
        NoTissueError: There is none.
    """
    searched = readable_tiles(embedded)
    status = np.where(is_blurred(embedded.sharpness), "blur", "unreadable").astype("<U10")
    status[list(embedded.unreadable)] = "unreadable"
    similarity = np.full(len(status), np.nan, np.float32)
    if len(searched):
        alone = retrieve(
            model.atlas, embedded.vectors[searched], None, text_weight=0, neighbours=1, allowed=model.allowed
        )
        similarity[searched] = alone.he_similarity[:, 0]
        threshold = model.calibrate(with_notes=False).similarity_threshold
        status[searched] = np.where(similarity[searched] >= threshold, "used", "abstained")
    used = np.flatnonzero(status == "used")
    if not len(used):
        raise NoTissueError(
            f"No tile can be compared: {int((status == 'abstained').sum())} resemble nothing in the atlas, "
            f"{int((status == 'blur').sum())} are blurred and {len(embedded.unreadable)} unreadable."
        )
    return Judged(status, similarity, used)


def choose_tiles(case: Case) -> tuple[ChosenTile, ...]:
    """The tile in the middle of each niche, and the one whose markers move most."""
    analysis, vectors = case.analysis, case.embedded.vectors[case.judged.used]
    filled = case.survey.plan.grid.tissue[case.judged.used] >= WELL_FILLED
    moved = np.nan_to_num(np.abs(analysis.after - analysis.before)).mean(axis=1)
    most = int(np.argmax(np.where(filled, moved, -1) if filled.any() else moved))
    chosen = {
        row: f"in the middle of niche {niche + 1}"
        for niche, row in enumerate(_central(analysis.niches, vectors, filled))
    }
    chosen.setdefault(most, "its markers move most")
    return tuple(ChosenTile(row, why) for row, why in chosen.items())


def _central(niches: Clusters, vectors: NDArray[np.float32], filled: NDArray[np.bool_]) -> list[int]:
    rows = []
    for niche, centre in enumerate(niches.centres):
        own = np.flatnonzero(niches.labels == niche)
        better = own[filled[own]]
        own = better if len(better) else own
        if len(own):
            rows.append(int(own[np.argmin(((vectors[own] - centre) ** 2).sum(axis=1))]))
    return rows
