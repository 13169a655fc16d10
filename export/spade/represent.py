"""The same spots as several models see them, for the evaluation: image features, the mixture, and its baselines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.errors import CheckpointLayoutError
from haiku_edge.runtime.inference.progress import Progress, Silent

from ..checkpoint.spade import SpadeCheckpoint
from ..evaluation.spade import FEATURES, SPADE, SpotCohort
from ..spatial import DatasetSection, SectionSpots, SpotDataset, log_normalise
from ..spatial.features import Encoder, section_features
from .embed import gene_heads

VARIANTS: Final = {"hard": 1, "two experts": 2}
"""How routing is varied → experts that speak."""

Truth = Callable[[str], NDArray[np.float32]]
"""Section → (n, g) what could be expected of its spots."""


def represent_spots(
    dataset: SpotDataset,
    encoder: Encoder,
    checkpoints: Mapping[str, SpadeCheckpoint],
    cache: Path | None = None,
    *,
    truth: Truth | None = None,
    progress: Progress | None = None,
) -> SpotCohort:
    """Embed a dataset by every model, with all of its genes.

    Args:
        dataset: The spots.
        encoder: The image encoder that all of the models learned with; its features are a representation too.
        checkpoints: Representation → its experts; the one called `SPADE` comes in harder routing too.
        cache: Folder that keeps features; None keeps none.
        truth: The simulator's truth, where there is one.
        progress: Told about every spot.

    Raises:
        CheckpointLayoutError: A checkpoint learned from another encoder, or takes features of another length.
        PatchShapeError, UnreadableDatasetError: See `section_features`.
    """
    told = progress or Silent()
    told.start("Image features", sum(section.spots for section in dataset.sections))
    # Features come from their cache: of the spots themselves only the counts are held.
    read = [(section, replace(dataset.read(section.section), patches=())) for section in dataset.sections]
    features = np.concatenate([section_features(dataset, section.section, encoder, cache, told) for section, _ in read])
    told.finish()
    vectors, keys = {FEATURES: features}, {}
    for name, checkpoint in checkpoints.items():
        _check_encoder(name, checkpoint, encoder, features.shape[1])
        vectors[name], weights = checkpoint.mixture().embed(features)
        if (own := _keys(checkpoint, dataset, read, weights)) is not None:
            keys[name] = own
    if SPADE in checkpoints:
        vectors |= _variants(checkpoints[SPADE], features)
    return _cohort(dataset, read, vectors, keys, truth)


def _check_encoder(name: str, checkpoint: SpadeCheckpoint, encoder: Encoder, width: int) -> None:
    others = checkpoint.encoder is not None and checkpoint.encoder != encoder.digest
    if others or checkpoint.config.features != width:
        raise CheckpointLayoutError(
            f"{name!r} learned from the features of another image encoder. Name the one that its training was given."
        )


def _keys(
    checkpoint: SpadeCheckpoint,
    dataset: SpotDataset,
    read: list[tuple[DatasetSection, SectionSpots]],
    weights: NDArray[np.float32],
) -> NDArray[np.float32] | None:
    """(n, d) the spots' counts through the gene heads, where the checkpoint has them and the dataset their genes."""
    heads = gene_heads(checkpoint, dataset.genes)
    if heads is None:
        return None
    parts = np.split(weights, np.cumsum([len(spots) for _, spots in read])[:-1])
    return np.concatenate([heads(spots, own) for (_, spots), own in zip(read, parts, strict=True)])


def _variants(checkpoint: SpadeCheckpoint, features: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """The mixture with fewer experts a tile, where it has more."""
    config = checkpoint.config
    return {
        f"{SPADE}, {title}": replace(checkpoint, config=replace(config, top=top)).mixture().embed(features)[0]
        for title, top in VARIANTS.items()
        if config.experts > top
    }


def _cohort(
    dataset: SpotDataset,
    read: list[tuple[DatasetSection, SectionSpots]],
    vectors: Mapping[str, NDArray[np.float32]],
    keys: Mapping[str, NDArray[np.float32]],
    truth: Truth | None,
) -> SpotCohort:
    counts = [len(spots) for _, spots in read]

    def by_spot(name: str) -> NDArray[np.str_]:
        return np.repeat([getattr(section, name) for section, _ in read], counts)

    return SpotCohort(
        genes=dataset.genes,
        spots=np.concatenate([spots.spots for _, spots in read]),
        sections=by_spot("section"),
        patients=by_spot("patient"),
        organs=by_spot("organ"),
        x=np.concatenate([spots.x for _, spots in read]),
        y=np.concatenate([spots.y for _, spots in read]),
        vectors=vectors,
        keys=keys,
        expression=np.concatenate([log_normalise(spots.counts, spots.library) for _, spots in read]),
        facts={section.patient: dict(section.facts) for section, _ in read},
        expected=None if truth is None else np.concatenate([truth(section.section) for section, _ in read]),
    )
