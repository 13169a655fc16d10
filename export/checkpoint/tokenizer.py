"""The checkpoint's BERT vocabulary as one tokenizer.json, which the run time reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.decoders import WordPiece as WordPieceDecoder
from tokenizers.models import WordPiece
from tokenizers.processors import TemplateProcessing

from haiku_edge.runtime.errors import CheckpointIncompleteError, CheckpointLayoutError

from .files import read_small_file

FOLDER = "tokenizer"
VOCABULARY_FILE = "vocab.txt"
WHOLE_FILE = "tokenizer.json"
SETTINGS_FILE = "tokenizer_config.json"
MAX_BYTES = 64 << 20
UNKNOWN, BEGIN, END = "[UNK]", "[CLS]", "[SEP]"
_SPECIAL = ("[PAD]", UNKNOWN, BEGIN, END)
_LONGEST_WORD = 100
"""Characters of a word above which BERT takes it for unknown."""


def read_tokenizer(directory: Path, vocabulary: int) -> bytes:
    """Read `tokenizer/` and return the bytes of a tokenizer.json.

    `vocab.txt` is taken where it is there: the published code cuts texts by it alone.

    Args:
        directory: The checkpoint's folder.
        vocabulary: Rows of the text encoder's word table, which the vocabulary must fill.

    Raises:
        CheckpointIncompleteError: There is neither vocab.txt nor tokenizer.json.
        CheckpointLayoutError: The vocabulary does not fit the text encoder.
    """
    folder = directory / FOLDER
    if (folder / VOCABULARY_FILE).exists():
        tokenizer = _from_vocabulary(folder)
    elif (folder / WHOLE_FILE).exists():
        tokenizer = _from_json(read_small_file(folder / WHOLE_FILE, MAX_BYTES))
    else:
        raise CheckpointIncompleteError(
            f"The checkpoint has no {FOLDER}/{VOCABULARY_FILE} (nor {FOLDER}/{WHOLE_FILE}), without which its text "
            "encoder can't be used. Download the checkpoint again."
        )
    _check(tokenizer, vocabulary)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer.to_str(pretty=False).encode()


def _from_vocabulary(folder: Path) -> Tokenizer:
    """BERT's WordPiece as transformers' BertTokenizer has it."""
    try:
        lines = read_small_file(folder / VOCABULARY_FILE, MAX_BYTES).decode().split("\n")
    except UnicodeDecodeError:
        raise _wrong(f"{VOCABULARY_FILE} is not UTF-8 text") from None
    pieces = [line.removesuffix("\r") for line in (lines[:-1] if lines[-1] == "" else lines)]
    rows = {piece: number for number, piece in enumerate(pieces)}
    if len(rows) != len(pieces):
        raise _wrong(f"{VOCABULARY_FILE} names {len(pieces) - len(rows)} word pieces twice")
    missing = [piece for piece in _SPECIAL if piece not in rows]
    if missing:
        raise _wrong(f"{VOCABULARY_FILE} lacks {', '.join(missing)}")
    settings = _settings(folder)
    tokenizer = Tokenizer(WordPiece(rows, unk_token=UNKNOWN, max_input_chars_per_word=_LONGEST_WORD))
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=settings.get("tokenize_chinese_chars", True) is not False,
        strip_accents=settings.get("strip_accents"),
        lowercase=settings.get("do_lower_case", True) is not False,
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = WordPieceDecoder()
    ends = [(BEGIN, rows[BEGIN]), (END, rows[END])]
    tokenizer.post_processor = TemplateProcessing(single=f"{BEGIN} $A {END}", special_tokens=ends)
    return tokenizer


def _settings(folder: Path) -> dict[str, Any]:
    """What tokenizer_config.json says; BERT's uncased defaults hold where it is not there."""
    if not (folder / SETTINGS_FILE).exists():
        return {}
    try:
        values = json.loads(read_small_file(folder / SETTINGS_FILE, MAX_BYTES))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise _wrong(f"{SETTINGS_FILE} is not JSON") from None
    if not isinstance(values, dict) or not isinstance(values.get("strip_accents"), bool | None):
        raise _wrong(f"{SETTINGS_FILE} is not a tokenizer's")
    return values


def _from_json(data: bytes) -> Tokenizer:
    try:
        return Tokenizer.from_buffer(data)
    except Exception:  # `tokenizers` raises bare Exception for any malformed file
        raise _wrong(f"{WHOLE_FILE} can't be read") from None


def _check(tokenizer: Tokenizer, vocabulary: int) -> None:
    """The rows of the word table, and the two ends of a text."""
    size = tokenizer.get_vocab_size(with_added_tokens=True)
    if size != vocabulary:
        raise _wrong(f"it has {size:,} word pieces, and the text encoder {vocabulary:,}")
    ends = [tokenizer.token_to_id(BEGIN), tokenizer.token_to_id(END)]
    if tokenizer.encode("").ids != ends:
        raise _wrong(f"it does not put {BEGIN} before and {END} after a text")


def _wrong(what: str) -> CheckpointLayoutError:
    return CheckpointLayoutError(
        f"The checkpoint's {FOLDER}/ does not fit its text encoder: {what}. Use the folder released with these weights."
    )
