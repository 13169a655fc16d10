"""Batches of the simulated cohort, augmented."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from haiku_edge.runtime.notes import Tokenizer

from ..captions import training_caption
from ..texts import encode_texts
from .augment import ORIENTATIONS, choose_channels, jitter_stain, orient
from .batch import Batch
from .dataset import TrainingSet


@dataclass(frozen=True, slots=True)
class Sampling:
    """What a batch is made of.

    Attributes:
        patients: Patients in a batch, each once.
        patches: Patches of each of them: at least two, so that patches of the same patient are told apart.
        channels: Numbers of mIF channels that a batch may have, so that small panels embed too.
        narrative_share: Share of the batches whose captions tell what the mIF shows. Whole batches: a long caption
            among short ones would make all as long.
    """

    patients: int = 48
    patches: int = 2
    channels: tuple[int, ...] = (6, 10, 14)
    narrative_share: float = 0.1


class CohortSource:
    """Draws batches from a training set in memory; batch k depends on the seed and k alone."""

    def __init__(self, data: TrainingSet, tokenizer: Tokenizer, sampling: Sampling, seed: int) -> None:
        """Take the data; nothing is drawn yet."""
        self.data, self.tokenizer, self.sampling, self.seed = data, tokenizer, sampling, seed
        self.own = [np.flatnonzero(data.owners == patient) for patient in range(int(data.owners.max()) + 1)]

    def batch(self, step: int) -> Batch:
        """The batch of one step: see `Sampling`."""
        rng = np.random.default_rng(np.random.SeedSequence((self.seed, 2, step)))
        chosen = self.choose(step, rng)
        turns = rng.integers(0, ORIENTATIONS, len(chosen))
        he = jitter_stain(orient(self.data.he[torch.from_numpy(chosen)].to(torch.float32), turns), rng)
        mif, markers = self._panel(chosen, int(rng.choice(self.sampling.channels)), rng)
        ids, mask = encode_batch(self.tokenizer, self._captions(chosen, rng))
        owners = torch.from_numpy(self.data.owners[chosen])
        return Batch(he, owners, orient(mif, turns), markers, None, ids, mask)

    def held_out(self) -> Iterator[Batch]:
        """None: the bundle's other parts hold the patients that judge it."""
        return iter(())

    def choose(self, step: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """(patients * patches,) patches of a batch: every patient once before any comes again, but for the few who are
        left over when the cohort is no multiple of a batch.

        The patches of a patient are different ones where it has enough.
        """
        wanted = self.sampling.patches
        return np.concatenate(
            [rng.choice(self.own[p], wanted, replace=len(self.own[p]) < wanted) for p in self._patients(step)]
        )

    def _patients(self, step: int) -> list[int]:
        size = min(self.sampling.patients, len(self.own))
        epoch, place = divmod(step, len(self.own) // size)
        order = np.random.default_rng(np.random.SeedSequence((self.seed, 1, epoch))).permutation(len(self.own))
        chosen: list[int] = order[place * size : (place + 1) * size].tolist()
        return chosen

    def _captions(self, chosen: NDArray[np.int64], rng: np.random.Generator) -> list[str]:
        facts, told = self.data.facts, self.data.narratives
        share = float(rng.random() < self.sampling.narrative_share)
        return [training_caption(facts[self.data.owners[patch]], told[patch], rng, share) for patch in chosen]

    def _panel(self, chosen: NDArray[np.int64], count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Draw `count` channels of each patch: (n, count, s, s) float32 and their rows of the marker table."""
        channels = choose_channels(self.data.measured[chosen], count, rng)
        rows = torch.from_numpy(chosen)[:, None]
        mif = self.data.mif[rows, torch.from_numpy(np.maximum(channels, 0))].to(torch.float32)
        return mif, torch.from_numpy(channels + 1)


def encode_batch(tokenizer: Tokenizer, texts: list[str]) -> tuple[Tensor, Tensor]:
    """Tokenise and pad texts to the longest: ids and mask, (n, l) int64 each."""
    encoded = encode_texts(tokenizer, texts)
    return torch.from_numpy(encoded["input_ids"]), torch.from_numpy(encoded["attention_mask"])
