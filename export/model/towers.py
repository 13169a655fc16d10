"""The towers together, and their checkpoint on disk."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from .bert import TextTower
from .config import TowersConfig
from .mobile import MobileTower
from .musk import HeTower
from .virtues import MarkerTable, MifTower

Tower = TypeVar("Tower", bound=HeTower | MobileTower | MifTower | TextTower)


@dataclass(frozen=True, slots=True)
class Towers:
    """The towers of one model.

    Attributes:
        config: Their sizes.
        he: The H&E tower.
        mif: The mIF tower.
        text: The text tower, or None for a model of two modalities.
    """

    config: TowersConfig
    he: HeTower
    mif: MifTower
    text: TextTower | None

    def modules(self) -> dict[str, nn.Module]:
        """Return the towers by the names that files use: he, mif, text."""
        every = {"he": self.he, "mif": self.mif, "text": self.text}
        return {name: tower for name, tower in every.items() if tower is not None}

    def parameters(self) -> Iterator[nn.Parameter]:
        """Iterate over the parameters of all towers."""
        for module in self.modules().values():
            yield from module.parameters()

    def train(self, mode: bool = True) -> None:
        """Set training (or evaluation) behaviour."""
        for module in self.modules().values():
            module.train(mode)

    def for_inference(self) -> Towers:
        """Return towers that behave as in evaluation, with folded heads and marker table; see `prepare_tower`."""
        text = None if self.text is None else prepare_tower(self.text)
        return Towers(self.config, prepare_tower(self.he), prepare_tower(self.mif), text)


def prepare_tower(tower: Tower) -> Tower:
    """Return a tower that shares the encoder's weights, with BatchNorm and marker projection folded.

    Raises:
        ValueError: The tower is in training.
    """
    if tower.training:
        raise ValueError("A tower is folded as it infers: call train(False) first.")
    own = copy.copy(tower)
    own._modules = dict(tower._modules)
    own.head = tower.head.folded()
    if isinstance(own, MifTower) and isinstance(own.encoder.marker_table, MarkerTable):
        encoder = copy.copy(own.encoder)
        encoder._modules = dict(own.encoder._modules)
        encoder.marker_table = own.encoder.marker_table.folded()
        own.encoder = encoder
    return own


def build_towers(config: TowersConfig, seed: int) -> Towers:
    """Build towers with random weights that depend on the seed alone."""
    torch.manual_seed(seed)
    he, mif = HeTower(config.he, config.dimension), MifTower(config.mif, config.dimension)
    return Towers(config, he, mif, None if config.text is None else TextTower(config.text, config.dimension))


def count_parameters(module: nn.Module) -> int:
    """Count the trained numbers of a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def save_towers(towers: Towers, directory: Path) -> None:
    """Write config.json and one state dict a tower (`<name>.pt`) for `read_towers`."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(asdict(towers.config), indent=1) + "\n")
    for name, module in towers.modules().items():
        torch.save(module.state_dict(), directory / f"{name}.pt")


def read_towers(directory: Path) -> Towers:
    """Read what `save_towers` wrote, running nothing pickled, strictly."""
    config = TowersConfig.from_json(json.loads((directory / "config.json").read_text()))
    towers = build_towers(config, seed=0)
    for name, module in towers.modules().items():
        module.load_state_dict(torch.load(directory / f"{name}.pt", weights_only=True))
        module.eval()
    return towers
