"""Small SPADE bundles for tests: the embedded H&E tower, experts with seeded weights, and a few simulated spots."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import torch

from haiku_edge.export.checkpoint.spade import SpadeCheckpoint, write_spade
from haiku_edge.export.model import MixtureConfig, ResidualHead
from haiku_edge.export.spade.export import ExportedSpade, SpadeExportOptions, export_spade
from haiku_edge.export.spatial import SpotDataset
from haiku_edge.export.spatial.features import EngineEncoder, engine_encoder, section_features
from haiku_edge.export.spatial.from_simulator import SpotSplit, simulate_spots
from haiku_edge.export.synthetic import MPP
from haiku_edge.runtime.bundle import open_bundle

EMBEDDED = Path(__file__).resolve().parents[1] / "engines" / "embedded"
SPLIT = SpotSplit(train=0, atlas=6, calibration=6, test=0, regions=1, side=640)
EXPERTS, CENTROIDS, WIDTH = 3, 7, 32


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """Where spots are drawn, once for all tests of a run."""
    return tempfile.TemporaryDirectory(prefix="haiku-edge-spots-")


@cache
def small_spots(part: str) -> SpotDataset:
    """14 spots of each of six patients, atlas or calibration."""
    return simulate_spots(part, SPLIT, 7, Path(_folder().name), processes=2).dataset


def encoder() -> EngineEncoder:
    """The embedded H&E tower."""
    return engine_encoder(open_bundle(), MPP, device="cpu")


def small_checkpoint(folder: Path, spots: SpotDataset) -> SpadeCheckpoint:
    """Experts with seeded weights around centroids that are features of real spots."""
    torch.manual_seed(5)
    features = np.concatenate([section_features(spots, own.section, encoder(), None) for own in spots.sections])
    rows = np.linspace(0, len(features) - 1, CENTROIDS).astype(int)
    images, genes = (
        tuple(ResidualHead(size, WIDTH).state_dict() for _ in range(EXPERTS))
        for size in (features.shape[1], len(spots.genes))
    )
    checkpoint = SpadeCheckpoint(
        config=MixtureConfig(features.shape[1], WIDTH, EXPERTS, CENTROIDS),
        centroids=features[rows].copy(),
        expert_of=np.arange(CENTROIDS, dtype=np.int64) % EXPERTS,
        image_heads=images,
        spot_heads=genes,
        genes=spots.genes,
        encoder=encoder().digest,
        about={"counts": "log", "synthetic": True},
    )
    write_spade(folder, checkpoint)
    return checkpoint


def export_small(folder: Path, out: Path, **options: object) -> ExportedSpade:
    """A bundle of small spots and experts; datasets and checkpoint are made in a folder once."""
    atlas, cases = (small_spots(part) for part in ("atlas", "calibration"))
    if not (folder / "checkpoint").exists():
        small_checkpoint(folder / "checkpoint", atlas)
    stated = {"atlas": atlas.path, "calibration": cases.path, "genes": 12, "neighbours": 4, **options}
    return export_spade(folder / "checkpoint", EMBEDDED, out, SpadeExportOptions(**stated))  # type: ignore[arg-type]
