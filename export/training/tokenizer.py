"""The tokenizer of the embedded text tower: WordPiece, lower-cased, learned from captions.

The trainer of `tokenizers` breaks ties between pairs differently in every process, so the merging is done here, where
the same captions always give the same pieces; `tokenizers` then does the cutting, as at run time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

from tokenizers import Tokenizer
from tokenizers.decoders import WordPiece as WordPieceDecoder
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""BERT's special tokens; their ids are their places here."""

ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789.,;:%()/+-_'\"<>=|*#&?!"
"""Characters that are always known, so that notes with other words still become tokens."""

VOCABULARY = 800
"""Word pieces: the simulated captions have about 200 words; the rest spells words that they lack."""

CONTINUES = "##"
"""Prefix of a piece that continues a word."""


def train_tokenizer(captions: Sequence[str], vocabulary: int = VOCABULARY) -> bytes:
    """Learn word pieces from captions.

    Args:
        captions: Texts of the training patients.
        vocabulary: Largest number of word pieces.

    Returns:
        The bytes of a tokenizer.json that writes [CLS] text [SEP].
    """
    normalizer, cutter = BertNormalizer(lowercase=True), BertPreTokenizer()
    words = Counter(
        word for caption in captions for word, _ in cutter.pre_tokenize_str(normalizer.normalize_str(caption))
    )
    known = [*SPECIAL_TOKENS, *ALPHABET, *(CONTINUES + letter for letter in ALPHABET)]
    pieces = [*known, *learn_pieces(words, vocabulary - len(known))]
    model = WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]")  # noqa: S106 - no secret
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = cutter
    tokenizer.decoder = WordPieceDecoder()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[("[CLS]", SPECIAL_TOKENS.index("[CLS]")), ("[SEP]", SPECIAL_TOKENS.index("[SEP]"))],
    )
    return tokenizer.to_str(pretty=False).encode()


def learn_pieces(words: Counter[str], count: int) -> list[str]:
    """Merge the most frequent neighbours into pieces until there are `count` or nothing is left to merge.

    Numbers take no part: they stay single digits, so that an age that no training patient had is spelled as the
    others are. Ties go to the pair that sorts first.

    Args:
        words: Words and how often they occur.
        count: Pieces to learn.

    Returns:
        New pieces in the order of learning, without the single characters.
    """
    split = {word: _letters(word) for word in sorted(words) if not word.isdecimal()}
    learned: list[str] = []
    while len(learned) < count:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, parts in split.items():
            for pair in pairwise(parts):
                pairs[pair] += words[word]
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merged = best[0] + best[1].removeprefix(CONTINUES)
        if merged not in learned:
            learned.append(merged)
        split = {word: _merge(parts, best, merged) for word, parts in split.items()}
    return learned


def _letters(word: str) -> list[str]:
    """Spell a word: the first character bare, the others as continuations."""
    return [word[0], *(CONTINUES + letter for letter in word[1:])]


def _merge(parts: Iterable[str], pair: tuple[str, str], merged: str) -> list[str]:
    """Replace every occurrence of a pair of neighbours."""
    out: list[str] = []
    for part in parts:
        if out and (out[-1], part) == pair:
            out[-1] = merged
        else:
            out.append(part)
    return out
