"""Texts become token ids as BERT reads them, and a cut text says so."""

from __future__ import annotations

import numpy as np
import pytest
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

from haiku_edge.runtime.errors import BundleContentError
from haiku_edge.runtime.notes import Tokenizer

CORPUS = [
    "lung cancer adenocarcinoma stage t3 n1 m0 grade 3 sex f age 68 tissue characterized by",
    "this region captures",
] * 4


def _wordpiece(*, special: bool = True) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    tokenizer.train_from_iterator(
        CORPUS, trainers.WordPieceTrainer(vocab_size=200, special_tokens=names, show_progress=False)
    )
    if special:
        ends = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
        tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    return tokenizer


def _bytes(tokenizer: tokenizers.Tokenizer) -> bytes:
    return tokenizer.to_str().encode()


def test_tokens_are_the_vocabulary_ids_between_cls_and_sep() -> None:
    reference = _wordpiece()
    tokens = Tokenizer.from_bytes(_bytes(reference), 50).encode("Lung cancer")
    words = [reference.token_to_id(word) for word in ("[CLS]", "lung", "cancer", "[SEP]")]
    assert tokens.input_ids.tolist() == [words]
    assert tokens.input_ids.dtype == tokens.attention_mask.dtype == np.int64
    assert tokens.attention_mask.tolist() == [[1, 1, 1, 1]]
    assert (tokens.count, tokens.truncated) == (4, False)


def test_a_long_text_keeps_its_beginning_and_the_final_sep_and_says_so() -> None:
    reference = _wordpiece()
    tokens = Tokenizer.from_bytes(_bytes(reference), 10).encode("lung " * 30)
    lung, cls, sep = (reference.token_to_id(word) for word in ("lung", "[CLS]", "[SEP]"))
    assert tokens.input_ids.tolist() == [[cls, *[lung] * 8, sep]]
    assert (tokens.count, tokens.truncated) == (32, True)


def test_truncation_is_the_one_that_the_library_makes() -> None:
    reference = _wordpiece()
    text = " ".join(CORPUS)
    ours = Tokenizer.from_bytes(_bytes(reference), 13).encode(text)
    reference.enable_truncation(13)
    assert ours.input_ids[0].tolist() == reference.encode(text).ids


def test_a_text_of_exactly_the_limit_is_whole() -> None:
    tokens = Tokenizer.from_bytes(_bytes(_wordpiece()), 10).encode("lung " * 8)
    assert (tokens.input_ids.shape, tokens.truncated) == ((1, 10), False)


def test_padding_and_truncation_stored_in_the_file_are_ignored() -> None:
    stored = _wordpiece()
    stored.enable_padding(length=64)
    stored.enable_truncation(3)
    tokens = Tokenizer.from_bytes(_bytes(stored), 50).encode("lung cancer stage")
    assert (tokens.input_ids.shape, tokens.count, tokens.truncated) == ((1, 5), 5, False)


@pytest.mark.parametrize("data", [b"", b"{}", b"not json", b"\xff\xfe", b'{"version": "1.0"}'])
def test_bytes_that_are_no_tokenizer_are_refused(data: bytes) -> None:
    with pytest.raises(BundleContentError):
        Tokenizer.from_bytes(data, 50)


def test_a_tokenizer_without_cls_and_sep_is_refused() -> None:
    with pytest.raises(BundleContentError, match="before and one after"):
        Tokenizer.from_bytes(_bytes(_wordpiece(special=False)), 50)


def test_an_empty_text_is_cls_and_sep() -> None:
    assert Tokenizer.from_bytes(_bytes(_wordpiece()), 50).encode("").count == 2
