"""Several texts as the text tower takes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.notes import Tokenizer


def encode_texts(tokenizer: Tokenizer, texts: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """Tokenise texts, and pad them to the longest.

    Returns:
        `input_ids` and `attention_mask`, (n, l) int64 each.
    """
    tokens = [tokenizer.encode(text).input_ids[0] for text in texts]
    ids = np.zeros((len(tokens), max(map(len, tokens))), np.int64)
    mask = np.zeros_like(ids)
    for row, own in enumerate(tokens):
        ids[row, : len(own)], mask[row, : len(own)] = own, 1
    return {"input_ids": ids, "attention_mask": mask}
