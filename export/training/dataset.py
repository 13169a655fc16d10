"""Training patches in memory: what of a section does not change between epochs is computed once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..captions import describe_patterns, narrate, region_z
from ..cohort import Section
from ..model.config import HeConfig, MifConfig
from ..model.resize import Resize
from ..model.standardise import Standardise
from ..synthetic import MARKERS, Patient


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Patches of the training patients, after resizing and standardising.

    Both steps commute with turning and mirroring, so that augmentation may come after them.

    Attributes:
        he: (n, 3, side, side) uint8, resized tiles.
        mif: (n, m, s, s) float16, standardised channels; 0 where not measured.
        measured: (n, m) bool.
        owners: (n,) int64, position of each patch's patient in `facts`.
        facts: The clinical facts of each patient.
        narratives: What each patch shows, in words; see `haiku_edge.export.captions`.
    """

    he: Tensor
    mif: Tensor
    measured: NDArray[np.bool_]
    owners: NDArray[np.int64]
    facts: tuple[dict[str, str], ...]
    narratives: tuple[str, ...]


@torch.no_grad()
def prepare_training(sections: Iterable[tuple[Patient, Section]], he: HeConfig, mif: MifConfig) -> TrainingSet:
    """Resize, standardise and describe the patches of all sections.

    Args:
        sections: Patients with their sections, one at a time.
        he: Sizes of the H&E tower.
        mif: Sizes of the mIF tower.
    """
    resize, standardise = Resize(he.tile, he.side), Standardise(mif.patch, mif.pool)
    tiles: list[Tensor] = []
    channels: list[Tensor] = []
    measured: list[NDArray[np.bool_]] = []
    owners: list[int] = []
    facts: list[dict[str, str]] = []
    narratives: list[str] = []
    for patient, section in sections:
        resized = resize(torch.from_numpy(section.he).to(torch.float32))
        tiles.append(torch.clamp(torch.round(resized), 0, 255).to(torch.uint8))
        channels.append(torch.cat([standardise(torch.from_numpy(patch)[None]).half() for patch in section.mif]))
        measured.append(np.isfinite(section.expression))
        owners += [len(facts)] * len(section.he)
        facts.append(dict(patient.facts))
        narratives += _narratives(section)
    return TrainingSet(
        torch.cat(tiles),
        torch.cat(channels),
        np.concatenate(measured),
        np.array(owners),
        tuple(facts),
        tuple(narratives),
    )


def _narratives(section: Section) -> list[str]:
    """The narrative of each patch of a section."""
    z = region_z(section.expression)
    patterns = describe_patterns(section.mif)
    return [narrate(MARKERS, scores, names) for scores, names in zip(z, patterns, strict=True)]
