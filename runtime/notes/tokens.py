"""Token ids for the text tower, by Hugging Face `tokenizers` alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tokenizers
from numpy.typing import NDArray

from ..errors import BundleContentError

# [CLS] before and [SEP] after the text, as BERT was trained.
SPECIAL_TOKENS = 2


@dataclass(frozen=True, slots=True)
class Tokens:
    """One text as the text tower takes it; l is at most the tower's `max_length`.

    Attributes:
        input_ids: (1, l) int64.
        attention_mask: (1, l) int64, all ones: a single text needs no padding.
        count: Number of tokens of the whole text, [CLS] and [SEP] included.
        truncated: True where the tower reads only the first part of the text.
    """

    input_ids: NDArray[np.int64]
    attention_mask: NDArray[np.int64]
    count: int
    truncated: bool


class Tokenizer:
    """A WordPiece tokenizer that says when it cuts a text.

    Attributes:
        max_length: Largest number of tokens that the tower reads, [CLS] and [SEP] included.
    """

    __slots__ = ("_backend", "max_length")

    def __init__(self, backend: tokenizers.Tokenizer, max_length: int) -> None:
        """Take a loaded tokenizer; truncation and padding stored in it are switched off."""
        backend.no_truncation()
        backend.no_padding()
        self._backend = backend
        self.max_length = max_length

    @classmethod
    def from_bytes(cls, tokenizer_json: bytes, max_length: int) -> Tokenizer:
        """Load a `tokenizer.json`.

        Args:
            tokenizer_json: The file's bytes, already verified.
            max_length: Largest number of tokens, at least 3.

        Raises:
            BundleContentError: The bytes are no tokenizer, or one that doesn't add [CLS] and [SEP].
        """
        try:
            backend = tokenizers.Tokenizer.from_buffer(tokenizer_json)
        except Exception:  # `tokenizers` raises bare Exception for any malformed file
            raise BundleContentError(
                "The bundle's tokenizer can't be loaded by the installed `tokenizers`. "
                "Export the bundle again with this version of haiku-edge."
            ) from None
        if backend.num_special_tokens_to_add(False) != SPECIAL_TOKENS or max_length <= SPECIAL_TOKENS:
            raise BundleContentError(
                f"The bundle's tokenizer must put one token before and one after a text, and read more than "
                f"{SPECIAL_TOKENS} tokens (its manifest says {max_length}). Export the bundle again."
            )
        return cls(backend, max_length)

    def encode(self, text: str) -> Tokens:
        """Turn a text into token ids; a text that is too long keeps its beginning and the final [SEP]."""
        ids: list[int] = self._backend.encode(text, add_special_tokens=True).ids
        count = len(ids)
        if count > self.max_length:
            ids = [*ids[: self.max_length - 1], ids[-1]]
        input_ids = np.array([ids], dtype=np.int64)
        return Tokens(input_ids, np.ones_like(input_ids), count, count > self.max_length)
