"""Captions say what was measured; the tokenizer is the same in every process."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np

from haiku_edge.export.captions import TRANSITION, describe_patterns, drop_facts, narrate, region_z, training_caption
from haiku_edge.export.training.tokenizer import train_tokenizer
from haiku_edge.runtime.notes import Tokenizer, metadata_prompt

FACTS = {"tissue_type": "Colon", "disease": "Colorectal cancer", "age": "61", "survival": "12 months"}
TEXTS = [metadata_prompt(tuple(FACTS.items())), "The region is enriched for PanCK and CD8; it lacks CD20."] * 3


def test_narrative_names_the_strongest_deviations_and_never_an_unmeasured_marker() -> None:
    z = np.array([2.0, -1.5, 0.5, np.nan, 0.1, -0.2, 1.0, -3.0], np.float32)
    text = narrate([f"M{i}" for i in range(8)], z, np.array(["sparse"] * 8))
    assert text.startswith(TRANSITION)
    enriched, depleted = text.split(" Conversely,")
    assert [name for name in ("M0", "M6", "M2") if name in enriched] == ["M0", "M6"]
    assert depleted.index("M7") < depleted.index("M1") and "M5" not in depleted
    assert "M3" not in text


def test_patterns_follow_coverage() -> None:
    rng = np.random.default_rng(0)
    shares = (0.02, 0.2, 0.5, 0.9)
    mif = np.stack([np.where(rng.random((64, 64)) < share, 200, 0) for share in shares]).astype(np.uint8)[None]
    assert describe_patterns(mif)[0].tolist() == [
        "sparse",
        "scattered sparse",
        "heterogeneous moderate",
        "uniform dense",
    ]


def test_region_z_compares_with_the_other_patches() -> None:
    expression = np.random.default_rng(0).normal(50, 10, (6, 2)).astype(np.float32)
    expression[:, 1] = np.nan
    z = region_z(expression)
    others = np.delete(expression[:, 0], 2)
    assert abs(z[2, 0] - (expression[2, 0] - others.mean()) / others.std()) < 1e-3
    assert np.isnan(z[:, 1]).all()


def test_training_captions_keep_the_order_of_the_facts_and_begin_as_at_run_time() -> None:
    rng = np.random.default_rng(0)
    lengths = set()
    for _ in range(50):
        kept = drop_facts(FACTS, rng)
        assert list(kept) == [key for key in FACTS if key in kept]
        lengths.add(len(kept))
        caption = training_caption(FACTS, " NARRATIVE", rng)
        assert caption.startswith("This ") and caption.count(" NARRATIVE") <= 1
    assert {len(FACTS)} < lengths


def test_tokenizer_writes_bert_tokens_and_spells_what_it_does_not_know() -> None:
    tokenizer = Tokenizer.from_bytes(train_tokenizer(TEXTS), 64)
    known, unknown = tokenizer.encode("Colorectal cancer"), tokenizer.encode("Xylophone 47")
    assert known.input_ids[0, 0] == 2 and known.input_ids[0, -1] == 3
    assert known.count == 4
    assert 1 not in unknown.input_ids and unknown.count > 6


def test_tokenizer_is_the_same_in_every_process() -> None:
    code = (
        "import sys, hashlib; from haiku_edge.export.training.tokenizer import train_tokenizer; "
        "print(hashlib.sha256(train_tokenizer(eval(sys.argv[1]))).hexdigest())"
    )
    found = {
        subprocess.run([sys.executable, "-c", code, repr(TEXTS)], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    assert found == {hashlib.sha256(train_tokenizer(TEXTS)).hexdigest() + "\n"}
