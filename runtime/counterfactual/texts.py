"""Prompts to vectors: many edited notes through the text tower, each different one once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..bundle import Bundle
from ..engine import open_tower
from ..notes import Tokenizer


@dataclass(frozen=True, slots=True)
class Texts:
    """Prompts as the text tower sees them.

    Attributes:
        vectors: (n, d) float32 unit vectors, in the order of the prompts.
        read: What the tower read of each prompt, for comparison; prompts that differ only beyond its reach are equal.
    """

    vectors: NDArray[np.float32]
    read: tuple[bytes, ...]


def embed_prompts(bundle: Bundle, prompts: Sequence[str]) -> Texts:
    """Embed prompts on the CPU, one at a time, so that none depends on another's length.

    Raises:
        BundleContentError: The bundle has no text tower.
    """
    text = bundle.manifest.need_text()
    tokenizer = Tokenizer.from_bytes(bundle.read(text.tokenizer), text.max_length)
    engine = open_tower(bundle, text, device="cpu", threads=1, strict=True)
    tokens = {prompt: tokenizer.encode(prompt) for prompt in dict.fromkeys(prompts)}
    known = {
        prompt: np.asarray(engine(input_ids=own.input_ids, attention_mask=own.attention_mask)[0], np.float32)
        for prompt, own in tokens.items()
    }
    return Texts(np.stack([known[p] for p in prompts]), tuple(tokens[p].input_ids.tobytes() for p in prompts))
