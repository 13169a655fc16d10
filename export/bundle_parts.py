"""The parts of the embedded bundle that are data: atlas, calibration cases, golden cases."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.engine import plain_engine
from haiku_edge.runtime.notes import Tokenizer, metadata_prompt

from .atlas import BuiltAtlas, Provenance, build_atlas
from .cohort import PATCH, Part
from .evaluation.embedded_cohort import EmbeddedCohort
from .evaluation.held_out import POSITIVITY, panel_rows
from .graph import TITLES, check_graph, golden_arrays
from .graph.golden import Inputs
from .model import Towers
from .synthetic import MARKERS, MPP
from .texts import encode_texts
from .tower_graphs import TowerGraphs

GOLDEN_TILES = 16
GOLDEN_PATCHES = 8
"""Golden cases of each tower: enough to see a wrong operator, few enough to stay below 8 MB."""


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


def golden_cases(tokenizer: Tokenizer, part: Part) -> Inputs:
    """Take the first patch of the first patients of a part: inputs of each tower.

    The second mIF patch has a channel less than its panel, so that padding is in it.
    """
    cases = list(itertools.islice(part.sections(), GOLDEN_TILES))
    pairs = cases[:GOLDEN_PATCHES]
    rows = [panel_rows(patient.panel)[: -1 if i else None] for i, (patient, _) in enumerate(pairs)]
    width = max(map(len, rows))
    mif = np.zeros((len(pairs), width, PATCH, PATCH), np.uint8)
    markers = np.zeros((len(pairs), width), np.int64)
    for i, (own, (_, section)) in enumerate(zip(rows, pairs, strict=True)):
        mif[i, : len(own)] = section.mif[0][own - 1]
        markers[i, : len(own)] = own
    return {
        "he": {"tiles": np.stack([section.he[0] for _, section in cases])},
        "mif": {"patches": mif, "markers": markers},
        "text": dict(encode_texts(tokenizer, [metadata_prompt(tuple(patient.facts.items())) for patient, _ in cases])),
    }


def check_towers(towers: Towers, graphs: TowerGraphs, golden: Inputs) -> tuple[bytes, dict[str, float]]:
    """Compare each graph with torch on the golden inputs; `towers` must come from `Towers.for_inference`.

    Returns:
        The golden cases as a file, and the largest absolute difference by tower.

    Raises:
        GraphMismatchError: A graph differs.
    """
    vectors, differences = {}, {}
    for name, tower in towers.modules().items():
        title, graph = TITLES[name], getattr(graphs, name)
        vectors[name], differences[name] = check_graph(title, tower, plain_engine(graph), golden[name])
    return golden_arrays(golden, vectors), differences
