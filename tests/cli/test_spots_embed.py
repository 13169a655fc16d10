"""`haiku-edge spots embed` and what `evaluate spade` makes of it; `export spade` at the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from haiku_edge.cli.spots_embed import count_taught, read_mixtures
from haiku_edge.export.checkpoint import write_known
from haiku_edge.export.checkpoint.spade import read_spade
from haiku_edge.export.evaluation.spade import FEATURES, SPADE, read_spot_cohort
from haiku_edge.export.spade import embed
from haiku_edge.export.spade.embed import gene_heads
from haiku_edge.export.spade.genes import choose_genes
from haiku_edge.export.spade.represent import represent_spots
from haiku_edge.export.spatial import log_normalise
from haiku_edge.export.spatial.features import section_features
from haiku_edge.runtime.bundle import KnownPatients
from haiku_edge.runtime.errors import UsageError
from tests.conftest import Run
from tests.spade_bundles import encoder, small_checkpoint, small_spots


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Spots and experts."""
    folder = tmp_path_factory.mktemp("embed")
    small_checkpoint(folder / "checkpoint", small_spots("atlas"))
    return folder


def test_spots_are_embedded_by_every_model(haiku_edge: Run, made: Path, tmp_path: Path) -> None:
    dataset, cohort = small_spots("atlas"), tmp_path / "cohort.parquet"
    done = haiku_edge("spots", "embed", dataset.path, "--mixture", f"SPADE={made / 'checkpoint'}", "--out", cohort)
    assert done.returncode == 0, done.stderr
    assert "esearch use only" in done.stdout
    read = read_spot_cohort(cohort)
    assert set(read.vectors) == {FEATURES, SPADE, "SPADE, hard", "SPADE, two experts"} and set(read.keys) == {SPADE}
    section = dataset.sections[0].section
    own = read.sections == section
    features = section_features(dataset, section, encoder(), None)
    assert np.allclose(read.vectors[FEATURES][own], features, atol=1e-5)
    embedding, _ = read_spade(made / "checkpoint").mixture().embed(features)
    assert np.allclose(read.vectors[SPADE][own], embedding, atol=1e-4)
    refused = haiku_edge("spots", "embed", dataset.path, "--mixture", f"SPADE={made / 'checkpoint'}", "--out", cohort)
    assert refused.returncode == 52
    judged = haiku_edge("evaluate", "spade", "expression", cohort)
    assert judged.returncode == 0, judged.stderr
    assert "image features" in judged.stdout


def test_patients_whom_a_mixture_has_seen_are_said(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "checkpoint", tmp_path / "seen")
    write_known(tmp_path / "seen", KnownPatients.of_names(["P1", "P2", "P3"], ["P4"]))
    mixtures = [f"SPADE={made / 'checkpoint'}", f" one expert ={tmp_path / 'seen'}"]
    assert count_taught(mixtures, {"P1", "P4", "P5"}) == {"one expert": 2}


def test_the_cohort_remembers_whom_a_mixture_has_seen_and_the_evaluation_says_so(
    haiku_edge: Run, made: Path, tmp_path: Path
) -> None:
    dataset, cohort = small_spots("atlas"), tmp_path / "cohort.parquet"
    shutil.copytree(made / "checkpoint", tmp_path / "seen")
    write_known(tmp_path / "seen", KnownPatients.of_names([section.patient for section in dataset.sections[:2]]))
    given = ("--mixture", f"SPADE={tmp_path / 'seen'}", "--genes", "5", "--out", cohort)
    done = haiku_edge("spots", "embed", dataset.path, *given)
    assert done.returncode == 0, done.stderr
    read = read_spot_cohort(cohort)
    assert read.taught == {SPADE: 2} and read.genes == choose_genes(dataset, 5)
    judged = haiku_edge("evaluate", "spade", "expression", cohort)
    assert "SPADE learned from 2 of these patients: its figures are too good." in " ".join(judged.stdout.split())
    judged = haiku_edge("evaluate", "spade", "expression", cohort, "--json")
    assert json.loads(judged.stdout)["expression"]["learned_from"] == {SPADE: 2}


def test_fewer_genes_change_the_expression_that_is_kept_and_nothing_else(made: Path, tmp_path: Path) -> None:
    dataset = small_spots("atlas")
    mixtures = {SPADE: read_spade(made / "checkpoint")}
    named = (dataset.genes[5], dataset.genes[2])

    def truth(section: str) -> np.ndarray:
        spots = dataset.read(section)
        return (spots.counts.toarray() + 1).astype(np.float32)

    every = represent_spots(dataset, encoder(), mixtures, tmp_path, truth=truth)
    few = represent_spots(dataset, encoder(), mixtures, tmp_path, genes=named, truth=truth)
    assert every.genes == dataset.genes and few.genes == named
    spots = [dataset.read(section.section) for section in dataset.sections]
    measured = np.concatenate([log_normalise(own.counts, own.library) for own in spots])
    counts = np.concatenate([own.counts.toarray() for own in spots])
    np.testing.assert_array_equal(every.expression, measured)
    np.testing.assert_array_equal(few.expression, measured[:, [5, 2]])
    assert few.expected is not None and every.expected is not None
    np.testing.assert_array_equal(few.expected, counts[:, [5, 2]] + 1)
    np.testing.assert_array_equal(every.expected, counts + 1)
    for name in (FEATURES, SPADE):
        np.testing.assert_array_equal(few.vectors[name], every.vectors[name])
    np.testing.assert_array_equal(few.keys[SPADE], every.keys[SPADE])
    torched = mixtures[SPADE].mixture(spots=True)
    with torch.no_grad():
        wanted = torched.embed_spots(torch.from_numpy(few.vectors[FEATURES]), torch.from_numpy(measured)).numpy()
    np.testing.assert_allclose(few.keys[SPADE], wanted, atol=1e-4)


def test_gene_heads_read_a_section_in_blocks_to_the_same_keys(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, checkpoint = small_spots("atlas"), read_spade(made / "checkpoint")
    spots, heads = dataset.read(dataset.sections[0].section), gene_heads(checkpoint, dataset.genes)
    assert heads is not None
    weights = np.random.default_rng(0).dirichlet(np.ones(3), len(spots)).astype(np.float32)
    whole, seen = heads(spots, weights), []

    def watched(counts: csr_matrix, library: np.ndarray) -> np.ndarray:
        seen.append(counts.shape[0])
        return log_normalise(counts, library)

    monkeypatch.setattr(embed, "ROWS", 4)
    monkeypatch.setattr(embed, "log_normalise", watched)
    np.testing.assert_allclose(heads(spots, weights), whole, atol=1e-5)
    assert max(seen) == 4 and sum(seen) == len(spots)


def test_a_mixture_that_would_pass_for_a_variant_is_refused(made: Path) -> None:
    checkpoint = made / "checkpoint"
    with pytest.raises(UsageError, match="SPADE, hard"):
        read_mixtures([f"SPADE={checkpoint}", f"SPADE, hard={checkpoint}"])


@pytest.mark.parametrize("mixtures", [["checkpoint"], ["A=x"], ["SPADE=x", "SPADE=y"], [f"{FEATURES}=x", "SPADE=y"]])
def test_a_mixture_without_a_name_of_its_own_is_refused(
    haiku_edge: Run, made: Path, tmp_path: Path, mixtures: list[str]
) -> None:
    given = [word for text in mixtures for word in ("--mixture", text)]
    done = haiku_edge("spots", "embed", small_spots("atlas").path, *given, "--out", tmp_path / "c.parquet")
    assert done.returncode == 2 and "--mixture" in done.stderr and "Traceback" not in done.stderr


def test_export_tells_what_it_made(haiku_edge: Run, made: Path, tmp_path: Path) -> None:
    atlas, cases = (small_spots(part).path for part in ("atlas", "calibration"))
    names = tmp_path / "genes.txt"
    names.write_text("CD8A\nKRT8\n")
    done = haiku_edge(
        *("export", "spade", made / "checkpoint", "--atlas", atlas, "--calibration", cases, "--genes", names, "--json"),
        *("--out", tmp_path / "bundle"),
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert set(told["search"]) == {"image", "expression"} and told["largest_difference_to_torch"] < 1e-3
    shown = haiku_edge("bundle", "info", tmp_path / "bundle", "--json")
    assert json.loads(shown.stdout)["spade"]["atlas"]["markers"] == ["CD8A", "KRT8"]
    words = haiku_edge("bundle", "info", tmp_path / "bundle").stdout
    assert "measure gene" in words and "expert 1" in words
    assert "atlas  " not in words and "no intervals" not in words
    assert haiku_edge("doctor", "--bundle", tmp_path / "bundle", "--device", "cpu").returncode == 0


def test_a_checkpoint_that_is_none_is_refused(haiku_edge: Run, tmp_path: Path) -> None:
    done = haiku_edge("export", "spade", tmp_path / "nothing", "--out", tmp_path / "bundle")
    assert done.returncode == 71 and "Traceback" not in done.stderr and not (tmp_path / "bundle").exists()
