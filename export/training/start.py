"""What a training begins with: a released checkpoint, or random towers whose words and markers come from the data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from tokenizers import Tokenizer as RawTokenizer
from torch import Tensor

from haiku_edge.runtime.errors import CheckpointLayoutError
from haiku_edge.runtime.notes import Tokenizer, metadata_prompt

from ..checkpoint import read_checkpoint
from ..dataset import PatchDataset
from ..model import Towers, TowersConfig, build_towers, published_config
from .mif_file import read_mif_encoder
from .patch_source import text_of
from .tokenizer import train_tokenizer

PRESETS = ("embedded", "published")
"""Sizes of towers that start from nothing: the embedded bundle's, or the released model's."""

VOCABULARY_TEXTS = 2000
"""Captions that the tokenizer learns from; more do not change its few hundred pieces."""


@dataclass(frozen=True, slots=True)
class Start:
    """Towers before a training.

    Attributes:
        towers: The towers.
        markers: Rows of the marker table, from row 1 on.
        esm: Those of them whose vector is a protein's.
        tokenizer: Bytes of a tokenizer.json; None for a model of two modalities.
        state: The released state, where the training begins with one.
        trained_mif: Whether the mIF encoder has been trained before.
    """

    towers: Towers
    markers: tuple[str, ...]
    tokenizer: bytes | None
    esm: tuple[str, ...] = ()
    state: Mapping[str, Tensor] = field(default_factory=dict)
    trained_mif: bool = False

    def reader(self) -> Tokenizer | None:
        """The tokenizer, cutting at the text tower's length."""
        text = self.towers.config.text
        return None if self.tokenizer is None or text is None else Tokenizer.from_bytes(self.tokenizer, text.length)


def start_from_checkpoint(directory: Path, sizes: TowersConfig | None = None) -> Start:
    """Begin with a released checkpoint; its tensors are copied, so that the file stays as it is.

    Args:
        directory: The checkpoint's folder.
        sizes: Depths and heads, which its config.json does not hold; the published ones by default.

    Raises:
        CheckpointError: See `read_checkpoint`.
    """
    checkpoint = read_checkpoint(directory, sizes=sizes)
    mapped = checkpoint.towers()
    for module in mapped.modules().values():
        module.load_state_dict({name: value.clone() for name, value in module.state_dict().items()}, assign=True)
    settings = checkpoint.settings
    return Start(mapped, settings.markers, checkpoint.tokenizer, settings.esm_markers, checkpoint.state, True)


def start_from_nothing(
    dataset: PatchDataset, rows: Sequence[int], preset: str, seed: int, *, text: bool, mif: Path | None = None
) -> Start:
    """Begin with random towers.

    Args:
        dataset: The data; its markers become the rows of the marker table.
        rows: Patches that the tokenizer may learn from: no held-out patient's.
        preset: One of `PRESETS`.
        seed: Seeds the weights.
        text: Whether the model has a text tower.
        mif: Folder of a `train mif` run whose encoder the mIF tower takes over, with its markers and sizes.

    Raises:
        CheckpointError: The mIF encoder can't be used.
    """
    known = read_mif_encoder(mif) if mif is not None else None
    markers = known.markers if known is not None else dataset.markers
    tokenizer = train_tokenizer(_texts(dataset, rows)) if text else None
    config = _sizes(preset, len(markers), tokenizer)
    if known is not None:
        config = replace(config, mif=known.config)
    towers = build_towers(config, seed)
    if known is not None:
        try:
            towers.mif.encoder.load_state_dict(known.weights)
        except RuntimeError:
            raise CheckpointLayoutError("The mIF encoder's weights do not fit the sizes that it states.") from None
    return Start(towers, tuple(markers), tokenizer, trained_mif=known is not None)


def has_text(dataset: PatchDataset, rows: Sequence[int]) -> bool:
    """Whether any of some patches has a caption or clinical facts."""
    return any(sample.caption or sample.facts for sample in (dataset[int(row)] for row in rows[:VOCABULARY_TEXTS]))


def _sizes(preset: str, markers: int, tokenizer: bytes | None) -> TowersConfig:
    base = published_config(markers) if preset == "published" else TowersConfig()
    text = base.text
    if tokenizer is None or text is None:
        return replace(base, mif=replace(base.mif, markers=markers), text=None)
    pieces = RawTokenizer.from_buffer(tokenizer).get_vocab_size()
    return replace(base, mif=replace(base.mif, markers=markers), text=replace(text, vocabulary=pieces))


def _texts(dataset: PatchDataset, rows: Sequence[int]) -> list[str]:
    samples = [dataset[int(row)] for row in rows[:VOCABULARY_TEXTS]]
    every: Iterable[str] = (text_of(sample, notes_alone=alone) for sample in samples for alone in (True, False))
    return sorted({*every, metadata_prompt(())})


def pick_device(wanted: str) -> torch.device:
    """The device to train on: auto takes a GPU where there is one; an explicit choice never steps down.

    Raises:
        UsageError, EngineUnavailableError: There is no such device.
    """
    from haiku_edge.runtime.errors import UsageError

    if wanted not in ("auto", "cpu", "cuda"):
        raise UsageError(f"There is no device {wanted}. Give auto, cpu or cuda.")
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise UsageError("PyTorch finds no CUDA GPU here. Pass --device cpu, or install PyTorch with CUDA.")
    return torch.device("cuda" if there and wanted != "cpu" else "cpu")
