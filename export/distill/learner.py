"""The student's training: batches of views, and one step on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..model import StudentConfig, StudentTower, save_student, unit
from ..training.epochs import Epochs, stream
from ..training.gradients import autocast
from ..training.state import write_folder
from ..training.trainer import Learner, LoopSettings
from .loss import DistillLoss
from .sources import Images

UNDECAYED = ("positions", "class_token")
_VIEW_OF = 6
"""Purpose of the random stream that chooses views; see `stream`."""


@dataclass(frozen=True, slots=True)
class TileBatch:
    """n tiles with what the teacher makes of them.

    Attributes:
        he: (n, 3, side, side) float32, resized tiles of 0…255.
        wanted: (n, d) float32, the teacher's unit vectors.
    """

    he: Tensor
    wanted: Tensor

    def __len__(self) -> int:
        """Number of tiles."""
        return len(self.he)


@dataclass(frozen=True, slots=True)
class Views:
    """The views of one group, one entry a view.

    Attributes:
        seen: (n, 3, side, side) uint8 each, as the student's graph resizes them.
        taught: (n, d) float32 each, the teacher's vectors.
    """

    seen: tuple[Images, ...]
    taught: tuple[NDArray[np.float32], ...]


class ViewSource:
    """Draws batches: every tile once before any comes again, each time in a view drawn anew."""

    def __init__(self, groups: Sequence[Views], size: int, seed: int) -> None:
        """Take the groups; nothing is drawn yet."""
        self._groups, self._seed = groups, seed
        places = [(number, row) for number, group in enumerate(groups) for row in range(len(group.taught[0]))]
        self._places = np.array(places, np.int64)
        self._epochs = Epochs(np.arange(len(places)), size, seed)

    def batch(self, step: int) -> TileBatch:
        """The batch of one step."""
        places = self._places[self._epochs.rows(step)]
        views = stream(self._seed, _VIEW_OF, step).integers(0, len(self._groups[0].taught), len(places))
        chosen = [(self._groups[group], int(row), int(view)) for (group, row), view in zip(places, views, strict=True)]
        he = np.stack([group.seen[view][row] for group, row, view in chosen])
        wanted = np.stack([group.taught[view][row] for group, row, view in chosen])
        return TileBatch(torch.from_numpy(he).to(torch.float32), torch.from_numpy(wanted))

    def held_out(self) -> Iterator[TileBatch]:
        """None: who is held out measures the finished student, and so must not choose its weights."""
        return iter(())


class Distiller(Learner[TileBatch]):
    """One training of a student: tower, loss, optimiser, and how far they are."""

    def __init__(
        self,
        config: StudentConfig,
        tower: StudentTower,
        settings: LoopSettings,
        loss: DistillLoss,
        atlas: NDArray[np.float32] | None,
        device: torch.device,
    ) -> None:
        """Take a student, which is changed in place, and the atlas's vectors, or None."""
        self.config, self.tower, self.loss, self.device = config, tower.to(device), loss, device
        self.atlas = None if atlas is None else torch.from_numpy(atlas).to(device)
        # Convolutions run twice as fast on a processor when the channels of a pixel lie together.
        tower.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        super().__init__(settings, _groups(tower, settings))

    def modules(self) -> dict[str, nn.Module]:
        """The student."""
        return {"he": self.tower}

    def set_training(self, mode: bool) -> None:
        """Set training, or evaluation, behaviour."""
        self.tower.train(mode)

    def backward(self, batch: TileBatch) -> float:
        """The loss of a batch; its gradients are added to those of the parameters."""
        value = self._loss(batch)
        value.backward()  # type: ignore[no-untyped-call]
        return value.item()

    def loss_of(self, batch: TileBatch) -> float:
        """The loss of a batch."""
        return self._loss(batch).item()

    def keep(self, directory: Path) -> None:
        """As `read_student` takes it."""
        write_folder(directory, lambda beside: save_student(self.config, self.tower, beside))

    def _loss(self, batch: TileBatch) -> Tensor:
        he = batch.he.to(self.device, non_blocking=True).to(memory_format=torch.channels_last)
        with autocast(self.device):
            encoded = self.tower.encode(he)
        student = unit(self.tower.head(encoded.float()))
        return self.loss(student, batch.wanted.to(self.device), self.atlas)


def _groups(tower: nn.Module, settings: LoopSettings) -> list[dict[str, Any]]:
    """The parameters, apart what weight decay would only shrink: biases, norms, tables and tokens."""
    named = dict(tower.named_parameters())
    free = {name for name, own in named.items() if own.ndim < 2 or name.endswith(UNDECAYED)}
    rate = settings.rates.he
    kinds = (([own for name, own in named.items() if (name in free) == of], of) for of in (False, True))
    return [
        {"params": own, "peak": rate, "lr": rate, "weight_decay": 0.0 if of else settings.decay} for own, of in kinds
    ]
