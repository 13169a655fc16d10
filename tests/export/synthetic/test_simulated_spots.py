"""Laws of the simulated spots: raw counts of the cells that the proteins are of, and what could be known of them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from haiku_edge.export.cohort import simulator_probe
from haiku_edge.export.synthetic import MARKERS, Patient, edit_patient, render_region, simulate_cohort
from haiku_edge.export.synthetic.expression import express
from haiku_edge.export.synthetic.spots import GENES, PITCH_PX, SPOT_PX, Spots, cut_spots, render_spots
from haiku_edge.export.synthetic.spots.capture import (
    DIFFUSION,
    REACH_PX,
    Caught,
    catch,
    draw_capture,
    draw_depth,
    hexagons,
    sequence,
    surround,
)
from haiku_edge.export.synthetic.spots.genes import FOLLOWED, FOLLOWERS, TABLE
from haiku_edge.export.synthetic.spots.law import cell_counts
from haiku_edge.export.synthetic.spots.truth import (
    expected_logs,
    mean_log,
    possible_with_facts,
    possible_without_facts,
)
from haiku_edge.export.synthetic.tissue import Tissue, plant_tissue
from haiku_edge.export.synthetic.vocabulary import Visible
from haiku_edge.runtime.errors import UsageError

COHORT = simulate_cohort(12, 33)
COLUMN = {gene: GENES.index(gene) for gene in GENES}


@cache
def _spots(index: int) -> Spots:
    return render_spots(COHORT[index], 512)


@cache
def _tissue(index: int) -> Tissue:
    return plant_tissue(COHORT[index], 640, 640)


def _logs(counts: NDArray[np.int32]) -> NDArray[np.float64]:
    return np.asarray(np.log1p(counts / counts.sum(axis=1, keepdims=True) * 10_000))


def test_every_simulated_protein_but_dapi_and_every_gene_once() -> None:
    assert len(set(GENES)) == len(GENES) > 90
    assert {gene.follows for gene in TABLE if gene.follows} == set(MARKERS) - {"DAPI"}


def test_rna_is_on_in_exactly_the_cells_whose_protein_is_on() -> None:
    proteins, rna = express(COHORT[0], _tissue(0)), cell_counts(COHORT[0], _tissue(0))
    assert np.array_equal(rna[:, FOLLOWERS] > 0, proteins[:, FOLLOWED] > 0)
    both = rna[proteins[:, MARKERS.index("Vimentin")] > 0, COLUMN["VIM"]]
    assert both.std() > 0.3 * both.mean()


def test_other_genes_agree_with_the_proteins_on_what_a_cell_is() -> None:
    proteins, rna = express(COHORT[1], _tissue(1)), cell_counts(COHORT[1], _tissue(1))
    killers = rna[:, COLUMN["NKG7"]] > 0
    assert killers.sum() > 20
    assert not proteins[killers][:, [MARKERS.index("CD20"), MARKERS.index("FoxP3"), MARKERS.index("PanCK")]].any()
    assert killers[proteins[:, MARKERS.index("CD8")] > 0].mean() > 0.7


def test_genes_of_a_visible_class_are_on_in_no_other() -> None:
    rna, visible = cell_counts(COHORT[2], _tissue(2)), _tissue(2).visible
    assert not rna[visible != Visible.ENDOTHELIUM, COLUMN["VWF"]].any()
    assert rna[visible == Visible.ENDOTHELIUM, COLUMN["VWF"]].any()
    assert not rna[np.isin(visible, (Visible.TUMOUR, Visible.LYMPHOCYTE)), COLUMN["COL1A1"]].any()


def test_the_grid_is_hexagonal_and_keeps_its_margin() -> None:
    centres = hexagons(1600, 1400, PITCH_PX, 120).astype(np.float64)
    assert centres.min() >= 120
    assert centres[:, 0].max() <= 1480
    assert centres[:, 1].max() <= 1280
    distance = np.linalg.norm(centres[:, None] - centres, axis=2)
    assert distance[distance > 0].min() == pytest.approx(PITCH_PX, abs=0.01)
    inner = np.all((centres > 330) & (centres < (1270, 1070)), axis=1)
    assert inner.any()
    assert (np.isclose(distance[inner], PITCH_PX, atol=0.01).sum(axis=1) == 6).all()


def test_a_spot_catches_its_cells_and_a_share_of_those_around_it() -> None:
    tissue, centre = _tissue(3), np.array([[300, 310]], dtype=np.float32)
    rna = cell_counts(COHORT[3], tissue).astype(np.float64)
    by_hand = np.zeros(len(GENES))
    for x, y, counts in zip(tissue.x.tolist(), tissue.y.tolist(), rna, strict=True):
        away = ((x - 300) ** 2 + (y - 310) ** 2) ** 0.5
        by_hand += counts * (1 - DIFFUSION if away <= SPOT_PX / 2 else DIFFUSION / 3 if away <= REACH_PX else 0.0)
    assert catch(tissue, centre).sum(rna)[0] == pytest.approx(by_hand)


def test_a_uniform_tissue_gives_a_spot_what_its_area_holds_whatever_leaks() -> None:
    y, x = np.mgrid[0:600:4, 0:600:4].reshape(2, -1).astype(np.float32)
    tissue = replace(_tissue(3), x=x, y=y)
    centre, ones = np.array([[300, 300]], dtype=np.float32), np.ones((x.size, 1))
    area = np.pi * (SPOT_PX / 2) ** 2 / 16
    assert catch(tissue, centre).sum(ones)[0, 0] == pytest.approx(area, rel=0.02)
    assert surround(tissue, centre, 224).sum(ones)[0, 0] == pytest.approx(area, rel=0.04)


def test_spots_are_raw_counts_with_patches_around_their_centres() -> None:
    spots, region = _spots(4), render_region(COHORT[4], 512, 512, panel=())
    assert spots.counts.dtype == np.int32
    assert spots.counts.min() >= 0
    assert spots.counts.sum(axis=1).min() >= 20
    for patch, (x, y) in zip(spots.patches, spots.centres.astype(int).tolist(), strict=True):
        assert np.array_equal(patch, region.he[y - 112 : y + 112, x - 112 : x + 112])


def test_the_same_seed_counts_the_same_and_another_region_is_other() -> None:
    again, other = render_spots(COHORT[5], 512), render_spots(COHORT[5], 512, region=1)
    for name in ("patches", "counts", "centres", "expected", "patch_expected"):
        assert getattr(again, name).tobytes() == getattr(_spots(5), name).tobytes()
    assert not np.array_equal(other.patches[0], again.patches[0])


def test_drawing_spots_leaves_the_rest_of_the_simulator_as_it_was() -> None:
    before, probe = render_region(COHORT[6], 320, 320), simulator_probe()
    counted = cut_spots(before, size=128)
    after = render_region(COHORT[6], 320, 320)
    assert before.he.tobytes() == after.he.tobytes()
    assert before.mif.tobytes() == after.mif.tobytes()
    assert simulator_probe() == probe
    assert np.array_equal(cut_spots(replace(after, mif=after.mif * 0), size=128).counts, counted.counts)


def test_libraries_vary_and_poor_spots_drop_genes() -> None:
    rng = np.random.default_rng(0)
    capture = draw_capture(rng, 20_000)
    assert np.mean(capture) == pytest.approx(0.966, abs=0.02)
    assert 0.3 < np.log(capture).std() < 0.6
    counts = sequence(rng, np.full((20_000, len(GENES)), 3.0), capture)
    nothing = (counts == 0).mean(axis=1)
    assert nothing[capture < 0.2].mean() > 0.4 > 0.1 > nothing[capture > 0.8].mean()
    mean, variance = counts[:, 0].mean(), counts[:, 0].var()
    assert variance > mean + 0.1 * mean**2


def test_the_notes_tell_sex_genes_and_nothing_tells_a_germline_deletion() -> None:
    for index in range(6):
        logs, male = _logs(_spots(index).counts), COHORT[index].facts["sex"] == "male"
        assert bool(logs[:, COLUMN["XIST"]].mean() > 3) is not male
        assert bool(logs[:, COLUMN["RPS4Y1"]].mean() > 3) is male
        assert bool(_spots(index).expected[:, COLUMN["XIST"]].mean() > 3) is not male
    gstm1 = np.array([_logs(_spots(index).counts)[:, COLUMN["GSTM1"]].mean() for index in range(12)])
    told = np.array([_spots(index).expected[:, COLUMN["GSTM1"]].mean() for index in range(12)])
    assert gstm1.min() < 1.5 < 4 < gstm1.max()
    assert np.ptp(told) < 0.5 * np.ptp(gstm1)


def _early(grade: str) -> Patient:
    return edit_patient(COHORT[7], {"grade": grade, "tnm": "T1 N0 M0", "type": "primary"})


def test_facts_move_what_is_expected_as_they_move_the_proteins() -> None:
    tissue = _tissue(7)
    caught = catch(tissue, hexagons(640, 640, PITCH_PX, 120))
    low, high, late = (
        expected_logs(tissue, caught, possible_with_facts(patient)).mean(axis=0)
        for patient in (_early("1"), _early("3"), edit_patient(_early("1"), {"tnm": "T4 N2 M1"}))
    )
    assert high[COLUMN["MKI67"]] > low[COLUMN["MKI67"]] + 0.3
    assert late[COLUMN["CD274"]] > low[COLUMN["CD274"]] + 0.3
    assert late[COLUMN["GZMB"]] < low[COLUMN["GZMB"]] - 0.1


def test_the_mean_of_the_logarithm_is_that_of_drawn_counts() -> None:
    rng = np.random.default_rng(1)
    for share, spread, library in ((0.0004, 2.0, 2000.0), (0.01, 0.5, 1500.0), (0.1, 0.1, 3000.0)):
        depth = library * draw_capture(rng, 400_000) * np.exp(0.25 * rng.standard_normal(400_000) - 0.25**2 / 2)
        counts = rng.poisson(depth * share * rng.gamma(1 / spread, spread, 400_000))
        drawn = np.log1p(counts / depth * 10_000).mean()
        said = mean_log(np.array([[share]]), np.array([[spread]]), np.array([[library]]))
        assert said[0, 0] == pytest.approx(drawn, abs=0.04)


def _replicate(tissue: Tissue, caught: Caught, patient: Patient, number: int) -> tuple[NDArray[np.float64], ...]:
    """The same visible cells as another patient's, drawn and counted afresh: logarithms and noise-free RNA."""
    rng = np.random.default_rng((9, number))
    rna = caught.sum(cell_counts(patient, replace(tissue, seed=(*tissue.seed, number))).astype(np.float64))
    counts = sequence(rng, rna, draw_depth(patient) * draw_capture(rng, caught.spots))
    return np.log1p(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1) * 10_000), rna


def test_what_is_expected_is_the_mean_over_patients_with_the_same_visible_cells() -> None:
    tissue = plant_tissue(COHORT[8], 400, 400)
    caught = catch(tissue, hexagons(400, 400, 90.0, 112))
    drawn = [_replicate(tissue, caught, patient, number) for number, patient in enumerate(simulate_cohort(300, 4))]
    logs = np.mean([log for log, _ in drawn], axis=0)
    said = expected_logs(tissue, caught, possible_without_facts())
    assert np.abs(said - logs).mean() < 0.1
    rna = np.mean([own for _, own in drawn], axis=0)
    logarithm_of_mean = np.log1p(rna / rna.sum(axis=1, keepdims=True) * 10_000)
    assert np.abs(logarithm_of_mean - logs).mean() > 3 * np.abs(said - logs).mean()


def test_facts_and_the_cells_of_the_spot_itself_tell_most_of_the_counts() -> None:
    parts = [_spots(index) for index in range(12)]
    logs = np.concatenate([_logs(part.counts) for part in parts])

    def agreement(name: str) -> float:
        said = np.concatenate([getattr(part, name) for part in parts])
        return float(np.mean([np.corrcoef(said[:, column], logs[:, column])[0, 1] for column in range(len(GENES))]))

    best = agreement("expected")
    assert best > 0.6
    assert best > agreement("expected_without_facts") + 0.05
    assert best > agreement("patch_expected") + 0.03
    assert agreement("patch_expected") > agreement("patch_expected_without_facts") + 0.05


def test_spots_that_overlap_or_have_no_middle_are_refused() -> None:
    region = render_region(COHORT[0], 256, 256, panel=())
    for size, pitch in ((225, 200.0), (224, 100.0), (0, 200.0)):
        with pytest.raises(UsageError, match="even size"):
            cut_spots(region, size=size, pitch=pitch)


def test_a_region_smaller_than_a_patch_has_no_spots() -> None:
    spots = cut_spots(render_region(COHORT[0], 208, 208, panel=()))
    assert spots.counts.shape == (0, len(GENES))
    assert spots.patches.shape == (0, 224, 224, 3)
    assert spots.expected.shape == (0, len(GENES))
