"""The image encoder of an export, and the fused tower that comes of it."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from haiku_edge.runtime.bundle import Bundle, KnownPatients, open_bundle, read_known_patients
from haiku_edge.runtime.bundle.manifest import MANIFEST_NAME
from haiku_edge.runtime.engine import plain_engine
from haiku_edge.runtime.engine.model import read_weights, tower_digest
from haiku_edge.runtime.errors import CheckpointLayoutError, UsageError

from ..checkpoint import is_timm, read_timm
from ..checkpoint.spade import SpadeCheckpoint
from ..graph import Storage, write_graph
from ..graph.spade import EngineEncoder, check_spade, fuse, trace_spade
from ..graph.store import halve_graph
from ..model import Mixture, SpadeTower
from ..spatial.features import Encoder, engine_encoder
from ..synthetic import MPP, render_region, simulate_cohort
from ..work_folder import files_digest

GOLDEN_TILES = 8
GOLDEN_SEED = 907
NAME = "spade"


@dataclass(frozen=True, slots=True)
class ImageEncoder:
    """What turns a tile into features.

    Attributes:
        module: (n, takes, takes, 3) tiles to (n, features) float32, in torch or by an engine.
        takes: Side of its tiles, pixels.
        tile: Side of the tiles that are read, whose middle it is given.
        mpp: Micrometres per pixel.
        digest: Names it: what a checkpoint of `train spade` states.
        known: Whom it learned from.
        provenance: Where it comes from, as JSON.
        graph: Its ONNX graph, where it is the tower of a bundle.
        weights: Name → bytes of the files that the graph keeps weights in.
    """

    module: nn.Module
    takes: int
    tile: int
    mpp: float
    digest: str
    known: KnownPatients = field(default_factory=KnownPatients)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    graph: bytes | None = field(default=None, repr=False)
    weights: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def size(self) -> int:
        """Side of its tiles, pixels: what `train spade` asks of an encoder."""
        return self.takes

    def __call__(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(b, takes, takes, 3) uint8 RGB → (b, features) float32."""
        with torch.inference_mode():
            return np.asarray(self.module(torch.from_numpy(tiles)).numpy(), np.float32)


@dataclass(frozen=True, slots=True)
class FusedTower:
    """A written tower.

    Attributes:
        graph: Its ONNX file.
        weights: Files beside it.
        golden: (n, width + experts) float32, what torch makes of the golden tiles.
        tiles: (n, tile, tile, 3) uint8, the golden tiles.
        difference: Largest difference of the graph's output to torch.
        storage: How its matrices are stored.
    """

    graph: Path
    weights: tuple[Path, ...]
    golden: NDArray[np.float32]
    tiles: NDArray[np.uint8]
    difference: float
    storage: Storage = "fp32"


def open_encoder(folder: Path | None, *, tile: int | None = None, mpp: float | None = None) -> ImageEncoder:
    """Open an image encoder.

    Args:
        folder: A timm checkpoint, or a bundle whose H&E tower it is; None for the embedded one.
        tile: Side of the tiles that are read; None for what it takes.
        mpp: Micrometres per pixel of the tiles; None for 0.5 (timm), or the bundle's own.

    Raises:
        CheckpointError, BundleError: It is refused.
        UsageError: It is neither, or the numbers do not fit it.
    """
    if folder is None or (folder / MANIFEST_NAME).is_file():
        return _of_bundle(open_bundle(folder), tile, mpp)
    if not is_timm(folder):
        raise UsageError(
            f"{folder} is no image encoder: neither a bundle nor a timm checkpoint (config.json with an architecture). "
            "Name one with --encoder."
        )
    read = read_timm(folder, mpp=mpp or MPP)
    module = read.encoder()
    return ImageEncoder(
        module=module,
        takes=module.tile_size,
        tile=_tile(tile, module.tile_size),
        mpp=module.mpp,
        digest=files_digest(read.files),
        provenance=read.provenance(),
    )


def open_training_encoder(folder: Path | None, mpp: float, *, device: str = "auto") -> Encoder:
    """The encoder of a training: a bundle's H&E tower on the fastest engine that makes what is kept, or a timm one.

    Args:
        folder: See `open_encoder`.
        mpp: Micrometres per pixel of the patches.
        device: auto or cpu, for a bundle's tower.

    Raises:
        CheckpointError, BundleError, UsageError, PatchShapeError: It is refused.
    """
    if folder is not None and not (folder / MANIFEST_NAME).is_file():
        return open_encoder(folder, mpp=mpp)
    return engine_encoder(open_bundle(folder), mpp, device=device)


def _of_bundle(bundle: Bundle, tile: int | None, mpp: float | None) -> ImageEncoder:
    section = bundle.manifest.need_he()
    if mpp is not None and mpp != section.mpp:
        raise UsageError(f"--mpp {mpp:g} is not what the H&E tower of the bundle was made for ({section.mpp:g}).")
    graph, weights = bundle.read(section.file), read_weights(bundle, section)
    return ImageEncoder(
        module=EngineEncoder(plain_engine(graph, weights=weights)),
        takes=section.tile_size,
        tile=_tile(tile, section.tile_size),
        mpp=section.mpp,
        digest=tower_digest(bundle, section),
        known=read_known_patients(bundle),
        provenance={"bundle": bundle.manifest.name, "digest": bundle.digest},
        graph=graph,
        weights=weights,
    )


def _tile(asked: int | None, takes: int) -> int:
    if asked is not None and asked < takes:
        raise UsageError(f"--tile {asked} is less than the {takes} pixels that the image encoder takes.")
    return takes if asked is None else asked


def check_match(encoder: ImageEncoder, checkpoint: SpadeCheckpoint) -> str | None:
    """See that the experts learned from this encoder's features.

    Returns:
        What can't be known, in one sentence; None where it is sure.

    Raises:
        CheckpointLayoutError: They learned from another's.
    """
    if checkpoint.encoder is None:
        return "Nobody says whose features the experts learned from; that it is this encoder is taken on trust."
    if checkpoint.encoder != encoder.digest:
        raise CheckpointLayoutError(
            "The experts learned from the features of another image encoder. Name the one that `train spade` was given."
        )
    return None


def golden_tiles(side: int) -> NDArray[np.uint8]:
    """(n, side, side, 3) uint8 simulated tiles, the same for everybody, with no patient in them."""
    drawn = -(-side // 16) * 16
    patients = simulate_cohort(GOLDEN_TILES, seed=GOLDEN_SEED)
    return np.stack([render_region(patient, drawn, drawn).he[:side, :side] for patient in patients])


def fuse_tower(
    encoder: ImageEncoder, checkpoint: SpadeCheckpoint, work: Path, *, storage: Storage = "fp32", top: int | None = None
) -> FusedTower:
    """Write the fused graph of encoder, routing and experts, and compare it with torch.

    Args:
        encoder: The image encoder.
        checkpoint: The experts.
        work: Folder to write into.
        storage: How matrices are stored.
        top: Experts that speak for a tile; see `MixtureConfig.top`.

    Raises:
        GraphMismatchError: They differ.
        BundleContentError: The encoder gives features of another length.
        UsageError: The encoder's weights lie beside its graph, and are to be stored as fp16.
        OSError: It can't be written.
    """
    config = replace(checkpoint.config, top=checkpoint.config.top if top is None else top)
    mixture = replace(checkpoint, config=config).mixture()
    tiles = golden_tiles(encoder.tile)
    tower = SpadeTower(encoder.module, mixture, takes=encoder.takes, tile=encoder.tile)
    graph, weights = _write(encoder, mixture, tower, work, storage)
    gc.collect()
    engine = plain_engine(graph.read_bytes(), weights={path.name: path.read_bytes() for path in weights})
    golden, difference = check_spade(tower, engine, tiles, storage)
    return FusedTower(graph, weights, golden, tiles, difference, storage)


def _write(
    encoder: ImageEncoder, mixture: Mixture, tower: SpadeTower, work: Path, storage: Storage
) -> tuple[Path, tuple[Path, ...]]:
    if encoder.weights and storage == "fp16":
        raise UsageError("--storage fp16 goes with a tower in one file. Export the encoder's bundle with it instead.")
    if encoder.graph is None:
        files = write_graph(tower, trace_spade(tower), work, NAME, storage=storage)
        return files.graph, files.weights
    graph = work / f"{NAME}.onnx"
    fused = fuse(encoder.graph, mixture, tile=encoder.tile)
    if storage == "fp16":
        fused = halve_graph(fused, [mixture.router.centroids.numpy()])
    graph.write_bytes(fused)
    for name, content in encoder.weights.items():
        (work / name).write_bytes(content)
    return graph, tuple(work / name for name in encoder.weights)
