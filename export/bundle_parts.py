"""The parts of the embedded bundle that are data: atlas, calibration cases, golden cases."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from haiku_edge.runtime.errors import UsageError
from haiku_edge.runtime.notes import Tokenizer, metadata_prompt

from .atlas import BuiltAtlas, Provenance, build_atlas
from .cohort import PATCH, Part
from .evaluation.embedded_cohort import EmbeddedCohort
from .evaluation.held_out import POSITIVITY, panel_rows
from .graph import check_parity
from .model import Towers
from .synthetic import MARKERS, MPP
from .tower_graphs import TowerGraphs
from .training.fit import encode_batch

GOLDEN_TILES = 8
GOLDEN_PATCHES = 2
"""Golden cases of each tower: enough to see a wrong operator, few enough to stay below 3 MB."""


class PatchesOnDisk:
    """The mIF patches of a part, read section by section, as often as they are asked for."""

    def __init__(self, part: Part) -> None:
        """Take the part; nothing is read yet."""
        self._part = part

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """Iterate over (m, 256, 256) uint8 patches."""
        for _, section in self._part.sections():
            yield from section.mif


def panel_name(panel: tuple[str, ...]) -> str:
    """Name a panel by its size; the simulated ones differ in it."""
    return f"{len(panel)}-plex"


def assemble_atlas(part: Part, embedded: EmbeddedCohort) -> BuiltAtlas:
    """Build the atlas from a part and its vectors, with all facts of its patients, the outcome among them."""
    names: list[str] = []
    organs: list[str] = []
    panels: list[str] = []
    corners: list[NDArray[np.int32]] = []
    for patient, section in part.sections():
        count = len(section.he)
        names += [f"{patient.section}-{number:02d}" for number in range(1, count + 1)]
        organs += [patient.organ] * count
        panels += [panel_name(patient.panel)] * count
        corners.append(section.origins)
    places = np.concatenate(corners).astype(np.float32) * np.float32(MPP)
    provenance = Provenance(
        tuple(names),
        tuple(embedded.regions.tolist()),
        tuple(embedded.patients.tolist()),
        tuple(organs),
        tuple(panels),
        x=places[:, 0],
        y=places[:, 1],
    )
    facts = {patient.identifier: patient.facts for patient in part.patients}
    return build_atlas(
        embedded.vectors["mif"],
        MARKERS,
        PatchesOnDisk(part),
        embedded.expression,
        provenance,
        index="hnsw",
        positive=embedded.positive,
        positivity=POSITIVITY,
        facts=facts,
    )


@dataclass(frozen=True, slots=True)
class GoldenCases:
    """Inputs of each tower, and what the torch tower makes of them in fp32.

    Attributes:
        he_tiles: (n, 256, 256, 3) uint8.
        he_vectors: (n, d) float32.
        input_ids: (p, l) int64.
        attention_mask: (p, l) int64.
        text_vectors: (p, d) float32.
        mif_patches: (q, c, 256, 256) uint8.
        mif_markers: (q, c) int64; 0 for the padded channels of the smaller panel.
        mif_vectors: (q, d) float32.
    """

    he_tiles: NDArray[np.uint8]
    he_vectors: NDArray[np.float32]
    input_ids: NDArray[np.int64]
    attention_mask: NDArray[np.int64]
    text_vectors: NDArray[np.float32]
    mif_patches: NDArray[np.uint8]
    mif_markers: NDArray[np.int64]
    mif_vectors: NDArray[np.float32]

    def to_npz(self) -> bytes:
        """Serialise, compressed."""
        sink = io.BytesIO()
        np.savez_compressed(sink, **asdict(self))
        return sink.getvalue()


@torch.inference_mode()
def golden_cases(towers: Towers, tokenizer: Tokenizer, part: Part) -> GoldenCases:
    """Take the first patch of the first patients of a part; `towers` must come from `Towers.for_inference`."""
    cases = []
    for case in part.sections():
        cases.append(case)
        if len(cases) == GOLDEN_TILES:
            break
    he = np.stack([section.he[0] for _, section in cases])
    prompts = [metadata_prompt(tuple(patient.facts.items())) for patient, _ in cases]
    ids, mask = encode_batch(tokenizer, prompts)
    pairs = cases[:GOLDEN_PATCHES]
    rows = [panel_rows(patient.panel)[: -1 if i else None] for i, (patient, _) in enumerate(pairs)]
    width = max(map(len, rows))
    mif = np.zeros((len(pairs), width, PATCH, PATCH), np.uint8)
    markers = np.zeros((len(pairs), width), np.int64)
    for i, (own, (_, section)) in enumerate(zip(rows, pairs, strict=True)):
        mif[i, : len(own)] = section.mif[0][own - 1]
        markers[i, : len(own)] = own
    return GoldenCases(
        he,
        towers.he(torch.from_numpy(he)).numpy(),
        ids.numpy(),
        mask.numpy(),
        _text_tower(towers)(ids, mask).numpy(),
        mif,
        markers,
        towers.mif(torch.from_numpy(mif), torch.from_numpy(markers)).numpy(),
    )


def check_towers(towers: Towers, graphs: TowerGraphs, golden: GoldenCases) -> dict[str, float]:
    """Compare each graph with torch on the golden inputs.

    Returns:
        Largest absolute difference by tower.

    Raises:
        GraphMismatchError: A graph differs.
    """
    return {
        "he": check_parity("H&E", towers.he, graphs.he, {"tiles": golden.he_tiles}),
        "mif": check_parity(
            "mIF", towers.mif, graphs.mif, {"patches": golden.mif_patches, "markers": golden.mif_markers}
        ),
        "text": check_parity(
            "text",
            _text_tower(towers),
            graphs.text,
            {"input_ids": golden.input_ids, "attention_mask": golden.attention_mask},
        ),
    }


def _text_tower(towers: Towers) -> torch.nn.Module:
    if towers.text is None:
        raise UsageError("These towers have no text tower, and the golden cases of the embedded bundle need one.")
    return towers.text
