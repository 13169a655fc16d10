"""The three towers together, and their checkpoint on disk."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .config import HeConfig, MifConfig, TextConfig, TowersConfig
from .heads import ProjectionHead
from .histology import HeTower
from .multiplex import MifTower
from .notes import TextTower


@dataclass(frozen=True, slots=True)
class Towers:
    """The towers of one model.

    Attributes:
        config: Their sizes.
        he: The H&E tower.
        mif: The mIF tower.
        text: The text tower.
    """

    config: TowersConfig
    he: HeTower
    mif: MifTower
    text: TextTower

    def modules(self) -> dict[str, nn.Module]:
        """Return the towers by the names that files use: he, mif, text."""
        return {"he": self.he, "mif": self.mif, "text": self.text}

    def parameters(self) -> Iterator[nn.Parameter]:
        """Iterate over the parameters of all three towers."""
        for module in self.modules().values():
            yield from module.parameters()

    def train(self, mode: bool = True) -> None:
        """Set training (or evaluation) behaviour."""
        for module in self.modules().values():
            module.train(mode)

    def for_inference(self) -> Towers:
        """Return copies that behave as in evaluation, with the heads' BatchNorm folded."""
        he, mif, text = (copy.deepcopy(tower).eval() for tower in (self.he, self.mif, self.text))
        for tower in (he, mif, text):
            assert isinstance(tower.head, ProjectionHead)
            tower.head = tower.head.folded()
        return Towers(self.config, he, mif, text)  # type: ignore[arg-type]


def build_towers(config: TowersConfig, seed: int) -> Towers:
    """Build towers with random weights that depend on the seed alone."""
    torch.manual_seed(seed)
    return Towers(
        config,
        HeTower(config.he, config.dimension),
        MifTower(config.mif, config.dimension),
        TextTower(config.text, config.dimension),
    )


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
    config = _config(json.loads((directory / "config.json").read_text()))
    towers = build_towers(config, seed=0)
    for name, module in towers.modules().items():
        module.load_state_dict(torch.load(directory / f"{name}.pt", weights_only=True))
        module.eval()
    return towers


def _config(values: dict[str, Any]) -> TowersConfig:
    """Rebuild the sizes from JSON, where tuples are lists."""
    he: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values["he"].items()}
    return TowersConfig(values["dimension"], HeConfig(**he), MifConfig(**values["mif"]), TextConfig(**values["text"]))
